//! What all backends share: the committed state and the signal that it moved.

use std::sync::Arc;

use parking_lot::RwLock;
use tandem_model::{Kind, Resource, ResourceKey};
use tokio::sync::watch;

use crate::stage::{Group, Staged};
use crate::state::State;
use crate::{Author, ChangeFeed, Committed, Page, Revision, StoreError, Write};

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

    /// A part of a list, and the revision it is of.
    pub(crate) fn page(&self, kind: Kind, mesh: Option<&str>, after: Option<&ResourceKey>, limit: usize) -> Page {
        let state = self.state.read();
        Page { revision: state.revision(), resources: state.page(kind, mesh, after, limit) }
    }

    /// What a transaction would do on top of what is committed.
    pub(crate) fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        let state = self.state.read();
        Group::new(&state).stage(Author::ControlPlane, writes).map(|staged| staged.committed)
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
    pub(crate) fn stage(
        &self,
        transactions: impl IntoIterator<Item = (Author, Vec<Write>)>,
    ) -> Vec<Result<Staged, StoreError>> {
        let state = self.state.read();
        let mut group = Group::new(&state);
        transactions.into_iter().map(|(author, writes)| group.stage(author, writes)).collect()
    }

    /// A committed resource.
    pub(crate) fn get(&self, key: &ResourceKey) -> Option<Arc<Resource>> {
        self.state.read().get(key).cloned()
    }

    /// Makes durable commits visible and wakes the feeds. Commits must come in order.
    pub(crate) fn publish<'a>(&self, commits: impl IntoIterator<Item = &'a Committed>) {
        let revision = {
            let mut state = self.state.write();
            for committed in commits {
                if !committed.changes.is_empty() {
                    state.publish(committed.revision, &committed.changes);
                }
            }
            state.revision()
        };
        self.revisions.send_if_modified(|current| std::mem::replace(current, revision) != revision);
    }
}
