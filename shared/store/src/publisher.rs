//! What all backends share: the committed state and the signal that it moved.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::stage::{Group, Staged};
use crate::state::State;
use crate::{Change, ChangeFeed, Revision, StoreError, Write};

/// Read side of a store: the committed state and the wake-up of the feeds. Does not keep the store open.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    pub(crate) state: Arc<RwLock<State>>,
    revisions: watch::Receiver<Revision>,
}

impl Core {
    /// A feed of what is committed after `revision`.
    pub(crate) fn changes(&self, revision: Revision) -> ChangeFeed {
        ChangeFeed::new(self.state.clone(), self.revisions.clone(), revision)
    }
}

/// Write side of a store; there is one, and when it is dropped the feeds end.
#[derive(Debug)]
pub(crate) struct Publisher {
    state: Arc<RwLock<State>>,
    revisions: watch::Sender<Revision>,
}

impl Publisher {
    /// Both sides of a store that starts with `state`.
    pub(crate) fn new(state: State) -> (Core, Self) {
        let (sender, receiver) = watch::channel(state.revision());
        let state = Arc::new(RwLock::new(state));
        (Core { state: state.clone(), revisions: receiver }, Self { state, revisions: sender })
    }

    /// Validates transactions in order, each on top of those before it that passed. Nothing is visible yet.
    pub(crate) fn stage(&self, transactions: impl IntoIterator<Item = Vec<Write>>) -> Vec<Result<Staged, StoreError>> {
        let state = self.state.read();
        let mut group = Group::new(&state);
        transactions.into_iter().map(|writes| group.stage(writes)).collect()
    }

    /// Makes durable commits visible and wakes the feeds. Commits must come in order, changes grouped by revision.
    pub(crate) fn publish<'a>(&self, commits: impl IntoIterator<Item = (Revision, &'a [Arc<Change>])>) {
        let revision = {
            let mut state = self.state.write();
            for (revision, changes) in commits {
                if !changes.is_empty() {
                    state.publish(revision, changes);
                }
            }
            state.revision()
        };
        self.revisions.send_if_modified(|current| std::mem::replace(current, revision) != revision);
    }
}
