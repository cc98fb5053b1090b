//! How far a peer is said to be, over real connections.

mod common;

use std::net::SocketAddr;

use common::*;
use futures::StreamExt;
use prost::Message;
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::status::{Peers, STALL, State, SyncReports, SyncStatus};
use tandem_kds::wire::{DeltaRequest, DeltaResource, DeltaResponse, ErrorDetail, WILDCARD};
use tandem_kds::{Identity, node};
use tandem_model::{Kind, ResourceKey};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// A zone that does as a test says. Both of its streams are open.
struct ScriptedZone {
    requests: mpsc::Sender<DeltaRequest>,
    responses: Streaming<DeltaResponse>,
    _up: (mpsc::Sender<DeltaResponse>, Streaming<DeltaRequest>),
}

impl ScriptedZone {
    async fn connect(address: SocketAddr, types: &[Kind]) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut client = KDSSyncServiceClient::new(endpoint.connect().await.expect("somebody listens"));
        let (requests, outgoing) = mpsc::channel(64);
        let node = Identity { instance: "east-0001".into(), ..Identity::default() }.node("east");
        for kind in types {
            let request = DeltaRequest {
                node: Some(node.clone()),
                type_url: kind.name().into(),
                resource_names_subscribe: vec![WILDCARD.into()],
                ..DeltaRequest::default()
            };
            requests.send(request).await.expect("room");
        }
        let responses = client.global_to_zone_sync(introduced(ReceiverStream::new(outgoing))).await.expect("opened");
        let (up, outgoing) = mpsc::channel(64);
        let subscriptions =
            client.zone_to_global_sync(introduced(ReceiverStream::new(outgoing))).await.expect("opened");
        Self { requests, responses: responses.into_inner(), _up: (up, subscriptions.into_inner()) }
    }

    async fn next(&mut self) -> DeltaResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.next()).await.expect("a response in time");
        next.expect("goes on").expect("no error")
    }

    async fn answer(&self, response: &DeltaResponse, complaint: Option<&str>) {
        let request = DeltaRequest {
            node: Some(node::bare("east")),
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: complaint.map(|message| ErrorDetail { code: 0, message: message.to_owned() }),
            ..DeltaRequest::default()
        };
        self.requests.send(request).await.expect("open");
    }
}

