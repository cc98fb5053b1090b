//! Which clients are in service, and when each came back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Comings and goings of all clients.
#[derive(Debug)]
pub(in crate::load) struct Attendance {
    epoch: Instant,
    clients: Vec<Client>,
}

#[derive(Debug, Default)]
struct Client {
    /// How often it came or went: odd while it is in service.
    turns: AtomicU32,
    /// Microseconds from the epoch until it came back, plus one; 0 as long as it did not.
    returned_at: AtomicU64,
}

/// A stay of a client in service, which ends when it leaves.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct Stay {
    /// Index of the client.
    pub(in crate::load) client: usize,
    turn: u32,
}

impl Attendance {
    pub(super) fn new(clients: usize) -> Self {
        Self { epoch: Instant::now(), clients: (0..clients).map(|_| Client::default()).collect() }
    }

    pub(super) fn enter(&self, client: usize) {
        let client = &self.clients[client];
        client.turns.fetch_add(1, Relaxed);
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // Only the first time counts.
        let _ = client.returned_at.compare_exchange(0, now, Relaxed, Relaxed);
    }

    pub(super) fn leave(&self, client: usize) {
        self.clients[client].turns.fetch_add(1, Relaxed);
    }

    /// The present stay of a client, if it is in service.
    pub(in crate::load) fn stay(&self, client: usize) -> Option<Stay> {
        let turn = self.clients[client].turns.load(Relaxed);
        (turn % 2 == 1).then_some(Stay { client, turn })
    }

    /// Whether a client has been in service ever since.
    pub(in crate::load) fn lasts(&self, stay: Stay) -> bool {
        self.clients[stay.client].turns.load(Relaxed) == stay.turn
    }

    /// From now on it is noted when a client comes (back) into service.
    pub(in crate::load) fn await_returns(&self) {
        for client in &self.clients {
            client.returned_at.store(0, Relaxed);
        }
    }

    /// How many of these clients are back.
    pub(in crate::load) fn returned(&self, clients: impl IntoIterator<Item = usize>) -> usize {
        clients.into_iter().filter(|client| self.clients[*client].returned_at.load(Relaxed) > 0).count()
    }

    /// Times from `start` until these clients were back, of those that are.
    pub(in crate::load) fn return_times(
        &self,
        clients: impl IntoIterator<Item = usize>,
        start: Instant,
    ) -> Vec<Duration> {
        let start = start.duration_since(self.epoch);
        let times = clients.into_iter().map(|client| self.clients[client].returned_at.load(Relaxed));
        times.filter(|time| *time > 0).map(|time| Duration::from_micros(time - 1).saturating_sub(start)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_end() {
        let attendance = Attendance::new(2);
        assert!(attendance.stay(1).is_none());
        attendance.enter(1);
        let stay = attendance.stay(1).expect("it is there");
        assert!(attendance.lasts(stay));
        attendance.leave(1);
        attendance.enter(1);
        assert!(!attendance.lasts(stay), "it was away in between");
    }

    #[test]
    fn the_first_return_counts() {
        let attendance = Attendance::new(2);
        attendance.enter(0);
        attendance.await_returns();
        let start = Instant::now();
        assert_eq!(attendance.returned([0, 1]), 0, "one that has not left does not return");
        attendance.leave(0);
        attendance.enter(0);
        assert_eq!(attendance.returned([0, 1]), 1);
        let first = attendance.return_times([0, 1], start);
        attendance.leave(0);
        attendance.enter(0);
        assert_eq!(attendance.return_times([0, 1], start), first);
    }
}
