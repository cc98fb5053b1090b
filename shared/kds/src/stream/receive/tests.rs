use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tandem_model::{Resource, ResourceKey, Violations, label};
use tandem_store::{MemoryStore, SharedStore};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::apply::{Applier, DeletionGuard};
use crate::status::SyncStatus;
use crate::{KdsMetrics, mapper};

const MINUTE: Duration = Duration::from_secs(60);

/// A zone that receives, with the test as global.
struct Zone {
    store: SharedStore,
    status: SyncStatus,
    responses: mpsc::Sender<Result<DeltaResponse, Status>>,
    requests: mpsc::Receiver<DeltaRequest>,
    task: JoinHandle<Result<(), Status>>,
}

impl Zone {
    fn start(backoff: Duration, guard: DeletionGuard) -> Self {
        Self::start_at(Pace { backoff, pause: Pause::never(), most_kept: 0 }, guard)
    }

    fn start_at(pace: Pace, guard: DeletionGuard) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let applier = Applier::new(store.clone(), Inlet::Zone, Arc::new(|_| Violations::none()), guard);
        let (responses, received) = mpsc::channel(8);
        let (sent, requests) = mpsc::channel(64);
        let status = SyncStatus::new();
        let observer = Observer { peer: "global".to_owned(), status: status.clone(), metrics: KdsMetrics::default() };
        let task = tokio::spawn(async move {
            let identity = Identity::default();
            receive(ReceiverStream::new(received), sent, applier.open(), "east", &identity, pace, observer).await
        });
        Self { store, status, responses, requests, task }
    }

    async fn subscriptions(&mut self) -> usize {
        let kinds = Kind::all().filter(|&kind| Inlet::Zone.receives(kind)).count();
        for _ in 0..kinds {
            assert_eq!(self.requests.recv().await.expect("one for each type").response_nonce, "");
        }
        kinds
    }

    async fn send(&self, kind: Kind, nonce: &str, resources: Vec<Bytes>, removed: &[&str]) {
        let response = DeltaResponse {
            type_url: kind.name().to_owned(),
            nonce: nonce.to_owned(),
            resources,
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaResponse::default()
        };
        self.responses.send(Ok(response)).await.expect("the stream is open");
    }

    /// Nonce of the next answer, whether it confirms, and when it came.
    async fn answer(&mut self) -> (String, bool, Instant) {
        let request = self.requests.recv().await.expect("an answer");
        (request.response_nonce, request.error_detail.is_none(), Instant::now())
    }

    async fn count(&self) -> usize {
        self.store.list(Kind::MeshTimeout, None).await.expect("readable").len()
    }
}

fn policies(range: std::ops::Range<usize>) -> Vec<Bytes> {
    let policy = |n| {
        let key = ResourceKey::new(Kind::MeshTimeout, "default", format!("t{n}"));
        let policy = Resource::from_json(key, json!({})).with_labels([(label::MESH, "default")]);
        mapper::encode_for_zones(&policy, false, &[]).expect("encodable").body
    };
    range.map(policy).collect()
}

#[tokio::test(start_paused = true)]
async fn confirmations_wait_for_the_configured_time_unless_they_are_first() {
    let mut zone = Zone::start(MINUTE, DeletionGuard::default());
    assert_eq!(zone.subscriptions().await, 43);
    let began = Instant::now();
    zone.send(Kind::MeshTimeout, "1", policies(0..1), &[]).await;
    assert_eq!(zone.answer().await, ("1".into(), true, began));
    zone.send(Kind::MeshTimeout, "2", policies(1..2), &[]).await;
    // Others need not wait for it, nor do complaints.
    zone.send(Kind::MeshRetry, "3", Vec::new(), &[]).await;
    zone.send(Kind::MeshRetry, "4", vec![Bytes::from_static(&[0xff])], &[]).await;
    assert_eq!(zone.answer().await, ("3".into(), true, began));
    assert_eq!(zone.answer().await, ("4".into(), false, began));
    assert_eq!(zone.count().await, 2, "applied at once");
    assert_eq!(zone.answer().await, ("2".into(), true, began + MINUTE));
}

