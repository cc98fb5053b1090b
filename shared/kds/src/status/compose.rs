//! From what is noted about a peer to what is told about it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tandem_model::{Kind, ResourceKey};
use tokio::time::Instant;

use super::backlog::Waiting;
use super::report::{Held, HeldReport, Left, LeftOut, PeerReport, ReceivedReport, SentReport, TroubleReport};
use super::{HeldDeletions, PeerStatus, ReceivedStatus, SentStatus, State, Trouble};

/// Most resources that are named where only some are of interest; the numbers beside count all.
const MAX_NAMED: usize = 100;

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
        milliseconds(time)
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

/// More would be noise to a reader.
fn milliseconds(time: Timestamp) -> Timestamp {
    time.round(Unit::Millisecond).unwrap_or(time)
}

fn seconds(duration: Duration) -> f64 {
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
            connected_since: peer.connected.map(milliseconds),
            disconnected_since: peer.disconnected.filter(|_| peer.connected.is_none()).map(milliseconds),
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
