//! The resource store: one trait, an ordered change feed, and its backends.
//!
//! Invariants: a write is acknowledged after it is durable; reads never wait for writes; changes are delivered in
//! revision order, each exactly once, and a reader that falls too far behind is told to read everything again
//! instead of holding memory; a commit and its part of the history are durable together; on disk contents are encrypted, unless it is
//! turned off.

mod author;
mod change;
mod encryption;
mod error;
mod feed;
mod history;
mod identity;
mod memory;
mod memory_history;
mod page;
mod publisher;
mod reader;
mod sled_store;
mod stage;
mod state;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use tandem_model::{Kind, Resource, ResourceKey};

pub use author::Author;
pub use change::{Change, ChangeBatch};
pub use encryption::{Encryption, KeySource, Keys};
pub use error::StoreError;
pub use feed::ChangeFeed;
pub use history::{HISTORY_LENGTH, HistoryEntry, has_history};
pub use identity::StoreId;
pub use memory::MemoryStore;
pub use page::{Page, Window};
pub use reader::Reader;
pub use sled_store::SledStore;
pub use write::{Committed, Write};

/// Position in the order of all commits of a store; grows with every commit that changes something.
pub type Revision = u64;

/// A store shared by the components of a control plane.
pub type SharedStore = Arc<dyn Store>;

/// Typed resources with optimistic locking and an ordered change feed.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The resource under `key`, or `None`.
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError>;

    /// All resources of a kind, in one mesh or (with `None`) in all, sorted by mesh and name.
    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError>;

    /// The resources that follow `after` in [`Store::list`], or the first ones; at most `limit`.
    async fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// The resources of [`Store::list`] without the first `offset`, at most `limit`, and how many there are in all. What is
    /// not returned is counted but not touched.
    async fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Result<Window, StoreError>;

    /// [`Store::commit_as`] in the name of the control plane: for what follows from what others wrote.
    ///
    /// # Errors
    /// Those of [`Store::commit_as`].
    async fn commit(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.commit_as(Author::ControlPlane, writes).await
    }

    /// Applies all writes or none, durably, as one revision. Deleting a resource deletes what it owns, recursively.
    ///
    /// An update that changes neither labels, owner, spec nor status is skipped: it makes no revision and no change.
    /// What was changed is kept in the history of each resource, in the same transaction; updates of the control plane
    /// itself are not.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was applied then.
    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError>;

    /// What [`Store::commit`] would do now. Changes nothing.
    ///
    /// # Errors
    /// Those that the commit would have, but for failures of the backend.
    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError>;

    /// The last changes of a resource, oldest first, at most [`HISTORY_LENGTH`]; also of one that was deleted. Empty for
    /// what never existed, and for what was pushed out by newer changes of other resources.
    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Everything that is committed after `revision`, in order. [`Revision`] 0 is the empty store: a feed from 0
    /// starts with a [`ChangeBatch::Reset`] that carries all resources.
    fn changes(&self, revision: Revision) -> ChangeFeed;

    /// Which store this is.
    fn id(&self) -> StoreId;

    /// Revision of the last commit that is visible to readers.
    fn revision(&self) -> Revision;
}
