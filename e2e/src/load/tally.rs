//! What the clients of a run (proxies, or zones) have seen so far, kept in atomics so that counting costs next to nothing.

mod attendance;
mod certificates;
mod failures;
mod groups;
mod sign;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use self::attendance::Attendance;
use self::certificates::Certificates;
pub(super) use self::failures::Failures;
pub(super) use self::groups::Groups;
pub(super) use self::sign::Sign;

/// Counters of a run.
#[derive(Debug)]
pub(super) struct Tally {
    epoch: Instant,
    bytes: AtomicU64,
    bytes_of_returning: AtomicU64,
    responses: AtomicU64,
    responses_of_returning: AtomicU64,
    ready: AtomicUsize,
    failures: Failures,
    /// For each client: microseconds from its first attempt to connect until it was ready, plus one; 0 before that.
    ready_after: Vec<AtomicU64>,
    round: Round,
    /// Sign without which no client is ready; 0 for none.
    required: AtomicU64,
    attendance: Attendance,
    groups: Groups,
    certificates: Certificates,
}

/// A change that is under way.
#[derive(Debug)]
struct Round {
    /// Sign of the change; 0 between rounds.
    sign: AtomicU64,
    seen: AtomicUsize,
    /// For each client: microseconds from the epoch until it had the change.
    seen_at: Vec<AtomicU64>,
}

impl Tally {
    pub(super) fn new(clients: usize) -> Self {
        let zeros = || (0..clients).map(|_| AtomicU64::new(0)).collect();
        Self {
            epoch: Instant::now(),
            bytes: AtomicU64::new(0),
            bytes_of_returning: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            responses_of_returning: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
            failures: Failures::default(),
            ready_after: zeros(),
            round: Round { sign: AtomicU64::new(0), seen: AtomicUsize::new(0), seen_at: zeros() },
            required: AtomicU64::new(0),
            attendance: Attendance::new(clients),
            groups: Groups::new(clients),
            certificates: Certificates::new(clients),
        }
    }

