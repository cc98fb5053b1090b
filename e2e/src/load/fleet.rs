//! All simulated clients of a run: proxies, or zones.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::progress::{Phase, REFRESH};
use super::tally::Tally;

/// How long clients may take to become ready after the last one began to connect.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// The same when none has become ready, as it is then no matter of load.
const FIRST_READY_LIMIT: Duration = Duration::from_secs(30);

/// The control planes are at rest when nothing but signs of life arrives for this long.
const REST: Duration = Duration::from_secs(3);

/// Bytes that signs of life (pings of HTTP/2) take for each client in that time, at most.
const SIGNS_OF_LIFE: u64 = 100;

/// Longest wait for rest.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Step in which time to ready is measured.
const STEP: Duration = Duration::from_millis(5);

/// Running sessions; they end when this is dropped.
pub(super) struct Fleet {
    /// `proxies` or `zones`.
    what: &'static str,
    tally: Arc<Tally>,
    size: usize,
    sessions: JoinSet<()>,
}

impl Fleet {
    /// Starts a `session` for each of `size` clients, spread evenly over `ramp`, waits until all are ready and returns how
    /// long that took.
    pub(super) async fn connect<S: Future<Output = ()> + Send + 'static>(
        what: &'static str,
        tally: Arc<Tally>,
        size: usize,
        ramp: Duration,
        session: impl Fn(usize) -> S,
    ) -> Result<(Self, Duration)> {
        let phase = Phase::counted(&format!("Connecting {what}"), size);
        let started = Instant::now();
        let mut sessions = JoinSet::new();
        let step = ramp / u32::try_from(size)?;
        for index in 0..size {
            let at = started + step * u32::try_from(index)?;
            if at > Instant::now() {
                sleep_until(at.into()).await;
            }
            sessions.spawn(session(index));
            phase.at(tally.ready());
        }
        let fleet = Self { what, tally, size, sessions };
        fleet.all_ready(&phase).await?;
        Ok((fleet, started.elapsed()))
    }

    /// Waits until all clients are ready, from now on; also after connections were lost.
    pub(super) async fn all_ready(&self, phase: &Phase) -> Result<()> {
        let started = Instant::now();
        loop {
            let ready = self.tally.ready();
            phase.at(ready);
            if ready >= self.size {
                return Ok(());
            }
            let limit = if ready == 0 { FIRST_READY_LIMIT } else { READY_LIMIT };
            if started.elapsed() > limit {
                bail!("only {ready} of {} {} became ready; {}", self.size, self.what, self.trouble());
            }
            sleep(STEP).await;
        }
    }

    /// Waits until no client is ready any more.
    pub(super) async fn all_lost(&self) -> Result<()> {
        let started = Instant::now();
        while self.tally.ready() > 0 {
            if started.elapsed() > FIRST_READY_LIMIT {
                bail!(
                    "{} of {} {} did not notice that the connection is gone",
                    self.tally.ready(),
                    self.size,
                    self.what
                );
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// Waits until nothing arrives any more. Returns false when that does not happen in time.
    pub(super) async fn rest(&self) -> bool {
        let _phase = Phase::open_ended("Waiting for the control planes to come to rest");
        let started = Instant::now();
        let allowed = SIGNS_OF_LIFE * self.size as u64;
        let mut bytes = self.tally.bytes();
        let mut since = Instant::now();
        while since.elapsed() < REST {
            if started.elapsed() > REST_LIMIT {
                return false;
            }
            sleep(REFRESH).await;
            let now = self.tally.bytes();
            if now - bytes > allowed {
                (bytes, since) = (now, Instant::now());
            }
        }
        true
    }

    /// Number of clients.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Waits until so many clients have the change of the round.
    pub(super) async fn all_seen(&self, size: usize, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while self.tally.seen() < size {
            if started.elapsed() > limit {
                let seen = self.tally.seen();
                let what = self.what;
                bail!("only {seen} of {size} {what} got the change within {limit:?}; {}", self.trouble());
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// What went wrong so far, as the end of a sentence.
    pub(super) fn trouble(&self) -> String {
        match self.tally.failures().last() {
            Some(error) => format!("{} failed attempts, the last one: {error}", self.tally.disconnects()),
            None => "no connection failed".to_owned(),
        }
    }

    /// Ends all sessions and waits until they are gone.
    pub(super) async fn disconnect(mut self) {
        self.sessions.shutdown().await;
    }
}
