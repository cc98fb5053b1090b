//! Flow control: nobody waits for room while the other side waits for room, too.

use std::time::Duration;

use tandem_kds::mapper;
use tandem_kds::rpc::global_k_d_s_service_client::GlobalKDSServiceClient;
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::wire::DeltaResponse;
use tandem_model::{Kind, Resource};
use tandem_proto::mesh::v1alpha1::{StatsRequest, ZoneHealthCheckRequest};
use tandem_store::{SharedStore, Write};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::common::*;
use super::global::ScriptedGlobal;
use super::questions::Gate;
use super::slow::slow;

/// Resources that are created on each side.
const MANY: usize = 3000;
/// Resources of one write.
const BATCH: usize = 50;

fn batches(make: fn(&str) -> Resource) -> impl Iterator<Item = Vec<Write>> {
    (0..MANY)
        .step_by(BATCH)
        .map(move |first| (first..first + BATCH).map(|index| Write::Put(make(&format!("r-{index}")))).collect())
}

async fn count(store: &SharedStore, kind: Kind) -> usize {
    store.list(kind, None).await.expect("readable").len()
}

// #14486: creating very many policies at once stopped the way from global to the zone: both sides waited for room to send
// and neither received.
#[tokio::test(flavor = "multi_thread")]
async fn mass_creation_on_both_sides_over_a_slow_network_stops_neither_direction() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&global_store, mesh("default")).await;
    let mut settings = settings("east", global.address);
    settings.dial = slow(400_000);
    let zone = RunningZone::start_with(settings, &zone_store);
    wait_until_exists(&zone_store, &mesh("default").key).await;

    let below = {
        let store = zone_store.clone();
        tokio::spawn(async move {
            for batch in batches(service) {
                store.commit(batch).await.expect("valid writes");
                tokio::task::yield_now().await;
            }
        })
    };
    for batch in batches(|name| timeout(name, "1s")) {
        global_store.commit(batch).await.expect("valid writes");
        tokio::task::yield_now().await;
    }
    below.await.expect("written");
    let began = tokio::time::Instant::now();
    loop {
        let there = (count(&zone_store, Kind::MeshTimeout).await, count(&global_store, Kind::MeshService).await);
        if there == (MANY, MANY) {
            break;
        }
        assert!(began.elapsed() < 3 * PATIENCE, "only {there:?} arrived in the zone and at global");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_global_does_not_read_takes_nothing_from_the_others() {
    let global_store = store();
    let global = RunningGlobal::start(&global_store).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", global.address)).expect("an address");
    let channel = endpoint.connect().await.expect("somebody listens");
    // Global reads the stream from the zone only once it knows who is there, which this one never says.
    let (up, outgoing) = mpsc::channel(1);
    let mut sync = KDSSyncServiceClient::new(channel.clone());
    let unread = sync.zone_to_global_sync(introduced(ReceiverStream::new(outgoing))).await.expect("opened");
    let half = DeltaResponse { resources: vec![vec![7; 512 * 1024].into()], ..DeltaResponse::default() };
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), up.send(half.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "global reads, so this shows nothing");
    }
    let mut questions = GlobalKDSServiceClient::new(channel);
    let answer = tokio::time::timeout(PATIENCE, questions.health_check(introduced(ZoneHealthCheckRequest {}))).await;
    answer.expect("there is room for it").expect("answered");
    drop(unread);
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_zone_does_not_read_takes_nothing_from_the_others() {
    let (global, zone_store) = (ScriptedGlobal::listen("east").await, store());
    let (gate, executor) = Gate::closed();
    let zone = RunningZone::start_answering(settings("east", global.address), &zone_store, executor);
    global.until_connected().await;
    // More questions than the zone takes while none is answered, and then large ones.
    let question = |index: usize| StatsRequest {
        request_id: index.to_string(),
        resource_type: "Dataplane".into(),
        resource_name: "n".repeat(if index < 1100 { 10 } else { 256 * 1024 }),
        resource_mesh: "default".into(),
        ..StatsRequest::default()
    };
    let mut asked = 0;
    while tokio::time::timeout(Duration::from_millis(500), global.ask(question(asked))).await.is_ok() {
        asked += 1;
        assert!(asked < 1200, "the zone reads, so this shows nothing");
    }
    let before = global.answers();
    let name = |index: usize| format!("{index}-{}", "m".repeat(100));
    let body = |index| mapper::encode_for_zones(&mesh(&name(index)), true, &[]).expect("encodable").body;
    let response = DeltaResponse {
        type_url: "Mesh".into(),
        nonce: "1".into(),
        resources: (0..MANY).map(body).collect(),
        ..DeltaResponse::default()
    };
    assert_eq!(global.send(response).await, None);
    assert_eq!(count(&zone_store, Kind::Mesh).await, MANY);
    // The zone did not have to read the questions first. (On a machine slow enough it may have given up on some already.)
    assert!(before > 0 || global.answers() == 0, "{} answers", global.answers());
    gate.open();
    zone.stop().await;
}
