//! The backend that persists nothing.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};

use crate::publisher::{Core, Publisher};
use crate::state::State;
use crate::{ChangeFeed, Committed, Revision, Store, StoreError, Write};

/// A store in memory only: for tests, and for control planes whose state may be lost with the process.
#[derive(Debug)]
pub struct MemoryStore {
    core: Core,
    publisher: Mutex<Publisher>,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        let (core, publisher) = Publisher::new(State::default());
        Self { core, publisher: Mutex::new(publisher) }
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

    async fn commit(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        let publisher = self.publisher.lock();
        let staged = publisher.stage([writes]).into_iter().next().expect("one transaction has one result")?;
        publisher.publish([(staged.committed.revision, staged.changes.as_slice())]);
        Ok(staged.committed)
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.core.changes(revision)
    }

    fn revision(&self) -> Revision {
        self.core.state.read().revision()
    }
}
