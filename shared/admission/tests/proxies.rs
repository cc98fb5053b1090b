//! Dataplanes and zone proxies: what a zone adds, whom a mesh lets in.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{ALONE, FEDERATED, Plane};
use tandem_admission::{AdmissionError, Reason, Stage};
use tandem_model::rest::{Unknown, from_json};
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
async fn probed_inbounds_wait_for_their_probe() {
    let plane = zone(mesh()).await;
    let probed = json!({ "type": "Dataplane", "mesh": "m", "name": "dp", "networking": {
        "address": "10.0.0.1",
        "inbound": [{ "port": 80, "tags": { "kuma.io/service": "web" }, "serviceProbe": { "tcp": {} } }],
    } });
    let state = |resource: &Resource| {
        resource.proto::<Dataplane>().expect("decodes").networking.expect("kept").inbound[0].state()
    };
    assert_eq!(state(&plane.register(probed.clone()).await.expect("admitted")), State::NotReady);
    // It came back as it was: what is known of its application stays. Another inbound begins as Kuma has it, ready.
    assert_eq!(state(&plane.register(probed.clone()).await.expect("admitted")), State::NotReady);
    let mut moved = probed;
    moved["networking"]["inbound"][0]["port"] = json!(81);
    assert_eq!(state(&plane.register(moved).await.expect("admitted")), State::Ready);
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

/// Registers a body for a proxy that may only replace what this allows.
async fn register(
    plane: &Plane,
    body: &Value,
    may_replace: impl Fn(&Resource) -> Result<(), String> + Send + Sync,
) -> Result<Arc<Resource>, AdmissionError> {
    let document = from_json(body.clone(), None, Unknown::Ignore).expect("a well-formed body");
    plane.admission.register(document.resource, may_replace).await
}

#[tokio::test]
async fn what_is_stored_is_replaced_by_its_own_proxy_only() {
    let plane = zone(mesh()).await;
    let (web, other) =
        (dataplane(json!({ "kuma.io/service": "web" })), dataplane(json!({ "kuma.io/service": "other" })));
    let never = |_: &Resource| Err("it is another one".to_owned());
    register(&plane, &web, never).await.expect("there is nothing to replace");
    let before = plane.store.revision();
    let refused = register(&plane, &other, never).await.expect_err("there is one");
    assert!(matches!(&refused.reason, Reason::TakenOver(text) if text == "it is another one"), "{refused:?}");
    assert_eq!((refused.to_string().as_str(), plane.store.revision()), ("it is another one", before));
    let service = |stored: &Resource| {
        let dataplane: Dataplane = stored.proto().expect("decodes");
        dataplane.networking.expect("kept").inbound[0].tags["kuma.io/service"].clone()
    };
    let of_web = |stored: &Resource| if service(stored) == "web" { Ok(()) } else { Err("it is not web".to_owned()) };
    register(&plane, &other, of_web).await.expect("web is stored");
    let refused = register(&plane, &web, of_web).await.expect_err("web is not stored any more");
    assert_eq!(refused.to_string(), "it is not web");
}

/// Two that come at the same moment, each of which would take the other's place: the second sees what the first stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_come_at_once_one_is_refused() {
    for _ in 0..50 {
        let plane = Arc::new(zone(mesh()).await);
        let attempts = ["a", "b", "c", "d"].map(|service| {
            let plane = plane.clone();
            tokio::spawn(async move {
                let body = dataplane(json!({ "kuma.io/service": service }));
                register(&plane, &body, |_: &Resource| Err("taken".to_owned())).await
            })
        });
        let mut admitted = 0;
        for attempt in attempts {
            match attempt.await.expect("no panic") {
                Ok(_) => admitted += 1,
                Err(error) => assert!(matches!(error.reason, Reason::TakenOver(_)), "{error:?}"),
            }
        }
        assert_eq!(admitted, 1);
    }
}

#[tokio::test]
async fn what_other_zones_have_is_not_replaced() {
    let plane = Plane::new(FEDERATED);
    let ingress = json!({ "type": "ZoneIngress", "name": "zi", "networking": {
        "address": "10.0.0.1", "port": 10001, "advertisedAddress": "1.2.3.4", "advertisedPort": 10001,
    } });
    let mut of_west = from_json(ingress.clone(), None, Unknown::Ignore).expect("a well-formed body").resource;
    of_west.labels.insert("kuma.io/origin".to_owned(), "global".to_owned());
    plane.store.commit(vec![Write::Create(of_west)]).await.expect("stored");
    let refused = plane.register(ingress).await.expect_err("it is of another zone");
    assert!(matches!(&refused.reason, Reason::TakenOver(text) if text.contains("of another zone")), "{refused:?}");
}

#[tokio::test]
async fn proxies_do_not_pass_for_those_of_others() {
    let plane = zone(mesh()).await;
    for (label, value, text) in [
        ("kuma.io/zone", "west", r#"the proxy says that it is of zone "west", but this is "east""#),
        ("kuma.io/origin", "global", r#"the label kuma.io/origin of what a proxy brings is "zone", not "global""#),
    ] {
        let mut body = dataplane(json!({ "kuma.io/service": "web" }));
        body["labels"] = json!({ label: value });
        let refused = plane.register(body).await.expect_err("another's label");
        assert_eq!(refused.to_string(), text);
    }
    let mut body = dataplane(json!({ "kuma.io/service": "web" }));
    body["labels"] = json!({ "kuma.io/zone": "east", "kuma.io/origin": "zone" });
    plane.register(body).await.expect("its own labels");
}