#[tokio::test(start_paused = true)]
async fn held_deletions_are_carried_out_when_it_is_time_or_somebody_says_so() {
    let guard = DeletionGuard { hold: 5 * MINUTE, ..DeletionGuard::default() };
    for released in [false, true] {
        let mut zone = Zone::start(Duration::ZERO, guard);
        zone.subscriptions().await;
        // Of a connection before this one.
        let applier = Applier::new(zone.store.clone(), Inlet::Zone, Arc::new(|_| Violations::none()), guard);
        let before = DeltaResponse { resources: policies(0..20), ..DeltaResponse::default() };
        applier.open().apply(Kind::MeshTimeout, &before).await.expect("the store works");

        let began = Instant::now();
        zone.send(Kind::MeshTimeout, "1", policies(0..1), &[]).await;
        assert!(zone.answer().await.1);
        assert_eq!(zone.count().await, 20);
        let status = zone.status.peer("global").expect("connected").received[&Kind::MeshTimeout].clone();
        let held = status.held.expect("many are missing");
        assert_eq!((held.resources.len(), held.until), (19, Some(began + 5 * MINUTE)));
        if released {
            assert_eq!(zone.status.release("global", Kind::MeshTimeout), Ok(19));
        }
        let mut feed = zone.store.changes(zone.store.revision());
        feed.next().await.expect("they go");
        assert_eq!(zone.count().await, 1);
        assert_eq!(began.elapsed(), if released { Duration::ZERO } else { 5 * MINUTE });
        // The status is written after the store.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = zone.status.peer("global").expect("connected").received[&Kind::MeshTimeout].clone();
        assert_eq!((status.held, status.resources), (None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_of_the_other_direction_is_refused_and_counted() {
    let mut zone = Zone::start(Duration::ZERO, DeletionGuard::default());
    zone.subscriptions().await;
    zone.send(Kind::Dataplane, "1", Vec::new(), &[]).await;
    let request = zone.requests.recv().await.expect("an answer");
    let complaint = request.error_detail.expect("refused").message;
    assert_eq!(complaint, "type \"Dataplane\" is not sent in this direction");
    assert_eq!(zone.status.peer("global").expect("connected").received[&Kind::Dataplane].refused, 1);
    drop(zone.responses);
    zone.task.await.expect("no panic").expect("a regular end");
}

#[tokio::test(start_paused = true)]
async fn a_resting_stream_keeps_what_is_under_way_and_goes_on_with_it() {
    let disabled = watch::Sender::new(Some(Arc::default()));
    let pause = Pause::while_disabled("east", disabled.subscribe());
    let large = policies(0..20);
    let bytes: usize = large.iter().map(Bytes::len).sum();
    let pace = Pace { backoff: Duration::ZERO, pause, most_kept: bytes * 3 / 2 };
    let mut zone = Zone::start_at(pace, DeletionGuard::default());
    zone.subscriptions().await;
    let rest = |zones: &[&str]| {
        let zones = zones.iter().map(|&zone| zone.to_owned()).collect();
        disabled.send_replace(Some(Arc::new(zones)));
    };
    rest(&["east"]);
    tokio::time::sleep(MINUTE).await;
    zone.send(Kind::MeshTimeout, "1", policies(0..1), &[]).await;
    zone.send(Kind::MeshRetry, "2", Vec::new(), &[]).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(zone.responses.capacity(), zone.responses.max_capacity(), "everything was read");
    assert_eq!(zone.count().await, 0, "and nothing applied");
    assert!(zone.requests.is_empty(), "or confirmed");

    rest(&["west"]);
    let now = Instant::now();
    assert_eq!(zone.answer().await, ("1".into(), true, now));
    assert_eq!(zone.answer().await, ("2".into(), true, now));
    assert_eq!(zone.count().await, 1);

    // Somebody who does not wait for confirmations has no right to memory here.
    rest(&["east"]);
    tokio::time::sleep(MINUTE).await;
    zone.send(Kind::MeshTimeout, "3", large.clone(), &[]).await;
    tokio::time::sleep(MINUTE).await;
    assert!(!zone.task.is_finished());
    zone.send(Kind::MeshTimeout, "4", large, &[]).await;
    let status = zone.task.await.expect("no panic").expect_err("it ends");
    assert!(status.message().contains("zone is disabled"), "{status}");
}
