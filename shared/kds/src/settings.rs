//! Settings that both sides have.

use std::time::Duration;

use crate::apply::{DeletionGuard, Validate};
use crate::insight::InsightSettings;
use crate::node::Identity;
use crate::surroundings::Surroundings;

/// What both sides of synchronization must know.
#[derive(Clone)]
pub struct CommonSettings {
    /// What this control plane tells peers about itself.
    pub identity: Identity,
    /// `kds.maxMsgSize`: largest message in bytes, in both directions.
    pub max_message_bytes: usize,
    /// `kds.labels.skipPrefixes`: labels with one of these prefixes are not sent.
    pub skip_label_prefixes: Vec<String>,
    /// How zone insights are written.
    pub insights: InsightSettings,
    /// Checks what is received.
    pub validate: Validate,
    /// Which deletions are held back.
    pub deletion_guard: DeletionGuard,
    /// `kds.responseBackoff`: pause before a response is confirmed, unless it is the first one of its type.
    pub response_backoff: Duration,
    /// Wall clock and randomness.
    pub surroundings: Surroundings,
}

/// How many streams of a connection may be unread at the same time without taking room from the others: the five of a
/// zone, health checks, and some to spare. The flow control window of a connection is as many times that of a stream.
pub(crate) const UNREAD_STREAMS: u32 = 8;
