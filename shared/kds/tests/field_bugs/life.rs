//! Zones that come, go, come back, and change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::wire::{DeltaRequest, DeltaResponse, WILDCARD};
use tandem_kds::{Identity, KdsMetrics, mapper};
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1::ZoneEgress;
use tandem_proto::mesh::v1alpha1::zone_egress::Networking;
use tandem_proto::system::v1alpha1::{Secret, Zone};
use tandem_store::{ChangeBatch, SharedStore};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::common::*;

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("somebody listens")
}

fn subscription(instance: &str, type_url: &str) -> DeltaRequest {
    DeltaRequest {
        node: Some(Identity { instance: instance.into(), ..Identity::default() }.node("east")),
        type_url: type_url.into(),
        resource_names_subscribe: vec![WILDCARD.into()],
        ..DeltaRequest::default()
    }
}

/// A stream from global, subscribed to meshes.
async fn subscribed(channel: &Channel, instance: &str) -> (mpsc::Sender<DeltaRequest>, Streaming<DeltaResponse>) {
    let (requests, outgoing) = mpsc::channel(4);
    requests.send(subscription(instance, "Mesh")).await.expect("there is room");
    let mut sync = KDSSyncServiceClient::new(channel.clone());
    let answer = sync.global_to_zone_sync(introduced(ReceiverStream::new(outgoing))).await;
    (requests, answer.expect("opened").into_inner())
}

async fn next<M>(stream: &mut Streaming<M>) -> Result<Option<M>, tonic::Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("something comes")
}

/// Versions of all resources that travel to zones, which show every write.
async fn versions(store: &SharedStore) -> BTreeMap<ResourceKey, u64> {
    let mut versions = BTreeMap::new();
    for kind in Kind::all().filter(|kind| kind.descriptor().direction.sent_to_zones()) {
        for resource in store.list(kind, None).await.expect("readable") {
            versions.insert(resource.key.clone(), resource.version);
        }
    }
    versions
}

// #9455: when a zone lost its connection, resources went from other zones, too, and came back.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_zone_take_nothing_from_the_others() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let mut global = RunningGlobal::start(&global_store).await;
    let address = global.address;
    put(&global_store, mesh("default")).await;
    for index in 0..20 {
        let key = ResourceKey::new(Kind::Secret, "default", format!("secret-{index}"));
        put(&global_store, Resource::from_proto(key, &Secret { data: Some(vec![1, 2, 3]) })).await;
        put(&east_store, service(&format!("service-{index}"))).await;
    }
    let west = RunningZone::start("west", &west_store, address);
    let mut east = RunningZone::start("east", &east_store, address);
    for index in 0..20 {
        wait_until_exists(&west_store, &synced_from("east", &service(&format!("service-{index}")).key)).await;
        let key = ResourceKey::new(Kind::Secret, "default", format!("secret-{index}"));
        wait_until_exists(&west_store, &key).await;
    }
    let before = versions(&west_store).await;
    let mut feed = west_store.changes(west_store.revision());
    for round in 0..6 {
        east.stop().await;
        if round % 2 == 1 {
            global.stop().await;
            global = RunningGlobal::start_at(&global_store, address, None).await;
        }
        east = RunningZone::start("east", &east_store, address);
        // Something new makes sure that all of this has come through to the other zone.
        let name = format!("round-{round}");
        put(&east_store, service(&name)).await;
        wait_until_exists(&west_store, &synced_from("east", &service(&name).key)).await;
    }
    while let Some(batch) = feed.pending() {
        let ChangeBatch::Changes { changes, .. } = batch else { panic!("few changes fit into the feed") };
        for change in changes {
            assert!(change.new.is_some(), "{} was deleted", change.key);
        }
    }
    let after = versions(&west_store).await;
    for (key, version) in before {
        assert_eq!(after.get(&key), Some(&version), "{key} was written again");
    }
    east.stop().await;
    west.stop().await;
    global.stop().await;
}