/// State of a peer as it will be at once, and after nothing has happened for a while.
fn states(status: &SyncStatus, peer: &str) -> (State, State) {
    let peer = status.peer(peer).unwrap_or_default();
    (peer.state(Instant::now()), peer.state(Instant::now() + STALL))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_in_sync_only_once_it_has_confirmed_and_stalled_when_it_does_not() {
    let global_store = store();
    put(&global_store, mesh("default")).await;
    let global = RunningGlobal::start(&global_store).await;
    let mut zone = ScriptedZone::connect(global.address, &[Kind::Mesh]).await;
    let first = zone.next().await;
    eventually("both streams are known", || {
        global.status.peer("east").is_some_and(|peer| peer.receiving.is_some() && peer.sending.is_some())
    })
    .await;
    assert_eq!(states(&global.status, "east"), (State::CatchingUp, State::Stalled), "it has not confirmed anything");
    let sent = || global.status.peer("east").expect("known").sent[&Kind::Mesh].clone();
    assert_eq!((sent().pending, sent().acknowledged_revision), (1, None));

    zone.answer(&first, None).await;
    let in_sync = (State::InSync, State::InSync);
    eventually("the answer arrives", || states(&global.status, "east") == in_sync).await;
    let before = sent();
    assert_eq!((before.pending, before.acknowledged_revision), (0, Some(before.revision)));

    // The connection lives, and the zone takes the change without a word.
    put(&global_store, mesh("second")).await;
    let second = zone.next().await;
    assert_eq!(states(&global.status, "east").1, State::Stalled);
    put(&global_store, mesh("third")).await;
    eventually("the next change is seen to wait", || sent().pending == 2).await;
    assert_eq!(sent().acknowledged_revision, before.acknowledged_revision, "moves with an answer only");
    assert!(sent().revision > before.revision);

    // An answer to something else is no answer.
    zone.answer(&first, None).await;
    let third = zone.next().await;
    assert_eq!(states(&global.status, "east").1, State::Stalled);
    zone.answer(&second, None).await;
    zone.answer(&third, None).await;
    eventually("it has everything", || states(&global.status, "east") == in_sync).await;
    assert_eq!(sent().acknowledged_revision, Some(sent().revision));
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_resource_is_listed_until_it_changes_and_delays_no_other() {
    let global_store = store();
    for name in ["a", "b", "c"] {
        put(&global_store, timeout(name, "1s")).await;
    }
    let global = RunningGlobal::start(&global_store).await;
    let mut zone = ScriptedZone::connect(global.address, &[Kind::MeshTimeout]).await;
    let sent = || global.status.peer("east").expect("known").sent[&Kind::MeshTimeout].clone();
    let first = zone.next().await;
    let there = synced_from_global(&timeout("b", "").key);
    zone.answer(&first, Some(&format!("{there}: spec: spoiled"))).await;
    eventually("it is listed", || !sent().left_out.is_empty()).await;
    assert_eq!(sent().left_out.keys().collect::<Vec<_>>(), [&timeout("b", "").key]);
    assert!(sent().left_out[&timeout("b", "").key].text.contains("spoiled"));
    assert_eq!((sent().pending, sent().acknowledged_revision), (0, Some(sent().revision)), "the others are applied");

    put(&global_store, timeout("b", "2s")).await;
    let second = zone.next().await;
    zone.answer(&second, None).await;
    eventually("it is forgotten", || sent().left_out.is_empty() && sent().error.is_none()).await;

    // A complaint that names nothing can be about any of several, and confirms none of them.
    let confirmed = sent().acknowledged_revision;
    let both = vec![timeout("a", "3s"), timeout("c", "3s")].into_iter().map(tandem_store::Write::Put).collect();
    global_store.commit(both).await.expect("valid writes");
    let third = zone.next().await;
    assert_eq!(third.resources.len(), 2);
    zone.answer(&third, Some("spec.to[0].default: at least one timeout should be configured")).await;
    eventually("the complaint arrives", || sent().rejected == 2).await;
    assert_eq!((sent().pending, sent().acknowledged_revision), (2, confirmed));
    assert_eq!(states(&global.status, "east").1, State::Stalled);

    // Each one alone is told.
    for name in ["a", "c"] {
        put(&global_store, timeout(name, "4s")).await;
        let response = zone.next().await;
        let named = DeltaResource::decode(response.resources[0].clone()).expect("a resource").name;
        assert!(named.starts_with(name), "{named}");
        zone.answer(&response, (name == "a").then_some("spec: rotten")).await;
    }
    eventually("both are judged", || sent().pending == 0).await;
    assert_eq!(sent().left_out.keys().collect::<Vec<_>>(), [&timeout("a", "").key]);
    delete(&global_store, &timeout("a", "").key).await;
    let removal = zone.next().await;
    zone.answer(&removal, None).await;
    eventually("what is gone is not listed", || sent().left_out.is_empty()).await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_do_not_concern_a_zone_are_not_pending_for_it() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&zone_store, service("redis")).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&global_store, &synced_from("east", &service("redis").key)).await;
    let in_sync = (State::InSync, State::InSync);
    eventually("global is in sync", || states(&global.status, "east") == in_sync).await;
    eventually("so is the zone", || states(&zone.status, "global") == in_sync).await;
    let sent = || global.status.peer("east").expect("known").sent[&Kind::MeshService].clone();
    let before = sent();
    // Its own service comes back as a change of the store that the zone does not get.
    put(&zone_store, service("redis").with_labels([("team", "b")])).await;
    let above = synced_from("east", &service("redis").key);
    wait_for(&global_store, &above, |resource| label_of(resource, "team").as_deref() == Some("b")).await;
    put(&global_store, mesh("later")).await;
    wait_until_exists(&zone_store, &ResourceKey::global(Kind::Mesh, "later")).await;
    assert_eq!((sent().responses, sent().revision), (before.responses, before.revision));
    let up = || zone.status.peer("global").expect("known").sent[&Kind::MeshService].clone();
    eventually("the zone knows what global has", || up().acknowledged_revision == Some(up().revision)).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_zone_that_is_away_is_counted() {
    let (global_store, zone_store) = (store(), store());
    for name in ["kept", "changed", "deleted"] {
        put(&global_store, timeout(name, "1s")).await;
    }
    let global = RunningGlobal::start(&global_store).await;
    let reports = SyncReports::new(global.status.clone(), global_store.clone(), Peers::Zones, "global-0001");
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &synced_from_global(&timeout("deleted", "").key)).await;
    eventually("in sync", || states(&global.status, "east") == (State::InSync, State::InSync)).await;
    zone.stop().await;
    eventually("gone", || states(&global.status, "east").0 == State::Offline).await;
    let report = async || reports.zone("east").await.expect("readable").expect("a zone");
    let away = report().await;
    assert_eq!((away.state, away.pending, away.connected_since), (State::Offline, Some(0), None));
    assert!(away.disconnected_since.is_some());

    put(&global_store, timeout("changed", "2s")).await;
    put(&global_store, timeout("new", "1s")).await;
    delete(&global_store, &timeout("deleted", "").key).await;
    put(&global_store, mesh("new")).await;
    // The figures come from what follows the store.
    let began = Instant::now();
    let away = loop {
        let away = report().await;
        if away.pending == Some(4) {
            break away;
        }
        assert!(began.elapsed() < PATIENCE, "{away:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    let types = away.sent.expect("detailed");
    let of = |kind: Kind| types.iter().find(|report| report.r#type == kind.name()).expect("known");
    assert_eq!((of(Kind::MeshTimeout).pending, of(Kind::Mesh).pending), (Some(3), Some(1)));
    assert!(of(Kind::MeshTimeout).acknowledged_revision.is_some());
    assert!(away.lag_seconds.is_some());
    let overview = reports.overview().await.expect("readable");
    assert_eq!((overview.total.pending, overview.total.states["offline"]), (4, 1));
    global.stop().await;
}
