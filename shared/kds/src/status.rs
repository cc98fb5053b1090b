//! How far each peer is, type by type; kept in memory for the API, metrics and logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tandem_model::{Kind, ResourceKey};
use tandem_store::Revision;

/// Synchronization of one type in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// How many resources the other side was sent, or this side accepted from it.
    pub resources: usize,
    /// Responses sent or received on this connection.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Sent types only: revision of the store that the last response reflects.
    pub revision: Revision,
    /// Sent types only: revision that the peer has confirmed (or rejected).
    pub answered_revision: Revision,
    /// Text of the last rejection, or why the type cannot be sent; gone with the next success.
    pub error: Option<String>,
    /// Resources that were left out, with the reason.
    pub left_out: BTreeMap<ResourceKey, String>,
}

/// Synchronization with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Since when the stream from global to the zone is open; `None` while it is not.
    pub connected: Option<Timestamp>,
    /// Instance id of the peer; empty until it is known.
    pub instance: String,
    /// Version of the peer; empty until it is known.
    pub version: String,
    /// Types that are sent to the peer.
    pub sent: BTreeMap<Kind, TypeStatus>,
    /// Types that are received from the peer.
    pub received: BTreeMap<Kind, TypeStatus>,
    /// Why the last connection ended or could not be made; gone with the next success.
    pub error: Option<String>,
}

/// Shared view on the synchronization with all peers: zones by name, or `global`.
#[derive(Debug, Clone, Default)]
pub struct SyncStatus(Arc<Mutex<BTreeMap<String, PeerStatus>>>);

impl SyncStatus {
    /// No peer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names of all peers seen since the start of the process.
    pub fn peers(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    /// The state of one peer.
    pub fn peer(&self, name: &str) -> Option<PeerStatus> {
        self.0.lock().get(name).cloned()
    }

    /// Forgets a peer that does not exist any more.
    pub fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }

    pub(crate) fn update(&self, peer: &str, change: impl FnOnce(&mut PeerStatus)) {
        let mut peers = self.0.lock();
        if !peers.contains_key(peer) {
            peers.insert(peer.to_owned(), PeerStatus::default());
        }
        if let Some(status) = peers.get_mut(peer) {
            change(status);
        }
    }
}

impl TypeStatus {
    /// Notes that a resource is left out for a reason, or (with `None`) is not any more.
    pub(crate) fn note(&mut self, key: ResourceKey, reason: Option<String>) {
        match reason {
            Some(reason) => self.left_out.insert(key, reason),
            None => self.left_out.remove(&key),
        };
    }
}