// #13592: after a zone had been away, services were written again and given new addresses.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_given_to_services_of_other_zones_survive_every_reconnect() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let mut global = RunningGlobal::start(&global_store).await;
    let address = global.address;
    let mut own = service("redis");
    own.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
    put(&east_store, own.clone()).await;
    let mut east = RunningZone::start("east", &east_store, address);
    let mut west = RunningZone::start("west", &west_store, address);
    let copy = synced_from("east", &own.key);
    wait_until_exists(&west_store, &copy).await;
    let mut given = Resource::clone(&*west_store.get(&copy).await.expect("readable").expect("exists"));
    given.status = Some(json!({"vips": [{"ip": "241.0.0.7"}]}));
    put(&west_store, given.clone()).await;
    let version = west_store.get(&copy).await.expect("readable").expect("exists").version;
    for round in 0..3 {
        west.stop().await;
        east.stop().await;
        global.stop().await;
        global = RunningGlobal::start_at(&global_store, address, None).await;
        west = RunningZone::start("west", &west_store, address);
        east = RunningZone::start("east", &east_store, address);
        let name = format!("round-{round}");
        put(&east_store, service(&name)).await;
        wait_until_exists(&west_store, &synced_from("east", &service(&name).key)).await;
    }
    let kept = west_store.get(&copy).await.expect("readable").expect("exists");
    assert_eq!((&kept.status, kept.version), (&given.status, version));
    let above = global_store.get(&copy).await.expect("readable").expect("exists");
    assert_eq!(above.status, own.status, "global has what its own zone says");
    east.stop().await;
    west.stop().await;
    global.stop().await;
}

// #12983: connections that nobody closed went on beside the new one of the same zone.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_streams_of_a_zone_only_the_newest_lives() {
    let global_store = store();
    let mut registry = Registry::default();
    let metrics = KdsMetrics::register(&mut registry);
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_measured(global_settings(), &global_store, address, None, metrics).await;
    let open = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodable");
        text.lines().any(|line| line == "kds_delta_streams_active 1")
    };
    let mut earlier = Vec::new();
    for _ in 0..5 {
        // None of them is ever closed from this side.
        let channel = channel(global.address).await;
        let (requests, mut stream) = subscribed(&channel, "east-0001").await;
        next(&mut stream).await.expect("answered").expect("answered");
        earlier.push((channel, requests, stream));
    }
    let (_channel, requests, mut newest) = earlier.pop().expect("there are five");
    for (_, _, stream) in &mut earlier {
        let status = next(stream).await.expect_err("it has to end");
        assert_eq!(status.code(), Code::Cancelled, "{status}");
    }
    eventually("one stream is left", open).await;
    requests
        .send(DeltaRequest { response_nonce: "1".into(), ..subscription("east-0001", "Mesh") })
        .await
        .expect("open");
    put(&global_store, mesh("default")).await;
    let update = next(&mut newest).await.expect("open").expect("open");
    assert_eq!(update.resources.len(), 1);
    global.stop().await;
}

// #13838: a zone that got another name kept parts of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_with_a_new_name_keeps_what_it_has_and_leaves_the_old_name_to_be_deleted() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let labelled = service("redis").with_labels([
        (label::ZONE, "east"),
        (label::ORIGIN, label::ORIGIN_ZONE),
        (label::DISPLAY_NAME, "redis"),
    ]);
    put(&zone_store, labelled.clone()).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let (old, new) = (synced_from("east", &labelled.key), synced_from("west", &labelled.key));
    wait_until_exists(&global_store, &old).await;
    zone.stop().await;

    let zone = RunningZone::start("west", &zone_store, global.address);
    wait_for(&global_store, &new, |resource| label_of(resource, label::ZONE).as_deref() == Some("west")).await;
    assert!(zone_store.get(&labelled.key).await.expect("readable").is_some(), "its own stays");
    let zones = |name: &str| ResourceKey::global(Kind::Zone, name);
    for name in ["east", "west"] {
        let zone: Zone =
            global_store.get(&zones(name)).await.expect("readable").expect("exists").proto().expect("a Zone");
        assert_eq!(zone.enabled, Some(true));
    }
    assert!(global_store.get(&old).await.expect("readable").is_some(), "nobody said that it is gone");
    delete(&global_store, &zones("east")).await;
    wait_until_gone(&global_store, &old).await;
    wait_until_gone(&zone_store, &old).await;
    assert!(global_store.get(&new).await.expect("readable").is_some());
    assert!(zone_store.get(&labelled.key).await.expect("readable").is_some());
    zone.stop().await;
    global.stop().await;
}

