//! Deletions that a full state asks for by not listing resources, and that are held back because they are so many.
//!
//! A peer that lost its store, or has not found everything in it yet, looks like one that deleted nearly everything. What
//! it does not list is kept for a while then. The time counts while a stream is open on which the resources are still
//! absent, across reconnections: neither can a link that comes and goes put it off for ever, nor does it run out while
//! the peer is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tandem_model::{Kind, ResourceKey};
use tokio::time::Instant;

use crate::status::HeldDeletions;

/// When deletions are held back, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeletionGuard {
    /// `kds.deletionGuard.share`: part of the resources of a type, from 0 to 1, above which deletions are held back; 1
    /// holds back none.
    pub share: f64,
    /// `kds.deletionGuard.minimum`: fewer deletions than that are not held back. A Mesh always is, because everything in
    /// it would go too.
    pub minimum: usize,
    /// `kds.deletionGuard.hold`: time after which they are carried out; zero waits for somebody to release them.
    pub hold: Duration,
}

impl Default for DeletionGuard {
    fn default() -> Self {
        Self { share: 0.5, minimum: 10, hold: Duration::from_secs(5 * 60) }
    }
}

impl DeletionGuard {
    /// Whether `absent` of `present` resources of a kind may not just be deleted.
    pub(super) fn objects(&self, kind: Kind, absent: usize, present: usize) -> bool {
        if absent == 0 || self.share >= 1.0 {
            return false;
        }
        #[allow(clippy::cast_precision_loss)] // numbers of resources are far below 2^52
        let many = absent as f64 > self.share * present as f64;
        kind == Kind::Mesh || (absent >= self.minimum && many)
    }
}

/// Held deletions of one type of one peer.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How long each has waited before `running`.
    waited: BTreeMap<ResourceKey, Duration>,
    /// The stream on which time counts, and since when.
    running: Option<(u64, Instant)>,
}

impl Held {
    pub(super) fn keys(&self) -> BTreeSet<ResourceKey> {
        self.waited.keys().cloned().collect()
    }

    /// Holds exactly these, and lets time count for a stream; those that were held have waited already.
    pub(super) fn hold(&mut self, keys: BTreeSet<ResourceKey>, stream: u64, now: Instant) {
        self.stop(now);
        self.waited.retain(|key, _| keys.contains(key));
        for key in keys {
            self.waited.entry(key).or_default();
        }
        self.running = Some((stream, now));
    }

    /// A stream ended: time does not count until the next one, unless there is a newer one already.
    pub(super) fn pause(&mut self, stream: u64, now: Instant) {
        if self.running.is_some_and(|(running, _)| running == stream) {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Instant) {
        if let Some((_, since)) = self.running.take() {
            let elapsed = now.saturating_duration_since(since);
            self.waited.values_mut().for_each(|waited| *waited += elapsed);
        }
    }

    /// When the first of them has waited for `hold`; `None` when nothing is held or time does not count.
    pub(super) fn due(&self, hold: Duration) -> Option<Instant> {
        let longest = self.waited.values().max()?;
        if hold.is_zero() { None } else { self.running.map(|(_, since)| since + hold.saturating_sub(*longest)) }
    }

    /// Those that have waited for `hold`.
    pub(super) fn overdue(&self, hold: Duration, now: Instant) -> BTreeSet<ResourceKey> {
        let Some((_, since)) = self.running.filter(|_| !hold.is_zero()) else { return BTreeSet::new() };
        let elapsed = now.saturating_duration_since(since);
        self.waited.iter().filter(|(_, waited)| **waited + elapsed >= hold).map(|(key, _)| key.clone()).collect()
    }

    /// For people.
    pub(super) fn status(&self, hold: Duration) -> Option<HeldDeletions> {
        let longest = self.waited.values().max()?;
        let (_, since) = self.running?;
        Some(HeldDeletions {
            resources: self.keys(),
            since: since.checked_sub(*longest).unwrap_or(since),
            until: self.due(hold),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(300);

    fn keys(names: &[&str]) -> BTreeSet<ResourceKey> {
        names.iter().map(|name| ResourceKey::new(Kind::MeshService, "default", *name)).collect()
    }

    #[test]
    fn what_is_held_back() {
        let guard = DeletionGuard::default();
        assert!(guard.objects(Kind::MeshService, 10, 10));
        assert!(guard.objects(Kind::MeshService, 11, 20));
        assert!(!guard.objects(Kind::MeshService, 10, 20), "not more than the share");
        assert!(!guard.objects(Kind::MeshService, 9, 9), "few");
        assert!(guard.objects(Kind::Mesh, 1, 5), "takes everything in it along");
        assert!(!guard.objects(Kind::Mesh, 0, 5));
        let off = DeletionGuard { share: 1.0, minimum: 0, ..guard };
        assert!(!off.objects(Kind::MeshService, 10, 10));
        assert!(!off.objects(Kind::Mesh, 1, 1));
        let strict = DeletionGuard { share: 0.0, minimum: 1, ..guard };
        assert!(strict.objects(Kind::MeshService, 1, 1000));
    }

    #[test]
    fn time_counts_only_while_it_runs_and_is_not_forgotten() {
        let mut held = Held::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        held.hold(keys(&["a", "b"]), 1, start);
        assert_eq!(held.due(HOLD), Some(after(300)));
        held.pause(1, after(100));
        assert_eq!(held.due(HOLD), None);
        assert!(held.overdue(HOLD, after(10_000)).is_empty(), "the peer is away");

        held.hold(keys(&["b", "c"]), 2, after(10_000));
        held.pause(1, after(10_050));
        assert_eq!(held.keys(), keys(&["b", "c"]), "one is back");
        assert_eq!(held.due(HOLD), Some(after(10_200)));
        assert_eq!(held.overdue(HOLD, after(10_200)), keys(&["b"]));
        assert_eq!(held.overdue(HOLD, after(10_300)), keys(&["b", "c"]));
        let status = held.status(HOLD).expect("something is held");
        assert_eq!((status.since, status.until), (after(9_900), Some(after(10_200))));

        assert_eq!(held.due(Duration::ZERO), None);
        assert!(held.overdue(Duration::ZERO, after(20_000)).is_empty());
        held.hold(BTreeSet::new(), 2, after(20_000));
        assert_eq!((held.due(HOLD), held.status(HOLD)), (None, None));
    }
}
