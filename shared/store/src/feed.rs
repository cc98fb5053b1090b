//! Reading the change feed.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::state::State;
use crate::{ChangeBatch, Revision};

/// A reader of the ordered changes of a store.
///
/// A feed holds a position, not a queue: what it has not read yet stays in the store, once for all readers, and a
/// reader that falls too far behind gets a [`ChangeBatch::Reset`]. A feed does not keep its store open.
#[derive(Debug)]
pub struct ChangeFeed {
    state: Arc<RwLock<State>>,
    revisions: watch::Receiver<Revision>,
    position: Option<Revision>,
}

impl ChangeFeed {
    pub(crate) fn new(state: Arc<RwLock<State>>, revisions: watch::Receiver<Revision>, after: Revision) -> Self {
        Self { state, revisions, position: (after > 0).then_some(after) }
    }

    /// Waits until there is something new and returns all of it; `None` when the store is closed and everything
    /// before that was delivered.
    ///
    /// Cancellation safe: a future dropped before it is ready has consumed nothing.
    pub async fn next(&mut self) -> Option<ChangeBatch> {
        loop {
            // Marked as seen before the state is read, so that a commit in between wakes the wait below.
            self.revisions.borrow_and_update();
            if let Some(batch) = self.pending() {
                return Some(batch);
            }
            self.revisions.changed().await.ok()?;
        }
    }

    /// What is there to read now, without waiting; `None` when the reader is up to date.
    pub fn pending(&mut self) -> Option<ChangeBatch> {
        let state = self.state.read();
        let batch = match self.position {
            None => state.reset(),
            Some(position) => state.since(position)?,
        };
        self.position = Some(batch.revision());
        Some(batch)
    }

    /// Revision up to which this reader has been told everything; 0 before the first batch of a feed from 0.
    pub fn revision(&self) -> Revision {
        self.position.unwrap_or_default()
    }
}
