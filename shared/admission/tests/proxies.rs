//! Dataplanes and zone proxies: what a zone adds, whom a mesh lets in.

mod support;

use serde_json::{Value, json};
use support::{ALONE, FEDERATED, Plane};
use tandem_admission::{Reason, Stage};
use tandem_model::{Kind, Mode, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;
use tandem_store::Write;

fn dataplane(tags: Value) -> Value {
    json!({ "type": "Dataplane", "mesh": "m", "name": "dp", "networking": {
        "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": tags }],
    } })
}

async fn zone(mesh: Value) -> Plane {
    let plane = Plane::new(ALONE);
    plane.put(mesh).await.expect("admitted");
    plane
}

fn mesh() -> Value {
    json!({ "type": "Mesh", "name": "m" })
}

fn constrained() -> Value {
    json!({ "type": "Mesh", "name": "m", "constraints": { "dataplaneProxy": {
        "requirements": [{ "tags": { "kuma.io/zone": "east", "team": "*" } }],
        "restrictions": [{ "tags": { "legacy": "*" } }],
    } } })
}

#[tokio::test]
async fn the_zone_marks_what_it_takes_in() {
    let plane = zone(mesh()).await;
    let tags = json!({ "kuma.io/service": "web", "kuma.io/zone": "elsewhere" });
    let stored = plane.register(dataplane(tags)).await.expect("admitted");
    for (label, value) in [
        ("kuma.io/mesh", "m"),
        ("kuma.io/origin", "zone"),
        ("kuma.io/zone", "east"),
        ("kuma.io/env", "universal"),
        ("kuma.io/proxy-type", "sidecar"),
    ] {
        assert_eq!(stored.label(label), Some(value));
    }
    let spec: Dataplane = stored.proto().expect("decodes");
    assert_eq!(spec.networking.expect("kept").inbound[0].tags["kuma.io/zone"], "east");
    assert_eq!(stored.owner, None);
}

