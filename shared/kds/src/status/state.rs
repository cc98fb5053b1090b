//! What the notes about a peer mean now.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{PeerStatus, ReceivedStatus, SentStatus};

/// A change that is pending for as long, without a sign that the peer applies anything, makes a peer stalled.
pub const STALL: Duration = Duration::from_secs(5);

/// How far a peer, or one type of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Everything that was sent is confirmed to be applied.
    #[serde(rename = "in sync")]
    InSync,
    /// Something is pending, for a short time or with progress.
    #[serde(rename = "catching up")]
    CatchingUp,
    /// Something is pending, and nothing moves.
    #[serde(rename = "stalled")]
    Stalled,
    /// There is no connection.
    #[serde(rename = "offline")]
    Offline,
    /// The zone is switched off.
    #[serde(rename = "disabled")]
    Disabled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::InSync, Self::CatchingUp, Self::Stalled, Self::Offline, Self::Disabled];

    /// As people and programs read it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::CatchingUp => "catching up",
            Self::Stalled => "stalled",
            Self::Offline => "offline",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl PeerStatus {
    /// State of the peer at `now`; that a zone is switched off is known here only while it is connected.
    pub fn state(&self, now: Instant) -> State {
        if self.connected.is_none() {
            return State::Offline;
        }
        if self.resting {
            return State::Disabled;
        }
        let moved = self.sent.values().filter_map(|status| status.confirmed).max();
        let sent = self.sent.values().map(|status| status.state(now, moved));
        let received = self.received.values().map(|status| status.state(now));
        sent.chain(received).chain([self.streams(now)]).max().unwrap_or(State::InSync)
    }

    /// How many changes are pending in both directions, as far as this side can know.
    pub fn pending(&self) -> usize {
        let held = self.received.values().filter_map(|status| status.held.as_ref());
        self.sent.values().map(SentStatus::unconfirmed).sum::<usize>()
            + held.map(|held| held.resources.len()).sum::<usize>()
    }

    /// Age of the oldest change that this side has for the peer and that the peer has not confirmed.
    pub fn lag(&self, now: Instant) -> Duration {
        self.sent.values().map(|status| status.lag(now)).max().unwrap_or_default()
    }

    /// A connection is whole when both directions have their stream.
    fn streams(&self, now: Instant) -> State {
        match (self.sending, self.receiving) {
            (Some(_), Some(_)) => State::InSync,
            (Some(other), None) | (None, Some(other)) if age(now, other.since) >= STALL => State::Stalled,
            _ => State::CatchingUp,
        }
    }
}

impl SentStatus {
    /// State of the type at `now`; `moved` is when the peer last confirmed something of any type.
    pub fn state(&self, now: Instant, moved: Option<Instant>) -> State {
        let Some(pending) = self.pending_since.filter(|_| self.subscribed) else { return State::InSync };
        // A response under way waits for its own answer; what is not sent yet may wait for the others.
        let still_since = match self.unanswered_since {
            Some(unanswered) => unanswered,
            None => moved.map_or(pending, |moved| moved.max(pending)),
        };
        if age(now, still_since) >= STALL { State::Stalled } else { State::CatchingUp }
    }

    /// Age of the oldest change that the peer has not confirmed.
    pub fn lag(&self, now: Instant) -> Duration {
        self.pending_since.filter(|_| self.subscribed).map_or(Duration::ZERO, |since| age(now, since))
    }
}

impl ReceivedStatus {
    /// State of the type at `now`.
    pub fn state(&self, now: Instant) -> State {
        match self.applying_since {
            Some(since) if age(now, since) >= STALL => State::Stalled,
            Some(_) => State::CatchingUp,
            None if self.held.is_some() => State::CatchingUp,
            None => State::InSync,
        }
    }
}

fn age(now: Instant, since: Instant) -> Duration {
    now.saturating_duration_since(since)
}
