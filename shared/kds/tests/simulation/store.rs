//! The store of a process: one that outlives it, behind a door that can be slow, jam, or fall shut when the process dies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{
    Author, ChangeFeed, Committed, HistoryEntry, MemoryStore, Page, Revision, Store, StoreError, StoreId, Window, Write,
};

use crate::ledger::Ledger;

/// What happens to writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Door {
    /// The process is dead: nothing that it still does has an effect.
    pub dead: bool,
    /// How long a write takes.
    pub delay: Duration,
    /// Writes fail.
    pub failing: bool,
    /// What is done to prove that the checks see it.
    pub sabotage: Option<Sabotage>,
}

/// A receiver that does not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Updates are confirmed and not stored.
    DropUpdates,
    /// A write deletes something else that came from the same side.
    DeleteAnother,
    /// Deletions are confirmed and not carried out.
    KeepDeleted,
}

/// See the module.
pub struct ProcessStore {
    pub owner: String,
    pub backing: Arc<MemoryStore>,
    pub id: StoreId,
    pub door: Arc<Mutex<Door>>,
    pub ledger: Arc<Ledger>,
}

impl ProcessStore {
    /// Writes of peers, as the sabotage leaves them.
    fn sabotaged(&self, sabotage: Sabotage, author: &Author, writes: Vec<Write>) -> Vec<Write> {
        if !matches!(author, Author::Peer(_)) {
            return writes;
        }
        match sabotage {
            Sabotage::DropUpdates => {
                writes.into_iter().filter(|write| !matches!(write, Write::Update { .. })).collect()
            }
            Sabotage::KeepDeleted => {
                writes.into_iter().filter(|write| !matches!(write, Write::Delete { .. })).collect()
            }
            Sabotage::DeleteAnother => {
                let mut writes = writes;
                let touched = |key: &ResourceKey| {
                    writes.iter().any(|write| match write {
                        Write::Create(resource) | Write::Put(resource) | Write::Update { resource, .. } => {
                            resource.key == *key
                        }
                        Write::Delete { key: deleted, .. } => deleted == key,
                    })
                };
                let victim = self.ledger.some_replica(&self.owner).filter(|key| !touched(key));
                writes.extend(victim.map(|key| Write::Delete { key, expected: None }));
                writes
            }
        }
    }
}

#[async_trait]
impl Store for ProcessStore {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        self.backing.get(key).await
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        self.backing.list(kind, mesh).await
    }

    async fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.backing.page(kind, mesh, after, limit).await
    }

    async fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Result<Window, StoreError> {
        self.backing.window(kind, mesh, offset, limit).await
    }

    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError> {
        let delay = self.door.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let door = *self.door.lock();
        if door.dead || door.failing {
            return Err(StoreError::Backend("the disk does not answer".into()));
        }
        let writes = match door.sabotage {
            Some(sabotage) => self.sabotaged(sabotage, &author, writes),
            None => writes,
        };
        let committed = self.backing.commit_as(author, writes).await?;
        self.ledger.committed(&self.owner, &committed.changes);
        Ok(committed)
    }

    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.backing.preview(writes)
    }

    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        self.backing.history(key).await
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.backing.changes(revision)
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn revision(&self) -> Revision {
        self.backing.revision()
    }
}
