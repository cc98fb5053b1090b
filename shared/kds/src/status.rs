//! How far each peer is, type by type; kept in memory for the API, metrics and logs.
//!
//! The loops of the streams write down what happens and when; whoever asks computes from that what it means now
//! ([`State`]), so that no timer is needed for a stall to be seen. Times are on the monotonic clock.

mod backlog;
mod collector;
mod compose;
mod notes;
mod report;
mod reports;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tandem_model::{Kind, ResourceKey};
use tandem_store::Revision;
use tokio::time::Instant;

pub use notes::{ReleaseError, SyncStatus};
pub use report::{
    Held, HeldReport, Left, LeftOut, PeerReport, ReceivedReport, SentReport, SyncOverview, SyncTotal, TroubleReport,
};
pub use reports::{Peers, SyncReports};
pub use state::{STALL, State};

pub(crate) use self::backlog::backlog;
use crate::feature::Features;
use crate::sender::{Confirmed, Standing};

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What, for people.
    pub text: String,
    /// When it was noticed.
    pub since: Instant,
}

impl Trouble {
    /// Something that is noticed now.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), since: Instant::now() }
    }
}

/// Synchronization of one type that is sent to the peer, on the present connection, or the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentStatus {
    /// The peer has asked for the type.
    pub subscribed: bool,
    /// How many resources the peer has, once it has all responses.
    pub resources: usize,
    /// Responses sent.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Size of all responses before compression.
    pub bytes: u64,
    /// Revision of the store that last changed something of the type that concerns the peer.
    pub revision: Revision,
    /// Up to which revision the peer has confirmed to have everything that it did not name as left out; that of an earlier
    /// connection until the present one confirms something. `None` when it never confirmed anything to this process.
    pub acknowledged_revision: Option<Revision>,
    /// Changes that the peer has not confirmed: waiting, under way, or in a response of which the peer rejected a part
    /// without saying which.
    pub pending: usize,
    /// Since when the oldest of them is pending.
    pub pending_since: Option<Instant>,
    /// When the response was sent that the peer has not answered.
    pub unanswered_since: Option<Instant>,
    /// When the peer last confirmed something.
    pub confirmed: Option<Instant>,
    /// Text of the last rejection, or why the type cannot be sent; gone with the next success.
    pub error: Option<Trouble>,
    /// Resources that the peer rejected or that cannot be sent, with the reason.
    pub left_out: BTreeMap<ResourceKey, Trouble>,
}

/// Synchronization of one type that is received from the peer, on the present connection, or the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceivedStatus {
    /// How many resources were accepted from the peer.
    pub resources: usize,
    /// Responses received.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Size of all responses before compression.
    pub bytes: u64,
    /// Revision of the peer's store that is applied here, if the peer tells it; Kuma does not.
    pub revision: Option<Revision>,
    /// Since when a response is being applied.
    pub applying_since: Option<Instant>,
    /// Text of the last complaint to the peer; gone with the next success.
    pub error: Option<Trouble>,
    /// Resources that were not accepted, with the reason.
    pub left_out: BTreeMap<ResourceKey, Trouble>,
    /// Deletions that are held back.
    pub held: Option<HeldDeletions>,
    /// How often a resource claimed to be of another zone or origin and was labelled as the peer's, since the start of
    /// the process.
    pub relabelled: u64,
    /// How often a resource was refused because its name belongs to somebody else, since the start of the process.
    pub refused: u64,
}

/// Deletions that a full state asks for by not listing resources, and that are held back because they are so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldDeletions {
    /// What would be deleted.
    pub resources: BTreeSet<ResourceKey>,
    /// Since when.
    pub since: Instant,
    /// When they are carried out unless something happens; `None` when somebody has to release them.
    pub until: Option<Instant>,
}

/// Synchronization with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Since when the stream from global to the zone is open; `None` while it is not.
    pub connected: Option<Timestamp>,
    /// When it ended last, while it is not open.
    pub disconnected: Option<Timestamp>,
    /// Instance id of the peer; empty until it is known.
    pub instance: String,
    /// Version of the peer; empty until it is known.
    pub version: String,
    /// True while nothing is sent and applied because the zone is disabled.
    pub resting: bool,
    /// The stream on which this side sends, while there is one.
    pub sending: Option<OpenStream>,
    /// The stream on which this side receives, while there is one.
    pub receiving: Option<OpenStream>,
    /// What the peer, a zone, says that it can do; known once it was connected to this process.
    pub features: Option<Features>,
    /// What the peer had confirmed when the last sending stream ended.
    pub(crate) confirmed: Arc<Confirmed>,
    /// Streams so far.
    streams: u64,
    /// Types that are sent to the peer.
    pub sent: BTreeMap<Kind, SentStatus>,
    /// Types that are received from the peer.
    pub received: BTreeMap<Kind, ReceivedStatus>,
    /// Why the last connection ended or could not be made; gone with the next success.
    pub error: Option<Trouble>,
}

