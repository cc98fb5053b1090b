//! What is told about synchronization over HTTP: `/_sync` and `/zones/{zone}/_sync`.
//!
//! Kuma has nothing like it. Figures that this process cannot know are absent, never zero.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_model::{Kind, ResourceKey};
use tandem_store::Revision;
use tokio::time::Instant;

use super::backlog::Waiting;
use super::{HeldDeletions, PeerStatus, ReceivedStatus, SentStatus, State, Trouble};

/// Most resources that are named where only some are of interest; the numbers beside count all.
const MAX_NAMED: usize = 100;

/// Synchronization with all peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncOverview {
    /// Instance that tells this.
    pub instance: String,
    /// Revision of its store.
    pub revision: Revision,
    /// Sums over all peers.
    pub total: SyncTotal,
    /// On global every zone, on a zone its global; there `sent` and `received` tell about each type.
    pub items: Vec<PeerReport>,
}

/// Sums over all peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncTotal {
    /// Peers.
    pub peers: usize,
    /// Peers by state.
    pub states: BTreeMap<String, usize>,
    /// Changes that are not confirmed, of all peers of which that is known.
    pub pending: usize,
    /// Resources that are left out on either side.
    pub left_out: usize,
    /// Deletions that are held back here.
    pub held_deletions: usize,
}

/// Synchronization with one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// Name of the zone, or `global`.
    pub name: String,
    /// `in sync`, `catching up`, `stalled`, `offline` or `disabled`.
    pub state: State,
    /// Instance id of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Version of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Id of another instance of this control plane, if the peer is connected to that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_to: Option<String>,
    /// Since when it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub connected_since: Option<Timestamp>,
    /// Since when it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub disconnected_since: Option<Timestamp>,
    /// Changes that the peer has not confirmed, and deletions that are held back here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<usize>,
    /// Age of the oldest change that the peer has not confirmed, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Resources that are left out on either side.
    pub left_out: usize,
    /// Deletions that the peer asks for by not listing resources, and that are held back.
    pub held_deletions: usize,
    /// Resources that claimed to be of another zone or origin.
    pub relabelled: u64,
    /// Resources that were refused because their name belongs to somebody else.
    pub refused: u64,
    /// Bytes sent on this connection.
    pub bytes_sent: u64,
    /// Bytes received on this connection.
    pub bytes_received: u64,
    /// What went wrong last and is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Types that are sent to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Vec<SentReport>>,
    /// Types that are received from the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Vec<ReceivedReport>>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TroubleReport {
    /// What, for people.
    pub text: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// One type that is sent to the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentReport {
    /// Name of the type.
    pub r#type: String,
    /// State of the type.
    pub state: State,
    /// False when the peer has not asked for the type; older versions do not know newer types.
    pub subscribed: bool,
    /// How many resources the peer has, once everything is applied.
    pub resources: usize,
    /// Revision of the store that last changed something of the type that concerns the peer.
    pub revision: Revision,
    /// Up to which revision the peer has confirmed everything that is not in `leftOut`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_revision: Option<Revision>,
    /// Changes that the peer has not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<usize>,
    /// Age of the oldest of them in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Responses sent on this connection.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Their size before compression.
    pub bytes: u64,
    /// Text of the last rejection, or why the type cannot be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Resources that the peer rejected or that cannot be sent.
    pub left_out: Left<LeftOut>,
}

/// One type that is received from the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedReport {
    /// Name of the type.
    pub r#type: String,
    /// State of the type.
    pub state: State,
    /// How many resources were accepted from the peer.
    pub resources: usize,
    /// Revision of the peer's store that is applied here; Kuma does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Responses received on this connection.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Their size before compression.
    pub bytes: u64,
    /// Text of the last complaint to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Resources that were not accepted.
    pub left_out: Left<LeftOut>,
    /// Deletions that are held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_deletions: Option<HeldReport>,
    /// Resources that claimed to be of another zone or origin.
    pub relabelled: u64,
    /// Resources that were refused because their name belongs to somebody else.
    pub refused: u64,
}

/// Some of many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left<T> {
    /// How many there are.
    pub total: usize,
    /// The first of them.
    pub items: Vec<T>,
}

/// A resource that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Its mesh; empty for types of global scope.
    pub mesh: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// Deletions that are held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldReport {
    /// How many resources would be deleted.
    pub total: usize,
    /// The first of them.
    pub items: Vec<Held>,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When they are deleted unless the peer lists them again; absent when somebody has to release them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// A resource that would be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Its mesh; empty for types of global scope.
    pub mesh: String,
    /// Its name.
    pub name: String,
}

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
}

impl Now {
    /// Time of day of a moment.
    fn at(self, moment: Instant) -> Timestamp {
        let past = self.instant.saturating_duration_since(moment);
        let future = moment.saturating_duration_since(self.instant);
        let time = self.wall.checked_sub(past).and_then(|time| time.checked_add(future)).unwrap_or(self.wall);
        time.round(Unit::Millisecond).unwrap_or(time)
    }

    fn trouble(self, trouble: &Trouble) -> TroubleReport {
        TroubleReport { text: trouble.text.clone(), since: self.at(trouble.since) }
    }

    fn left_out(self, left_out: &BTreeMap<ResourceKey, Trouble>) -> Left<LeftOut> {
        let item = |(key, trouble): (&ResourceKey, &Trouble)| LeftOut {
            mesh: key.mesh.clone(),
            name: key.name.clone(),
            reason: trouble.text.clone(),
            since: self.at(trouble.since),
        };
        Left { total: left_out.len(), items: left_out.iter().take(MAX_NAMED).map(item).collect() }
    }

