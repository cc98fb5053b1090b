//! What stays where it is: secrets of one side, what a label or a setting keeps back, what an older zone does not understand.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use prost::Message;
use serde_json::{Value, json};
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::wire::{DeltaRequest, DeltaResource, KumaResource, Node};
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_proto::system::v1alpha1::{Secret, Zone};
use tandem_store::SharedStore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

fn global_secret(name: &str, data: &str) -> Resource {
    secret(ResourceKey::global(Kind::GlobalSecret, name), data)
}

fn secret(key: ResourceKey, data: &str) -> Resource {
    Resource::from_proto(key, &Secret { data: Some(data.into()) })
}

async fn names(store: &SharedStore, kind: Kind) -> BTreeSet<String> {
    store.list(kind, None).await.expect("readable").iter().map(|resource| resource.key.name.clone()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_get_the_secrets_they_need_and_no_others() {
    let (global_store, zone_store) = (store(), store());
    let key = tandem_auth::keys::generate_pem().expect("randomness is available");
    for name in ["envoy-admin-ca", "admin-user-token", "inter-cp-ca", "user-token-revocations"] {
        put(&global_store, global_secret(name, "of global")).await;
    }
    put(&global_store, global_secret("user-token-signing-key-1", &key)).await;
    put(&global_store, global_secret("zone-token-signing-key-1", &key)).await;
    put(&global_store, global_secret("zone-token-signing-key-2", "no key at all")).await;
    put(&global_store, global_secret("zone-token-revocations", "id")).await;
    put(&global_store, global_secret("of-a-user", "x")).await;
    let private = secret(ResourceKey::new(Kind::Secret, "default", "dataplane-token-signing-key-default-1"), &key);
    put(&global_store, private.clone()).await;
    put(&global_store, secret(ResourceKey::new(Kind::Secret, "default", "default.ca-builtin-key-ca-1"), &key)).await;
    put(&zone_store, global_secret("envoy-admin-ca", "of the zone")).await;
    let global = RunningGlobal::start(&global_store).await;
    let zone = RunningZone::start("east", &zone_store, global.address);

    // The key that is none harms neither its type nor others.
    put(&global_store, mesh("default")).await;
    wait_until_exists(&zone_store, &mesh("default").key).await;
    let public = ResourceKey::global(Kind::GlobalSecret, "zone-token-signing-public-key-1");
    wait_until_exists(&zone_store, &public).await;
    wait_until_exists(&zone_store, &private.key).await;
    assert_eq!(
        names(&zone_store, Kind::GlobalSecret).await,
        set(["envoy-admin-ca", "of-a-user", "zone-token-revocations", "zone-token-signing-public-key-1"])
    );
    let data = |resource: &Resource| {
        let data = resource.proto::<Secret>().expect("a Secret").data.expect("has data");
        String::from_utf8(data).expect("text")
    };
    let received = zone_store.get(&public).await.expect("readable").expect("just seen");
    assert!(data(&received).starts_with("-----BEGIN RSA PUBLIC KEY-----"));
    assert_eq!(received.label(label::DISPLAY_NAME), Some("zone-token-signing-key-1"));
    let own = ResourceKey::global(Kind::GlobalSecret, "envoy-admin-ca");
    assert_eq!(data(&zone_store.get(&own).await.expect("readable").expect("kept")), "of the zone");
    assert_eq!(
        data(&zone_store.get(&private.key).await.expect("readable").expect("just seen")),
        key,
        "zones issue and check tokens of dataplanes themselves"
    );

    // Once it is a key, it comes.
    put(&global_store, global_secret("zone-token-signing-key-2", &key)).await;
    wait_until_exists(&zone_store, &ResourceKey::global(Kind::GlobalSecret, "zone-token-signing-public-key-2")).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_takes_a_resource_back_and_lets_it_go_again() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    for (home, resource, away, there) in [
        (&global_store, timeout("t", "1s"), &zone_store, synced_from_global(&timeout("t", "").key)),
        (&zone_store, service("s"), &global_store, synced_from("east", &service("s").key)),
    ] {
        put(home, resource.clone()).await;
        wait_until_exists(away, &there).await;
        put(home, resource.clone().with_labels([(label::KDS_SYNC, "disabled")])).await;
        wait_until_gone(away, &there).await;
        assert!(home.get(&resource.key).await.expect("readable").is_some());
        put(home, resource.with_labels([(label::KDS_SYNC, "enabled")])).await;
        wait_for(away, &there, |resource| label_of(resource, label::KDS_SYNC).as_deref() == Some("enabled")).await;
    }
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_with_configured_prefixes_stay_at_home() {
    let (global_store, zone_store) = (store(), store());
    let skip = vec!["argocd.".to_owned(), "team".to_owned()];
    let mut settings_of_global = global_settings();
    settings_of_global.common.skip_label_prefixes.clone_from(&skip);
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_with(settings_of_global, &global_store, address, None).await;
    let mut settings = settings("east", global.address);
    settings.common.skip_label_prefixes = skip;
    let zone = RunningZone::start_with(settings, &zone_store);
    let labels = [("argocd.argoproj.io/instance", "x"), ("team", "a"), ("tier", "b")];
    let (down, up) = (timeout("t", "1s").with_labels(labels), service("s").with_labels(labels));
    put(&global_store, down.clone()).await;
    put(&zone_store, up.clone()).await;
    for (away, there) in [(&zone_store, synced_from_global(&down.key)), (&global_store, synced_from("east", &up.key))] {
        wait_until_exists(away, &there).await;
        let received = away.get(&there).await.expect("readable").expect("just seen");
        assert_eq!(received.label("tier"), Some("b"));
        assert!(received.label("team").is_none() && received.label("argocd.argoproj.io/instance").is_none());
    }
    zone.stop().await;
    global.stop().await;
}

/// A policy of a namespace in zone east.
fn policy(name: &str, role: &str, spec: Value) -> Resource {
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), spec).with_labels([
        (label::K8S_NAMESPACE, "shop"),
        (label::POLICY_ROLE, role),
        (label::ORIGIN, label::ORIGIN_ZONE),
    ])
}

fn towards(target: Value) -> Value {
    json!({"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": target, "default": {"idleTimeout": "1s"}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_policies_of_a_zone_others_get_those_of_producers() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let west = RunningZone::start("west", &west_store, global.address);
    let producer = || towards(json!({"kind": "MeshService", "name": "web"}));
    let mut about_north = producer();
    about_north["targetRef"] = json!({"kind": "MeshSubset", "tags": {"kuma.io/zone": "north"}});
    let inbound = json!({
        "targetRef": {"kind": "Mesh"},
        "from": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}],
    });
    let policies = [
        policy("consumer", "consumer", towards(json!({"kind": "MeshService", "name": "web", "namespace": "other"}))),
        policy("owner", "workload-owner", inbound),
        policy("claims-too-much", "producer", towards(json!({"kind": "Mesh"}))),
        policy("unlabelled", "system", producer()),
        policy("about-north", "producer", about_north),
        policy("producer", "producer", producer()),
    ];
    for policy in &policies {
        put(&east_store, policy.clone()).await;
    }
    let synced = |policy: &Resource| {
        let name = tandem_model::name::hashed("default", &policy.key.name, ["east", "shop"]);
        ResourceKey::new(Kind::MeshTimeout, "default", name)
    };
    for policy in &policies {
        wait_until_exists(&global_store, &synced(policy)).await;
    }
    let reached = synced(&policies[5]);
    wait_until_exists(&west_store, &reached).await;
    // The next round trip shows that nothing else is on its way.
    put(&global_store, timeout("last", "1s")).await;
    wait_until_exists(&west_store, &synced_from_global(&timeout("last", "").key)).await;
    assert_eq!(names(&west_store, Kind::MeshTimeout).await.len(), 2);

    // A zone that is switched off is left out of the others.
    let zone =
        |enabled| Resource::from_proto(ResourceKey::global(Kind::Zone, "east"), &Zone { enabled: Some(enabled) });
    put(&global_store, zone(false)).await;
    wait_until_gone(&west_store, &reached).await;
    put(&global_store, zone(true)).await;
    wait_until_exists(&west_store, &reached).await;
    for zone in [east, west] {
        zone.stop().await;
    }
    global.stop().await;
}

/// Names, as they stand in the resources, that a zone with these features in its node gets of some types.
async fn received_with(
    global: &RunningGlobal,
    zone: &str,
    features: &[&str],
    kinds: &[Kind],
) -> BTreeMap<Kind, BTreeSet<String>> {
    let endpoint = Channel::from_shared(format!("http://{}", global.address)).expect("a URL");
    let mut client = KDSSyncServiceClient::new(endpoint.connect().await.expect("global listens"));
    let metadata = json!({"features": features, "control-plane-id": zone, "config": "{}"});
    let metadata = tandem_proto::json::struct_from_json(metadata.as_object().expect("an object")).expect("a Struct");
    let requests: Vec<_> = kinds
        .iter()
        .map(|kind| DeltaRequest {
            node: Some(Node { id: zone.to_owned(), metadata: Some(metadata.clone()) }),
            type_url: kind.name().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaRequest::default()
        })
        .collect();
    let (sender, outgoing) = tokio::sync::mpsc::channel(kinds.len());
    for request in requests {
        sender.send(request).await.expect("open");
    }
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    let headers = request.metadata_mut();
    headers.insert("client-id", zone.parse().expect("a header"));
    for feature in ["zone-ping-health", "hash-suffix"] {
        headers.append("features", feature.parse().expect("a header"));
    }
    let mut responses = client.global_to_zone_sync(request).await.expect("admitted").into_inner();
    let mut received = BTreeMap::new();
    while received.len() < kinds.len() {
        let response = tokio::time::timeout(PATIENCE, responses.message()).await.expect("every type is answered");
        let response = response.expect("the stream is open").expect("the stream goes on");
        let names = response.resources.iter().map(|body| {
            let outer = DeltaResource::decode(body.clone()).expect("a resource");
            let content = KumaResource::decode(outer.resource.expect("content").value).expect("a resource of Kuma");
            content.meta.expect("meta").name
        });
        received.insert(response.type_url.parse().expect("a kind"), names.collect());
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn older_zones_get_what_they_understand() {
    let (global_store, east_store) = (store(), store());
    let generator = |name: &str, selector: &str| {
        let spec = json!({"selector": {selector: {"matchLabels": {"a": "b"}}}, "template": "{{ .DisplayName }}.mesh"});
        Resource::from_json(ResourceKey::global(Kind::HostnameGenerator, name), spec)
    };
    let multi = Resource::from_json(
        ResourceKey::new(Kind::MeshMultiZoneService, "default", "multi"),
        json!({"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "ports": [{"port": 80, "appProtocol": "http"}]}),
    );
    let mut everywhere = timeout("everywhere", "1s");
    if let tandem_model::Spec::Json(spec) = &mut everywhere.spec {
        spec.as_object_mut().expect("an object").remove("targetRef");
    }
    for resource in [
        timeout("plain", "1s"),
        everywhere,
        generator("services", "meshService"),
        generator("multi", "meshMultiZoneService"),
        multi,
    ] {
        put(&global_store, resource).await;
    }
    put(&east_store, policy("producer", "producer", towards(json!({"kind": "MeshService", "name": "web"})))).await;
    let global = RunningGlobal::start(&global_store).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let produced = tandem_model::name::hashed("default", "producer", ["east", "shop"]);
    wait_until_exists(&global_store, &ResourceKey::new(Kind::MeshTimeout, "default", produced.clone())).await;

    let kinds = [Kind::MeshTimeout, Kind::HostnameGenerator, Kind::MeshMultiZoneService];
    let hashed = |mesh: &str, name: &str| tandem_model::name::hashed(mesh, name, []);
    let all = ["hash-suffix", "hg-mz-selector", "producer-policy-flow", "optional-top-level-target-ref"];

    let newest = received_with(&global, "newest", &all, &kinds).await;
    assert_eq!(
        newest[&Kind::MeshTimeout],
        set([&hashed("default", "plain"), &hashed("default", "everywhere"), &produced])
    );
    assert_eq!(newest[&Kind::HostnameGenerator], set([&hashed("", "services"), &hashed("", "multi")]));
    assert_eq!(newest[&Kind::MeshMultiZoneService], set([&hashed("default", "multi")]));

    let older = received_with(&global, "older", &all[..1], &kinds).await;
    assert_eq!(older[&Kind::MeshTimeout], set([&hashed("default", "plain")]));
    assert_eq!(older[&Kind::HostnameGenerator], set([&hashed("", "services")]));
    assert_eq!(older[&Kind::MeshMultiZoneService], set([&hashed("default", "multi")]));

    // Without hashes names stay as they are, also of types that have a status.
    let oldest = received_with(&global, "oldest", &[], &kinds).await;
    assert_eq!(oldest[&Kind::MeshTimeout], set(["plain"]));
    assert_eq!(oldest[&Kind::HostnameGenerator], set(["services"]));
    assert_eq!(oldest[&Kind::MeshMultiZoneService], set(["multi"]));
    east.stop().await;
    global.stop().await;
}
