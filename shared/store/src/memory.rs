//! The backend that persists nothing.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};

use crate::history;
use crate::memory_history::MemoryHistory;
use crate::publisher::{Core, Publisher};
use crate::state::State;
use crate::{Author, ChangeFeed, Committed, HistoryEntry, Page, Revision, Store, StoreError, StoreId, Window, Write};

/// A store in memory only: for tests, and for control planes whose state may be lost with the process.
#[derive(Debug)]
pub struct MemoryStore {
    id: StoreId,
    core: Core,
    writer: Mutex<Writer>,
}

/// What only one writer at a time may use.
#[derive(Debug)]
struct Writer {
    publisher: Publisher,
    history: MemoryHistory,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        let (core, publisher) = Publisher::new(State::default());
        Self { id: StoreId::new(), core, writer: Mutex::new(Writer { publisher, history: MemoryHistory::default() }) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        Ok(self.core.state.read().get(key).cloned())
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        Ok(self.core.state.read().list(kind, mesh))
    }

    async fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        Ok(self.core.page(kind, mesh, after, limit))
    }

    async fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Result<Window, StoreError> {
        Ok(self.core.state.read().window(kind, mesh, offset, limit))
    }

    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError> {
        let mut writer = self.writer.lock();
        let staged = writer.publisher.stage([(author, writes)]);
        let staged = staged.into_iter().next().expect("one transaction has one result")?;
        writer.history.record(&staged);
        writer.publisher.publish([&staged.committed]);
        Ok(staged.committed)
    }

    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.core.preview(writes)
    }

    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        let writer = self.writer.lock();
        Ok(history::entries(writer.history.of(key), writer.publisher.get(key)))
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.core.changes(revision)
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn revision(&self) -> Revision {
        self.core.state.read().revision()
    }
}