    fn held(self, held: &HeldDeletions) -> HeldReport {
        let item = |key: &ResourceKey| Held { mesh: key.mesh.clone(), name: key.name.clone() };
        HeldReport {
            total: held.resources.len(),
            items: held.resources.iter().take(MAX_NAMED).map(item).collect(),
            since: self.at(held.since),
            until: held.until.map(|until| self.at(until)),
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    // More would be noise to a reader.
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl PeerReport {
    /// A peer of which nothing is known to this process.
    pub(super) fn unknown(name: &str, state: State) -> Self {
        Self {
            name: name.to_owned(),
            state,
            instance: None,
            version: None,
            connected_to: None,
            connected_since: None,
            disconnected_since: None,
            pending: None,
            lag_seconds: None,
            left_out: 0,
            held_deletions: 0,
            relabelled: 0,
            refused: 0,
            bytes_sent: 0,
            bytes_received: 0,
            error: None,
            sent: None,
            received: None,
        }
    }

    /// What is known of a peer; `waiting` is what waits for it while it is away, as far as that can be told.
    pub(super) fn new(
        name: &str,
        peer: &PeerStatus,
        waiting: Option<&BTreeMap<Kind, Waiting>>,
        detailed: bool,
        now: Now,
    ) -> Self {
        let state = peer.state(now.instant);
        let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let received = peer.received.values();
        let held = received.clone().filter_map(|status| status.held.as_ref()).map(|held| held.resources.len()).sum();
        let left_out = peer.sent.values().map(|status| status.left_out.len()).sum::<usize>()
            + received.clone().map(|status| status.left_out.len()).sum::<usize>();
        let (pending, lag) = match state {
            State::Offline => {
                let pending = waiting.map(|waiting| waiting.values().map(|waiting| waiting.resources).sum());
                let oldest = waiting.and_then(|waiting| waiting.values().filter_map(|waiting| waiting.oldest).min());
                (pending, oldest.map(|oldest| now.wall.duration_since(oldest).unsigned_abs()))
            }
            _ => (Some(peer.pending()), Some(peer.lag(now.instant))),
        };
        Self {
            instance: known(&peer.instance),
            version: known(&peer.version),
            connected_since: peer.connected,
            disconnected_since: peer.disconnected.filter(|_| peer.connected.is_none()),
            pending,
            lag_seconds: lag.map(seconds),
            left_out,
            held_deletions: held,
            relabelled: received.clone().map(|status| status.relabelled).sum(),
            refused: received.clone().map(|status| status.refused).sum(),
            bytes_sent: peer.sent.values().map(|status| status.bytes).sum(),
            bytes_received: received.map(|status| status.bytes).sum(),
            error: peer.last_error().map(|(kind, trouble)| {
                let report = now.trouble(trouble);
                let text = kind.map_or_else(|| report.text.clone(), |kind| format!("{kind}: {}", report.text));
                TroubleReport { text, ..report }
            }),
            sent: detailed.then(|| {
                let moved = peer.sent.values().filter_map(|status| status.confirmed).max();
                let report =
                    |(kind, status): (&Kind, &SentStatus)| SentReport::new(*kind, status, state, moved, waiting, now);
                peer.sent.iter().map(report).collect()
            }),
            received: detailed.then(|| {
                let report = |(kind, status): (&Kind, &ReceivedStatus)| ReceivedReport::new(*kind, status, state, now);
                peer.received.iter().map(report).collect()
            }),
            ..Self::unknown(name, state)
        }
    }
}

impl SentReport {
    fn new(
        kind: Kind,
        status: &SentStatus,
        peer: State,
        moved: Option<Instant>,
        waiting: Option<&BTreeMap<Kind, Waiting>>,
        now: Now,
    ) -> Self {
        let waiting = waiting.map(|waiting| waiting.get(&kind).copied().unwrap_or_default());
        let offline = peer == State::Offline;
        Self {
            r#type: kind.name().to_owned(),
            state: if offline { State::Offline } else { status.state(now.instant, moved) },
            subscribed: status.subscribed,
            resources: status.resources,
            revision: status.revision,
            acknowledged_revision: status.acknowledged_revision,
            pending: if offline { waiting.map(|waiting| waiting.resources) } else { Some(status.unconfirmed()) },
            lag_seconds: if offline {
                let oldest = waiting.and_then(|waiting| waiting.oldest);
                oldest.map(|oldest| seconds(now.wall.duration_since(oldest).unsigned_abs()))
            } else {
                Some(seconds(status.lag(now.instant)))
            },
            responses: status.responses,
            acknowledged: status.acknowledged,
            rejected: status.rejected,
            bytes: status.bytes,
            error: status.error.as_ref().map(|error| now.trouble(error)),
            left_out: now.left_out(&status.left_out),
        }
    }
}

impl ReceivedReport {
    fn new(kind: Kind, status: &ReceivedStatus, peer: State, now: Now) -> Self {
        Self {
            r#type: kind.name().to_owned(),
            state: if peer == State::Offline { State::Offline } else { status.state(now.instant) },
            resources: status.resources,
            revision: status.revision,
            responses: status.responses,
            acknowledged: status.acknowledged,
            rejected: status.rejected,
            bytes: status.bytes,
            error: status.error.as_ref().map(|error| now.trouble(error)),
            left_out: now.left_out(&status.left_out),
            held_deletions: status.held.as_ref().map(|held| now.held(held)),
            relabelled: status.relabelled,
            refused: status.refused,
        }
    }
}
