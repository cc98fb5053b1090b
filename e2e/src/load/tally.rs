//! What the clients of a run (proxies, or zones) have seen so far, kept in atomics so that counting costs next to nothing.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// By what a client knows that the change of a round has reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Its clusters have this connect timeout.
    Timeout(Duration),
    /// A service has an endpoint at this address.
    Endpoint(Ipv4Addr),
}

impl Sign {
    const ENDPOINT: u64 = 1 << 63;

    /// As a number that is not 0.
    fn to_bits(self) -> u64 {
        match self {
            Self::Timeout(timeout) => {
                u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).clamp(1, Self::ENDPOINT - 1)
            }
            Self::Endpoint(address) => Self::ENDPOINT | u64::from(address.to_bits()),
        }
    }

    fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => None,
            // The lower half is the address.
            bits if bits & Self::ENDPOINT != 0 => Some(Self::Endpoint(Ipv4Addr::from_bits(bits as u32))),
            bits => Some(Self::Timeout(Duration::from_millis(bits))),
        }
    }
}

/// Counters of a run.
#[derive(Debug)]
pub(super) struct Tally {
    epoch: Instant,
    bytes: AtomicU64,
    responses: AtomicU64,
    ready: AtomicUsize,
    disconnects: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// For each client: microseconds from its first attempt to connect until it was ready, plus one; 0 before that.
    ready_after: Vec<AtomicU64>,
    round: Round,
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
            responses: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
            disconnects: AtomicU64::new(0),
            last_error: Mutex::new(None),
            ready_after: zeros(),
            round: Round { sign: AtomicU64::new(0), seen: AtomicUsize::new(0), seen_at: zeros() },
        }
    }

    /// Counts bytes that arrived from control planes, TLS included.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Number of responses that clients have looked at.
    pub(super) fn responses(&self) -> u64 {
        self.responses.load(Relaxed)
    }

    /// Number of clients that have all they asked for.
    pub(super) fn ready(&self) -> usize {
        self.ready.load(Relaxed)
    }

    /// Number of attempts and connections that failed.
    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Relaxed)
    }

    pub(super) fn failed(&self, error: String) {
        self.disconnects.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Times from the first attempt to connect until ready, of all clients that were ready once.
    pub(super) fn ready_after(&self) -> Vec<Duration> {
        let times = self.ready_after.iter().map(|time| time.load(Relaxed)).filter(|time| *time > 0);
        times.map(|time| Duration::from_micros(time - 1)).collect()
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

/// Reports what one client sees.
#[derive(Debug)]
pub(super) struct Observer<'a> {
    tally: &'a Tally,
    index: usize,
    started: Instant,
    ready: AtomicBool,
}

impl<'a> Observer<'a> {
    /// For the client with this index, whose first attempt to connect begins now.
    pub(super) fn new(tally: &'a Tally, index: usize) -> Self {
        Self { tally, index, started: Instant::now(), ready: AtomicBool::new(false) }
    }

    /// Looks at a client after a response: whether it has all it asked for, and whether it has the sign of the round.
    pub(super) fn look(&self, complete: impl FnOnce() -> bool, has: impl FnOnce(Sign) -> bool) {
        self.tally.responses.fetch_add(1, Relaxed);
        if !self.ready.load(Relaxed) && complete() {
            self.ready.store(true, Relaxed);
            self.tally.ready.fetch_add(1, Relaxed);
            let after = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
            // Only the first time counts.
            let _ = self.tally.ready_after[self.index].compare_exchange(0, after, Relaxed, Relaxed);
        }
        let round = &self.tally.round;
        let Some(sign) = Sign::from_bits(round.sign.load(Relaxed)) else { return };
        if round.seen_at[self.index].load(Relaxed) == 0 && has(sign) {
            round.seen_at[self.index].store(self.tally.now().max(1), Relaxed);
            round.seen.fetch_add(1, Relaxed);
        }
    }

    /// The connection of the client failed.
    pub(super) fn failed(&self, error: String) {
        if self.ready.swap(false, Relaxed) {
            self.tally.ready.fetch_sub(1, Relaxed);
        }
        self.tally.failed(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_numbers() {
        for sign in [Sign::Timeout(Duration::from_millis(10_007)), Sign::Endpoint(Ipv4Addr::new(198, 18, 255, 1))] {
            assert_eq!(Sign::from_bits(sign.to_bits()), Some(sign));
        }
        assert_eq!(Sign::from_bits(0), None);
    }
}
