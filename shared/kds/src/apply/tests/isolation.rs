//! What the store refuses stays alone.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use tandem_store::{Author, ChangeFeed, Committed, HistoryEntry, Page, Store, Window};

use super::*;

/// A store that does not take resources named `refused…`, and in which `contended…` is always changed by somebody else
/// when it is to be written.
struct Picky {
    store: MemoryStore,
    /// Transactions that were tried.
    tried: AtomicUsize,
    /// Transactions from which on all fail.
    broken_after: usize,
}

impl Picky {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: MemoryStore::new(), tried: AtomicUsize::new(0), broken_after: usize::MAX })
    }
}

#[async_trait]
impl Store for Picky {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        self.store.list(kind, mesh).await
    }

    async fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.page(kind, mesh, after, limit).await
    }

    async fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Result<Window, StoreError> {
        self.store.window(kind, mesh, offset, limit).await
    }

    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError> {
        if self.tried.fetch_add(1, Ordering::Relaxed) >= self.broken_after {
            return Err(StoreError::Backend("the disk is full".into()));
        }
        for key in writes.iter().map(key_of) {
            if key.name.starts_with("refused") {
                return Err(StoreError::InvalidKey(key.clone()));
            }
            if key.name.starts_with("contended") {
                return Err(StoreError::Conflict(key.clone()));
            }
        }
        self.store.commit_as(author, writes).await
    }

    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.store.preview(writes)
    }

    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        self.store.history(key).await
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.store.changes(revision)
    }

    fn id(&self) -> StoreId {
        self.store.id()
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }
}

fn bodies(names: &[&str]) -> Vec<Bytes> {
    names.iter().map(|name| from_global(&timeout(name, 1, &[]))).collect()
}

async fn names(applier: &Applier) -> Vec<String> {
    stored(applier).await.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_resource_that_the_store_refuses_is_left_out_alone() {
    let zone = applier_of(Picky::new(), Inlet::Zone);
    let mut intake = zone.open();
    let sent = bodies(&["a", "refused-1", "b", "refused-2"]);
    let origin = Some(Origin { store: StoreId::new(), revision: 1 });
    let applied = intake.apply(Kind::MeshTimeout, &response(&sent, &[], origin)).await.expect("not the store's fault");
    assert_eq!(names(&zone).await, ["a", "b"]);
    assert_eq!(applied.created, 2);
    assert_eq!(applied.accepted.len(), 2);
    let complaint = applied.complaint().expect("two were left out");
    let lines: Vec<_> = complaint.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("invalid resource key: type=\"MeshTimeout\" name=\"refused-1\""), "{complaint}");
    // The stream goes on.
    let applied = intake.apply(Kind::MeshTimeout, &response(&bodies(&["c"]), &[], origin)).await.expect("the same");
    assert_eq!(applied.complaint(), None);
    assert_eq!(names(&zone).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn more_than_the_store_is_asked_for_at_once_may_be_refused() {
    let zone = applier_of(Picky::new(), Inlet::Zone);
    let many: Vec<_> = (0..3 * ATTEMPTS).map(|n| format!("refused-{n:02}")).collect();
    let sent: Vec<_> = many.iter().map(String::as_str).chain(["a", "b"]).collect();
    let applied = full(&zone, Kind::MeshTimeout, &bodies(&sent)).await;
    assert_eq!(names(&zone).await, ["a", "b"]);
    assert_eq!((applied.created, applied.accepted.len(), applied.rejected.len()), (2, 2, many.len()));
}

#[tokio::test]
async fn a_resource_that_somebody_else_keeps_writing_delays_no_other() {
    let picky = Picky::new();
    let zone = applier_of(picky.clone(), Inlet::Zone);
    let gone = timeout("gone", 1, &[(label::ORIGIN, "global")]);
    seed(&zone, gone).await;
    let applied = full(&zone, Kind::MeshTimeout, &bodies(&["a", "contended", "b"])).await;
    assert_eq!(names(&zone).await, ["a", "b"]);
    assert_eq!((applied.created, applied.deleted), (2, 1));
    assert_eq!(applied.accepted.len(), 2);
    assert_eq!(applied.rejected.len(), 1);
    assert!(applied.complaint().is_some_and(|text| text.contains("\"contended\"")));
    assert!(picky.tried.load(Ordering::Relaxed) < 10 * ATTEMPTS);
}

#[tokio::test]
async fn a_store_that_fails_ends_the_stream() {
    let store = Arc::new(Picky { store: MemoryStore::new(), tried: AtomicUsize::new(0), broken_after: 0 });
    let zone = applier_of(store, Inlet::Zone);
    let sent = response(&bodies(&["a"]), &[], None);
    let refusal = zone.open().apply(Kind::MeshTimeout, &sent).await.expect_err("the disk is full");
    let status = Status::from(refusal);
    assert_eq!(status.code(), tonic::Code::Internal);
    assert!(status.message().contains("the disk is full"), "{status}");
}

/// Somebody writes to a resource again and again, as what computes statuses does, and loses nothing by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_resolved_by_trying_again() {
    const ROUNDS: u32 = 100;
    let zone = applier(Inlet::Zone);
    let service = |value: u32| {
        let key = ResourceKey::new(Kind::MeshService, "default", "s");
        Resource::from_json(key, json!({"value": value})).with_labels([(label::ZONE, "west")])
    };
    let body = |value| mapper::encode_for_zones(&service(value), false, &[]).expect("encodable").body;
    full(&zone, Kind::MeshService, &[body(0)]).await;
    let key = service(0).key;
    let writer = {
        let (store, key) = (zone.store.clone(), key.clone());
        tokio::spawn(async move {
            for n in 0..ROUNDS {
                let present = store.get(&key).await.expect("readable").expect("exists");
                let mut resource = (*present).clone();
                resource.status = Some(json!({"written": n}));
                let update = Write::Update { resource, expected: Some(present.version) };
                // A lost race is fine here; the next round writes again.
                _ = store.commit(vec![update]).await;
                tokio::task::yield_now().await;
            }
        })
    };
    for value in 1..=ROUNDS {
        let applied = later(&zone, Kind::MeshService, &[body(value)], &[]).await;
        assert_eq!(applied.complaint(), None);
        let present = zone.store.get(&key).await.expect("readable").expect("exists");
        assert_eq!(present.spec, service(value).spec);
    }
    writer.await.expect("no panic");
}
