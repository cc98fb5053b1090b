//! Where the streams of all peers write down what they do, and others read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tandem_model::Kind;
use tokio::sync::Notify;

use super::backlog::Waiting;
use super::{OpenStream, PeerStatus};

/// Shared view on the synchronization with all peers: zones by name, or `global`.
#[derive(Clone, Default)]
pub struct SyncStatus(Arc<Notes>);

#[derive(Default)]
struct Notes {
    peers: Mutex<BTreeMap<String, Peer>>,
    /// Computes what waits for a peer that is away; `None` when that cannot be known.
    backlog: OnceLock<Backlog>,
}

type Backlog = Box<dyn Fn(&str, &PeerStatus) -> Option<BTreeMap<Kind, Waiting>> + Send + Sync>;

impl fmt::Debug for SyncStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.peers.lock().iter()).finish()
    }
}

#[derive(Debug, Default)]
struct Peer {
    status: PeerStatus,
    releases: Arc<Releases>,
}

/// Types of one peer whose held deletions somebody released, with the stream on which the peer asked for them.
#[derive(Debug, Default)]
struct Releases {
    asked: Mutex<BTreeMap<Kind, OpenStream>>,
    wake: Notify,
}

/// Why nothing is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// No deletion of the type is held back.
    #[error("no deletion of this type is held back")]
    NothingHeld,
    /// There is no stream on which the deletions could be confirmed to be still wanted.
    #[error("the peer is not connected; deletions are judged again when it is")]
    NotConnected,
}

impl SyncStatus {
    /// No peer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names of all peers seen since the start of the process.
    pub fn peers(&self) -> Vec<String> {
        self.0.peers.lock().keys().cloned().collect()
    }

    /// The state of one peer.
    pub fn peer(&self, name: &str) -> Option<PeerStatus> {
        self.0.peers.lock().get(name).map(|peer| peer.status.clone())
    }

    /// What `read` makes of each peer; it holds the lock that streams need to write down what they do.
    pub(crate) fn each(&self, mut read: impl FnMut(&str, &PeerStatus)) {
        for (name, peer) in self.0.peers.lock().iter() {
            read(name, &peer.status);
        }
    }

    /// Says how to compute what waits for a peer that is away; the first who says so is heard.
    pub(crate) fn set_backlog(
        &self,
        backlog: impl Fn(&str, &PeerStatus) -> Option<BTreeMap<Kind, Waiting>> + Send + Sync + 'static,
    ) {
        // Only a second start in the same process comes too late, with nothing that the first does not have.
        let _ = self.0.backlog.set(Box::new(backlog));
    }

    /// What waits for a peer that is away, as far as it can be told.
    pub(super) fn waiting(&self, name: &str, peer: &PeerStatus) -> Option<BTreeMap<Kind, Waiting>> {
        self.0.backlog.get().and_then(|backlog| backlog(name, peer))
    }

    /// Forgets a peer that does not exist any more.
    pub fn forget(&self, name: &str) {
        self.0.peers.lock().remove(name);
    }

    /// Has the held deletions of a type carried out; returns how many there are.
    ///
    /// # Errors
    /// When there are none, or the peer is not connected.
    pub fn release(&self, peer: &str, kind: Kind) -> Result<usize, ReleaseError> {
        let peers = self.0.peers.lock();
        let known = peers.get(peer).ok_or(ReleaseError::NotConnected)?;
        let stream = known.status.receiving.ok_or(ReleaseError::NotConnected)?;
        let held = known.status.received.get(&kind).and_then(|status| status.held.as_ref());
        let count = held.ok_or(ReleaseError::NothingHeld)?.resources.len();
        known.releases.asked.lock().insert(kind, stream);
        known.releases.wake.notify_one();
        Ok(count)
    }

    /// Waits until somebody releases the held deletions of a type of this peer. Cancellation safe.
    pub(crate) async fn released(&self, peer: &str) -> Kind {
        loop {
            let (releases, stream) = {
                let mut peers = self.0.peers.lock();
                let known = peers.entry(peer.to_owned()).or_default();
                (known.releases.clone(), known.status.receiving)
            };
            while let Some((kind, asked)) = { releases.asked.lock().pop_first() } {
                // What was released on an earlier stream is judged again.
                if Some(asked) == stream {
                    return kind;
                }
            }
            releases.wake.notified().await;
        }
    }

    /// Writes something down about a peer.
    pub(crate) fn update<T>(&self, peer: &str, change: impl FnOnce(&mut PeerStatus) -> T) -> T {
        let mut peers = self.0.peers.lock();
        match peers.get_mut(peer) {
            Some(known) => change(&mut known.status),
            None => change(&mut peers.entry(peer.to_owned()).or_default().status),
        }
    }
}
