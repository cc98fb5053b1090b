//! When a task that follows the change feed works: a moment after something happened, so that what happens together is one round,
//! and no more often than it may.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a round waits for what else happens.
const GATHER: Duration = Duration::from_millis(20);

/// Pause after a store failed.
const RETRY: Duration = Duration::from_secs(1);

/// The rounds of one task.
#[derive(Debug)]
pub struct Pace {
    min_interval: Duration,
    /// When the next round begins; `None` while there is nothing to do.
    due: Option<Instant>,
    /// The next round begins no sooner.
    free: Instant,
}

impl Pace {
    /// Rounds with this least time between the beginnings of two.
    pub fn new(min_interval: Duration) -> Self {
        Self { min_interval, due: None, free: Instant::now() }
    }

    /// There is something to do.
    pub fn want(&mut self) {
        self.due.get_or_insert_with(|| self.free.max(Instant::now() + GATHER));
    }

    /// There is something that a store did not take, to be tried again as soon as there may be another round.
    pub fn want_again(&mut self) {
        self.due = Some(self.free);
    }

    /// The store failed: no round begins before it had time to recover.
    pub fn recover(&mut self) {
        self.free = Instant::now() + RETRY;
    }

    /// Waits until a round begins; for ever while there is nothing to do. Nothing is lost when the wait is given up.
    pub async fn round(&self) {
        self.round_or(None).await;
    }

    /// As [`Self::round`], and at a time at which there is something to do anyway.
    pub async fn round_or(&self, time: Option<Instant>) {
        match self.due.into_iter().chain(time).min() {
            Some(begin) => sleep_until(begin).await,
            None => std::future::pending().await,
        }
    }

    /// A round begins.
    pub fn begin(&mut self) {
        self.due = None;
        self.free = Instant::now() + self.min_interval;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rounds_gather_and_keep_their_distance() {
        let mut pace = Pace::new(Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(pace.round().now_or_never(), None, "there is nothing to do");
        pace.want();
        pace.want();
        pace.round().await;
        assert!(start.elapsed() >= GATHER && start.elapsed() < Duration::from_secs(1));
        pace.begin();
        pace.want();
        pace.round().await;
        assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
        pace.begin();
        pace.recover();
        pace.want_again();
        let before = Instant::now();
        pace.round().await;
        assert!(before.elapsed() >= RETRY && before.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_of_its_own_begins_a_round() {
        let pace = Pace::new(Duration::ZERO);
        let time = Instant::now() + Duration::from_secs(60);
        pace.round_or(Some(time)).await;
        assert!(Instant::now() >= time);
    }
}
