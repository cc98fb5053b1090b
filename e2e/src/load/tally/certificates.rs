//! When proxies received their certificates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Receipts of certificates.
#[derive(Debug)]
pub(in crate::load) struct Certificates {
    epoch: Instant,
    count: AtomicU64,
    /// For each client: microseconds from the epoch until it received its last one, plus one; 0 for never.
    received_at: Vec<AtomicU64>,
}

impl Certificates {
    pub(super) fn new(clients: usize) -> Self {
        let received_at = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Self { epoch: Instant::now(), count: AtomicU64::new(0), received_at }
    }

    pub(super) fn received(&self, client: usize) {
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        self.received_at[client].store(now, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// How many were received.
    pub(in crate::load) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How many clients of those wanted have a certificate that they received longer ago than this.
    pub(in crate::load) fn older_than(&self, age: Duration, wanted: impl Fn(usize) -> bool) -> usize {
        let now = self.epoch.elapsed();
        let old = |at: u64| at > 0 && now.saturating_sub(Duration::from_micros(at - 1)) > age;
        let clients = self.received_at.iter().enumerate();
        clients.filter(|(client, at)| old(at.load(Relaxed)) && wanted(*client)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_grow_old() {
        let certificates = Certificates::new(2);
        certificates.received(1);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(certificates.older_than(Duration::from_millis(1), |_| true), 1);
        assert_eq!(certificates.older_than(Duration::from_millis(1), |client| client == 0), 0);
        assert_eq!(certificates.older_than(Duration::from_secs(100), |_| true), 0);
        assert_eq!(certificates.count(), 1);
    }
}
