//! Checking tokens leaves the store alone.

use async_trait::async_trait;
use tandem_store::{Author, ChangeFeed, Committed, HistoryEntry, Page, Revision, Store, StoreError, StoreId, Window};

use super::*;

/// A store that can be written and followed, but not read.
#[derive(Default)]
struct Unreadable(MemoryStore);

#[async_trait]
impl Store for Unreadable {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        panic!("{key} was read")
    }

    async fn list(&self, kind: Kind, _: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        panic!("{kind} was listed")
    }

    async fn page(&self, kind: Kind, _: Option<&str>, _: Option<&ResourceKey>, _: usize) -> Result<Page, StoreError> {
        panic!("{kind} was listed")
    }

    async fn window(&self, kind: Kind, _: Option<&str>, _: usize, _: usize) -> Result<Window, StoreError> {
        panic!("{kind} was listed")
    }

    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.0.commit_as(author, writes).await
    }

    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.0.preview(writes)
    }

    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        panic!("the history of {key} was read")
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.0.changes(revision)
    }

    fn id(&self) -> StoreId {
        self.0.id()
    }

    fn revision(&self) -> Revision {
        self.0.revision()
    }
}

#[tokio::test]
async fn tokens_are_issued_and_checked_without_reading_the_store() {
    let store: SharedStore = Arc::new(Unreadable::default());
    let tokens = Tokens::new(&store, Settings::default());
    put(&store, mesh("m").key(1), &generate_pem().expect("key")).await;
    let old = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    put(&store, mesh("m").key(2), &generate_pem().expect("key")).await;
    let new = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    for token in [&old, &new] {
        assert_eq!(tokens.check_dataplane(token, "m").expect("valid"), claims());
    }
    let id = payload(&new)["jti"].as_str().expect("id").to_owned();
    put(&store, mesh("m").revocations()[0].clone(), &id).await;
    assert!(matches!(tokens.check_dataplane(&new, "m"), Err(TokenError::Revoked)));
    store.commit(vec![Write::Delete { key: mesh("m").key(1), expected: None }]).await.expect("deleted");
    assert!(matches!(tokens.check_dataplane(&old, "m"), Err(TokenError::UnknownKey(_))));
}

#[tokio::test]
async fn keys_survive_a_ring_that_is_far_behind() {
    let store: SharedStore = Arc::new(Unreadable::default());
    let tokens = Tokens::new(&store, Settings::default());
    put(&store, mesh("m").key(1), &generate_pem().expect("key")).await;
    let token = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    // More than a feed keeps, so that the ring is told everything anew.
    let other = ResourceKey::global(Kind::GlobalSecret, "other");
    for round in 0..20_000 {
        put(&store, other.clone(), &round.to_string()).await;
    }
    tokens.check_dataplane(&token, "m").expect("the same key");
    store.commit(vec![Write::Delete { key: mesh("m").key(1), expected: None }]).await.expect("deleted");
    assert!(matches!(tokens.check_dataplane(&token, "m"), Err(TokenError::UnknownKey(_))));
}