    /// Counts bytes that arrived from control planes, TLS included, for a client that has been connected before or not.
    pub(super) fn received(&self, bytes: usize, returning: bool) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if returning {
            self.bytes_of_returning.fetch_add(bytes as u64, Relaxed);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Those of them that clients received which had been connected before.
    pub(super) fn bytes_of_returning(&self) -> u64 {
        self.bytes_of_returning.load(Relaxed)
    }

    /// Number of responses that clients have looked at.
    pub(super) fn responses(&self) -> u64 {
        self.responses.load(Relaxed)
    }

    /// Those of them that clients looked at which had been connected before.
    pub(super) fn responses_of_returning(&self) -> u64 {
        self.responses_of_returning.load(Relaxed)
    }

    /// Number of clients that have all they asked for.
    pub(super) fn ready(&self) -> usize {
        self.ready.load(Relaxed)
    }

    /// Number of attempts and connections that failed.
    pub(super) fn disconnects(&self) -> u64 {
        self.failures.count()
    }

    /// Attempts and connections that failed.
    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Who is in service.
    pub(super) fn attendance(&self) -> &Attendance {
        &self.attendance
    }

    /// Changes for groups of clients.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Certificates that clients received.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Times from the first attempt to connect until ready, of all clients that were ready once.
    pub(super) fn ready_after(&self) -> Vec<Duration> {
        let times = self.ready_after.iter().map(|time| time.load(Relaxed)).filter(|time| *time > 0);
        times.map(|time| Duration::from_micros(time - 1)).collect()
    }

    /// From now on, clients that become ready must have this sign.
    pub(super) fn require(&self, sign: Option<Sign>) {
        self.required.store(sign.map_or(0, Sign::to_bits), Relaxed);
    }

    /// Begins a round: from now on, clients count that have this sign.
    pub(super) fn begin_round(&self, sign: Sign) {
        self.round.seen.store(0, Relaxed);
        for seen in &self.round.seen_at {
            seen.store(0, Relaxed);
        }
        self.round.sign.store(sign.to_bits(), Relaxed);
    }

    /// Number of clients that have the change of the current round.
    pub(super) fn seen(&self) -> usize {
        self.round.seen.load(Relaxed)
    }

    /// Ends a round and returns the times from `start` until each client had the change, sorted.
    pub(super) fn end_round(&self, start: Instant) -> Vec<Duration> {
        self.round.sign.store(0, Relaxed);
        let start = start.duration_since(self.epoch);
        let times = self.round.seen_at.iter().map(|time| time.load(Relaxed)).filter(|time| *time > 0);
        let mut times: Vec<_> = times.map(|time| Duration::from_micros(time).saturating_sub(start)).collect();
        times.sort_unstable();
        times
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Reports what one client sees. When it is dropped, the client is gone.
#[derive(Debug)]
pub(super) struct Observer<'a> {
    tally: &'a Tally,
    index: usize,
    started: Instant,
    ready: AtomicBool,
    /// It was ready before.
    returning: AtomicBool,
}

impl<'a> Observer<'a> {
    /// For the client with this index, whose first attempt to connect begins now.
    pub(super) fn new(tally: &'a Tally, index: usize) -> Self {
        Self { tally, index, started: Instant::now(), ready: AtomicBool::new(false), returning: AtomicBool::new(false) }
    }

    /// The same for a client of a group.
    pub(super) fn in_group(tally: &'a Tally, index: usize, group: Option<usize>) -> Self {
        tally.groups.join(index, group);
        Self::new(tally, index)
    }

    /// Looks at a client after a response: whether it has all it asked for, and whether it has the sign of the round.
    pub(super) fn look(&self, complete: impl FnOnce() -> bool, has: impl Fn(Sign) -> bool) {
        self.tally.responses.fetch_add(1, Relaxed);
        if self.returning.load(Relaxed) {
            self.tally.responses_of_returning.fetch_add(1, Relaxed);
        }
        if !self.ready.load(Relaxed)
            && complete()
            && Sign::from_bits(self.tally.required.load(Relaxed)).is_none_or(&has)
        {
            self.ready.store(true, Relaxed);
            self.tally.ready.fetch_add(1, Relaxed);
            self.tally.attendance.enter(self.index);
            let after = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
            // Only the first time counts.
            let _ = self.tally.ready_after[self.index].compare_exchange(0, after, Relaxed, Relaxed);
        }
        self.tally.groups.look(self.index, &has);
        let round = &self.tally.round;
        let Some(sign) = Sign::from_bits(round.sign.load(Relaxed)) else { return };
        if round.seen_at[self.index].load(Relaxed) == 0 && has(sign) {
            round.seen_at[self.index].store(self.tally.now().max(1), Relaxed);
            round.seen.fetch_add(1, Relaxed);
        }
    }

    /// The client received a certificate of its own.
    pub(super) fn certified(&self) {
        self.tally.certificates.received(self.index);
    }

    /// An attempt to connect, or the connection of the client failed.
    pub(super) fn failed(&self, error: &anyhow::Error) {
        self.lost();
        self.tally.failures.add(error);
    }

    /// The client has lost its connection, which is nobody's failure.
    pub(super) fn lost(&self) {
        if self.ready.swap(false, Relaxed) {
            self.tally.ready.fetch_sub(1, Relaxed);
            self.tally.attendance.leave(self.index);
            self.returning.store(true, Relaxed);
        }
    }

    /// Whether the client was ready on an earlier connection.
    pub(super) fn is_returning(&self) -> bool {
        self.returning.load(Relaxed)
    }
}

impl Drop for Observer<'_> {
    fn drop(&mut self) {
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_returns_counts_once_it_has_what_is_required() {
        let tally = Tally::new(2);
        let observer = Observer::new(&tally, 1);
        observer.look(|| true, |_| false);
        assert_eq!((tally.ready(), observer.is_returning()), (1, false));
        tally.attendance().await_returns();
        observer.lost();
        assert_eq!((tally.ready(), observer.is_returning()), (0, true));
        tally.require(Some(Sign::Connections(7)));
        observer.look(|| true, |_| false);
        assert_eq!(tally.ready(), 0);
        observer.look(|| true, |sign| sign == Sign::Connections(7));
        assert_eq!((tally.ready(), tally.responses(), tally.responses_of_returning()), (1, 3, 2));
        assert_eq!(tally.attendance().returned([0, 1]), 1);
        drop(observer);
        assert_eq!(tally.ready(), 0);
    }
}