/// A stream of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenStream {
    /// When it began.
    pub since: Instant,
    /// Tells it apart from others of the peer.
    id: u64,
}

impl PeerStatus {
    fn open(&mut self) -> OpenStream {
        self.streams += 1;
        OpenStream { since: Instant::now(), id: self.streams }
    }

    /// A sending stream begins. What was confirmed before stays known until something else is.
    pub(crate) fn begin_sending(&mut self) -> OpenStream {
        let stream = self.open();
        self.sending = Some(stream);
        self.confirmed = Arc::default();
        for status in self.sent.values_mut() {
            *status = SentStatus { acknowledged_revision: status.acknowledged_revision, ..SentStatus::default() };
        }
        stream
    }

    /// A sending stream ends; a newer one may have begun.
    pub(crate) fn end_sending(&mut self, stream: OpenStream, confirmed: Confirmed) {
        if self.sending == Some(stream) {
            self.sending = None;
            self.confirmed = Arc::new(confirmed);
        }
    }

    /// True when there was a stream to this peer that is over.
    pub(crate) fn sending_was_open(&self) -> bool {
        self.sending.is_none() && self.sent.values().any(|status| status.subscribed)
    }

    /// A receiving stream begins.
    pub(crate) fn begin_receiving(&mut self) -> OpenStream {
        let stream = self.open();
        self.receiving = Some(stream);
        for status in self.received.values_mut() {
            *status = ReceivedStatus {
                revision: status.revision,
                relabelled: status.relabelled,
                refused: status.refused,
                ..ReceivedStatus::default()
            };
        }
        stream
    }

    /// A receiving stream ends; a newer one may have begun.
    pub(crate) fn end_receiving(&mut self, stream: OpenStream) {
        if self.receiving == Some(stream) {
            self.receiving = None;
            for status in self.received.values_mut() {
                status.applying_since = None;
            }
        }
    }

    /// What went wrong last and is not over, of the type if it is about one.
    pub(crate) fn last_error(&self) -> Option<(Option<Kind>, &Trouble)> {
        let sent = self.sent.iter().filter_map(|(kind, status)| Some((Some(*kind), status.error.as_ref()?)));
        let received = self.received.iter().filter_map(|(kind, status)| Some((Some(*kind), status.error.as_ref()?)));
        let connection = self.error.iter().map(|error| (None, error));
        sent.chain(received).chain(connection).max_by_key(|(_, error)| error.since)
    }

    /// True when the peer has sent something on the present connection, or the last one.
    pub(crate) fn has_received(&self) -> bool {
        self.received.values().any(|status| status.responses > 0)
    }
}

impl SentStatus {
    /// Changes that the peer has asked for and not confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        if self.subscribed { self.pending } else { 0 }
    }

    /// Takes over how far the peer is.
    pub(crate) fn stand(&mut self, standing: Standing) {
        self.subscribed = standing.subscribed;
        self.revision = standing.revision;
        self.acknowledged_revision = standing.acknowledged.or(self.acknowledged_revision);
        self.pending = standing.pending;
        self.pending_since = standing.pending_since;
        self.unanswered_since = standing.unanswered_since;
        self.confirmed = standing.confirmed;
    }

    /// Notes that a resource is left out for a reason, or (with `None`) is not any more.
    pub(crate) fn note(&mut self, key: ResourceKey, reason: Option<String>) {
        note(&mut self.left_out, key, reason);
    }
}

impl ReceivedStatus {
    /// Notes that a resource is left out for a reason, or (with `None`) is not any more.
    pub(crate) fn note(&mut self, key: ResourceKey, reason: Option<String>) {
        note(&mut self.left_out, key, reason);
    }
}

/// Resources of a type that are remembered as left out; a peer that goes on sending others does not fill the memory.
const MAX_LEFT_OUT: usize = 10_000;

/// A reason that stays the same keeps its time.
fn note(left_out: &mut BTreeMap<ResourceKey, Trouble>, key: ResourceKey, reason: Option<String>) {
    match reason {
        None => {
            left_out.remove(&key);
        }
        Some(text) if left_out.get(&key).is_some_and(|known| known.text == text) => {}
        Some(_) if left_out.len() >= MAX_LEFT_OUT && !left_out.contains_key(&key) => {}
        Some(text) => {
            left_out.insert(key, Trouble::new(text));
        }
    }
}