// #15758: when the stream to global came first, it failed because the Zone did not exist yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_to_global_may_come_before_the_one_from_it() {
    let global_store = store();
    let global = RunningGlobal::start(&global_store).await;
    let channel = channel(global.address).await;
    let (responses, outgoing) = mpsc::channel(4);
    let networking = Networking { address: "10.0.0.1".into(), port: 10002, ..Networking::default() };
    let egress = ZoneEgress { networking: Some(networking), ..ZoneEgress::default() };
    let egress = Resource::from_proto(ResourceKey::global(Kind::ZoneEgress, "egress"), &egress);
    let body = mapper::encode_for_global(&egress, "east", &[]).expect("encodable").body;
    // What a zone has is on its way before global has heard of the zone.
    let first = DeltaResponse {
        type_url: "ZoneEgress".into(),
        nonce: "1".into(),
        resources: vec![body],
        ..DeltaResponse::default()
    };
    responses.send(first).await.expect("there is room");
    let mut sync = KDSSyncServiceClient::new(channel.clone());
    let answer = sync.zone_to_global_sync(introduced(ReceiverStream::new(outgoing))).await;
    let mut up = answer.expect("opened").into_inner();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_requests, mut down) = subscribed(&channel, "east-0001").await;
    next(&mut down).await.expect("answered").expect("answered");
    loop {
        let request = next(&mut up).await.expect("open").expect("open");
        if request.response_nonce == "1" {
            assert_eq!(request.error_detail, None);
            break;
        }
    }
    let stored = global_store.list(Kind::ZoneEgress, None).await.expect("readable");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].owner, Some(ResourceKey::global(Kind::Zone, "east")));
    global.stop().await;
}

// #12983, behind a gateway that keeps the connection of a control plane open which is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_held_by_a_control_plane_that_is_gone_becomes_free() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let channel = channel(global.address).await;
    let (requests, mut stream) = subscribed(&channel, "gone-0000").await;
    next(&mut stream).await.expect("answered").expect("answered");
    requests
        .send(DeltaRequest { response_nonce: "1".into(), ..subscription("gone-0000", "Mesh") })
        .await
        .expect("open");
    // Its connection stays open, and answers pings.
    put(&global_store, mesh("default")).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &mesh("default").key).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_held_by_a_control_plane_that_is_there_stays_taken() {
    let (global_store, first_store, second_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&global_store, mesh("default")).await;
    let first = RunningZone::start("east", &first_store, global.address);
    wait_until_exists(&first_store, &mesh("default").key).await;
    let since = first.status.peer("global").expect("connected").connected;
    let mut other = settings("east", global.address);
    other.common = common("other-0002");
    let second = RunningZone::start_with(other, &second_store);
    // Longer than the first one has for a sign of life.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(second_store.get(&mesh("default").key).await.expect("readable").is_none());
    put(&global_store, mesh("later")).await;
    wait_until_exists(&first_store, &mesh("later").key).await;
    assert_eq!(first.status.peer("global").expect("connected").connected, since, "the connection is the same");
    first.stop().await;
    second.stop().await;
    global.stop().await;
}
