//! What everything in a run shares: simulated time, what has happened, and what was found to be wrong.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_kds::Surroundings;
use tokio::time::Instant;

/// When simulated time begins, in seconds since 1970.
const EPOCH: i64 = 1_900_000_000;

/// See the module.
pub struct World {
    began: Instant,
    trace: Mutex<DefaultHasher>,
    findings: Mutex<Vec<String>>,
    /// The only promise that is looked at; all of them if there is none.
    only: Option<&'static str>,
}

impl World {
    /// A world at the beginning of its time, in which all promises matter, or one.
    pub fn new(only: Option<&'static str>) -> Arc<Self> {
        // A hasher without random keys: equal traces have equal digests in every process.
        let trace = Mutex::new(DefaultHasher::new());
        Arc::new(Self { began: Instant::now(), trace, findings: Mutex::default(), only })
    }

    /// Notes that something happened.
    pub fn trace(&self, event: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        tracing::info!(target: "simulation", "{event}");
        let mut trace = self.trace.lock();
        at.hash(&mut *trace);
        event.to_string().hash(&mut *trace);
    }

    /// Digest of everything that happened.
    pub fn digest(&self) -> u64 {
        self.trace.lock().finish()
    }

    /// Notes that a promise does not hold.
    pub fn found(&self, promise: &str, what: impl fmt::Display) {
        if self.only.is_some_and(|only| only != promise) {
            return;
        }
        let at = self.began.elapsed();
        tracing::error!(target: "simulation", "{promise}: {what}");
        self.findings.lock().push(format!("{promise} at {:.3} s: {what}", at.as_secs_f64()));
    }

    /// What was found so far.
    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().clone()
    }

    /// Clock and randomness of a process whose clock is `offset` seconds ahead.
    pub fn surroundings(self: &Arc<Self>, offset: &Arc<AtomicI64>, seed: u64) -> Surroundings {
        let (world, offset) = (self.clone(), offset.clone());
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Surroundings {
            now: Arc::new(move || {
                let elapsed = SignedDuration::try_from(world.began.elapsed()).unwrap_or_default();
                let epoch = EPOCH + offset.load(Ordering::Relaxed);
                Timestamp::from_second(epoch).unwrap_or(Timestamp::MAX) + elapsed
            }),
            random: Arc::new(move || random.lock().random()),
        }
    }
}
