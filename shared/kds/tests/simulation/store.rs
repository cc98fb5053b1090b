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
    /// Deletions are confirmed and not carried out.
    KeepDeleted,
    /// A write deletes something else that came from the same side.
    DeleteAnother,
    /// What was deleted is created again with the next write.
    Resurrect,
    /// What was updated is put back with the next write.
    PutBack,
    /// One refused resource makes all of its type be refused from then on.
    RefuseType,
    /// Each write leaves a task behind.
    LeakTasks,
}

/// See the module.
pub struct ProcessStore {
    pub owner: String,
    pub backing: Arc<MemoryStore>,
    pub id: StoreId,
    pub door: Arc<Mutex<Door>>,
    pub ledger: Arc<Ledger>,
    /// What the last write of a peer replaced or deleted, for sabotage.
    pub replaced: Mutex<Vec<Arc<Resource>>>,
}

impl ProcessStore {
    /// Writes of a peer, as the sabotage leaves them.
    fn sabotaged(&self, sabotage: Sabotage, mut writes: Vec<Write>) -> Vec<Write> {
        let replaced = std::mem::take(&mut *self.replaced.lock());
        match sabotage {
            Sabotage::DropUpdates => writes.retain(|write| !matches!(write, Write::Update { .. })),
            Sabotage::KeepDeleted => writes.retain(|write| !matches!(write, Write::Delete { .. })),
            Sabotage::DeleteAnother => {
                let victim = self.ledger.some_replica(&self.owner).filter(|key| !touches(&writes, key));
                writes.extend(victim.map(|key| Write::Delete { key, expected: None }));
            }
            Sabotage::Resurrect | Sabotage::PutBack => {
                let back = replaced.into_iter().filter(|resource| !touches(&writes, &resource.key));
                let back: Vec<_> = back.map(|resource| Write::Put((*resource).clone())).collect();
                writes.extend(back);
            }
            Sabotage::LeakTasks => drop(tokio::spawn(std::future::pending::<()>())),
            Sabotage::RefuseType => {}
        }
        writes
    }

    /// Remembers what a write of a peer replaced or deleted, as far as the sabotage needs it.
    fn remember(&self, sabotage: Sabotage, committed: &Committed) {
        let wanted = committed.changes.iter().filter(|change| match sabotage {
            Sabotage::Resurrect => change.new.is_none(),
            Sabotage::PutBack => change.new.is_some(),
            _ => false,
        });
        *self.replaced.lock() = wanted.filter_map(|change| change.old.clone()).collect();
    }
}

fn touches(writes: &[Write], key: &ResourceKey) -> bool {
    writes.iter().any(|write| match write {
        Write::Create(resource) | Write::Put(resource) | Write::Update { resource, .. } => resource.key == *key,
        Write::Delete { key: deleted, .. } => deleted == key,
    })
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
        let sabotage = door.sabotage.filter(|_| matches!(author, Author::Peer(_)));
        let writes = match sabotage {
            Some(sabotage) => self.sabotaged(sabotage, writes),
            None => writes,
        };
        let committed = self.backing.commit_as(author, writes).await?;
        if let Some(sabotage) = sabotage {
            self.remember(sabotage, &committed);
        }
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