#[tokio::test]
async fn constraints_are_checked_with_the_zones_own_tag() {
    let plane = zone(constrained()).await;
    plane.register(dataplane(json!({ "kuma.io/service": "web", "team": "a" }))).await.expect("meets them");
    let refused = plane.register(dataplane(json!({ "kuma.io/service": "web" }))).await.expect_err("no team");
    assert_eq!(
        refused.to_string(),
        r#"dataplane cannot be a member of mesh "m" because its tags "kuma.io/service=web kuma.io/zone=east" does not fulfill any requirements defined on the Mesh"#
    );
    let tags = json!({ "kuma.io/service": "web", "team": "a", "legacy": "yes" });
    let refused = plane.put(dataplane(tags)).await.expect_err("restricted");
    assert!(
        matches!(&refused.reason, Reason::NotAMember(text) if text.contains(r#"matches restricted tags "legacy=*""#))
    );
    assert_eq!(refused.stage, Stage::Update);
}

#[tokio::test]
async fn a_mesh_must_exist() {
    let plane = Plane::new(FEDERATED);
    let refused = plane.register(dataplane(json!({ "kuma.io/service": "web" }))).await.expect_err("no mesh");
    assert!(matches!(&refused.reason, Reason::MeshNotFound(mesh) if mesh == "m"), "{refused:?}");
    assert_eq!(plane.store.revision(), 0);
}

#[tokio::test]
async fn probed_inbounds_wait_for_their_probe_once() {
    let plane = zone(mesh()).await;
    let probed = json!({ "type": "Dataplane", "mesh": "m", "name": "dp", "networking": {
        "address": "10.0.0.1",
        "inbound": [{ "port": 80, "tags": { "kuma.io/service": "web" }, "serviceProbe": { "tcp": {} } }],
    } });
    let state = |resource: &Resource| {
        resource.proto::<Dataplane>().expect("decodes").networking.expect("kept").inbound[0].state()
    };
    assert_eq!(state(&plane.register(probed.clone()).await.expect("admitted")), State::NotReady);
    assert_eq!(state(&plane.register(probed).await.expect("admitted")), State::Ready);
}

#[tokio::test]
async fn registering_the_same_again_changes_nothing() {
    let plane = zone(mesh()).await;
    let body = dataplane(json!({ "kuma.io/service": "web" }));
    let first = plane.register(body.clone()).await.expect("admitted");
    let revision = plane.store.revision();
    let second = plane.register(body).await.expect("admitted");
    assert_eq!((second.version, plane.store.revision()), (first.version, revision));
}

#[tokio::test]
async fn zone_proxies_are_stored_as_they_come() {
    let plane = Plane::new(FEDERATED);
    let ingress = json!({ "type": "ZoneIngress", "name": "zi", "networking": {
        "address": "10.0.0.1", "port": 10001, "advertisedAddress": "1.2.3.4", "advertisedPort": 10001,
    } });
    let stored = plane.register(ingress).await.expect("admitted");
    assert!(stored.labels.is_empty());
    let lone = json!({ "type": "ZoneIngress", "name": "zi", "networking": { "port": 1, "advertisedPort": 10001 } });
    let refused = plane.register(lone).await.expect_err("port without address");
    assert!(matches!(refused.reason, Reason::Invalid(_)), "{refused}");
    let refused = plane.register(mesh()).await.expect_err("no proxy");
    assert_eq!(refused.to_string(), "a proxy cannot bring a resource of type Mesh");
}

#[tokio::test]
async fn labels_that_tell_where_a_resource_is_from_stay() {
    let plane = zone(mesh()).await;
    let service = |labels: Value| {
        json!({ "type": "MeshExternalService", "mesh": "m", "name": "ext", "labels": labels, "spec": {
            "match": { "type": "HostnameGenerator", "port": 80, "protocol": "tcp" },
            "endpoints": [{ "address": "1.1.1.1", "port": 80 }],
        } })
    };
    plane.put(service(json!({ "kuma.io/display-name": "a" }))).await.expect("admitted");
    let refused = plane.put(service(json!({ "kuma.io/display-name": "b" }))).await.expect_err("immutable");
    assert_eq!(refused.stage, Stage::Labels);
    assert_eq!(
        refused.to_string(),
        r#"labels["kuma.io/display-name"]: is immutable, cannot be changed from "a" to "b""#
    );
    let refused = plane.put(service(json!({ "kuma.io/zone": "west" }))).await.expect_err("foreign zone");
    assert_eq!(refused.stage, Stage::Check);
}

#[tokio::test]
async fn status_and_owner_are_not_the_writers() {
    let plane = zone(mesh()).await;
    let service = |port: u16| {
        json!({ "type": "MeshService", "mesh": "m", "name": "web", "status": { "vips": [{ "ip": "1.2.3.4" }] },
            "spec": { "selector": { "dataplaneTags": { "a": "b" } }, "ports": [{ "port": port }] } })
    };
    let created = plane.put(service(80)).await.expect("admitted").resource;
    assert_eq!(created.status, Some(json!({})));
    assert_eq!(created.owner, Some(ResourceKey::global(Kind::Mesh, "m")));
    let with_status = Resource { status: Some(json!({ "vips": [{ "ip": "240.0.0.1" }] })), ..(*created).clone() };
    let write = Write::Update { resource: with_status, expected: Some(created.version) };
    plane.store.commit(vec![write]).await.expect("current version");
    let updated = plane.put(service(81)).await.expect("admitted").resource;
    assert_eq!(updated.status, Some(json!({ "vips": [{ "ip": "240.0.0.1" }] })));
    assert_eq!(updated.owner, created.owner);
}

#[tokio::test]
async fn workload_labels_are_checked_on_creation() {
    let plane = zone(mesh()).await;
    let mut body = dataplane(json!({ "kuma.io/service": "web" }));
    body["labels"] = json!({ "kuma.io/workload": "Bad" });
    let refused = plane.put(body).await.expect_err("no DNS label");
    assert!(matches!(&refused.reason, Reason::BadRequest(text) if text.starts_with(r#"labels["kuma.io/workload"]"#)));
}

#[tokio::test]
async fn connected_zones_and_used_secrets_are_not_deleted() {
    let plane = Plane::new(Mode::Global);
    plane.put(json!({ "type": "Zone", "name": "z" })).await.expect("admitted");
    let key = ResourceKey::global(Kind::ZoneInsight, "z");
    let online = tandem_proto::system::v1alpha1::ZoneInsight {
        subscriptions: vec![tandem_proto::system::v1alpha1::KdsSubscription {
            connect_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let insight = Resource::from_proto(key, &online);
    plane.store.commit(vec![Write::Create(insight)]).await.expect("stored");
    let refused = plane.delete(Kind::Zone, "", "z").await.expect_err("connected");
    assert_eq!(
        refused.to_string(),
        "zone: unable to delete Zone, Zone CP is still connected, please shut it down first"
    );

    let mtls = json!({ "enabledBackend": "ca", "backends": [{ "name": "ca", "type": "builtin" }] });
    plane.put(json!({ "type": "Mesh", "name": "m", "mtls": mtls })).await.expect("admitted");
    let refused = plane.delete(Kind::Secret, "m", "m.ca-builtin-key-ca").await.expect_err("used");
    assert_eq!(
        refused.to_string(),
        r#"name: The secret "m.ca-builtin-key-ca" that you are trying to remove is currently in use in Mesh "m" in mTLS backend "ca". Please remove the reference from the "ca" backend before removing the secret."#
    );
}
