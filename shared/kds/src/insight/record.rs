//! What is known of a zone and not written yet.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tandem_proto::system::v1alpha1::KdsSubscription;
use tokio::time::Instant;

use super::StreamKind;
use super::snapshot::Snapshot;

/// The connections of one zone since the last write.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Changed since the last write.
    pub(super) dirty: bool,
    /// To be written at once.
    pub(super) urgent: bool,
    /// When it was last written.
    pub(super) written: Option<Instant>,
    /// Open connections, and those that were closed since the last write.
    pub(super) subscriptions: BTreeMap<String, KdsSubscription>,
    /// Streams that were opened since the last write.
    pub(super) opened: BTreeMap<StreamKind, Timestamp>,
    /// The last sign of life, since the last write.
    pub(super) health_check: Option<Timestamp>,
}

impl Record {
    /// When it is to be written, if it is.
    pub(super) fn due(&self, interval: Duration, now: Instant) -> Option<Instant> {
        self.dirty.then(|| match self.written {
            Some(written) if !self.urgent => written + interval,
            _ => now,
        })
    }

    /// What is to be written; the rest waits for what changes next.
    pub(super) fn take(&mut self, now: Instant) -> Snapshot {
        self.dirty = false;
        self.urgent = false;
        self.written = Some(now);
        let snapshot = Snapshot {
            subscriptions: self.subscriptions.values().cloned().collect(),
            opened: std::mem::take(&mut self.opened),
            health_check: self.health_check.take(),
        };
        // A closed connection is written one last time.
        self.subscriptions.retain(|_, subscription| subscription.disconnect_time.is_none());
        snapshot
    }

    /// Puts back what could not be written; what is newer stays.
    pub(super) fn put_back(&mut self, snapshot: Snapshot) {
        self.dirty = true;
        for subscription in snapshot.subscriptions {
            self.subscriptions.entry(subscription.id.clone()).or_insert(subscription);
        }
        for (stream, time) in snapshot.opened {
            self.opened.entry(stream).or_insert(time);
        }
        self.health_check = self.health_check.max(snapshot.health_check);
    }

    /// Nobody is connected, and everything is written.
    pub(super) fn is_over(&self) -> bool {
        !self.dirty && self.subscriptions.is_empty()
    }
}
