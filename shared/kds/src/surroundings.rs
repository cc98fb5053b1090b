//! What synchronization takes from the world besides the network and the store. It is passed in, so that a simulation
//! can choose it and repeat itself exactly. Timers are not part of it: all of them are tokio's, which can be paused.

use std::sync::Arc;

use jiff::Timestamp;

/// The wall clock and a source of random bits.
#[derive(Clone)]
pub struct Surroundings {
    /// Time of day, for what people and peers read. It may jump; nothing waits for it.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Independent random bits. They vary pauses and tell connections apart; no secret is made of them.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Surroundings {
    /// Those of the process.
    fn default() -> Self {
        Self { now: Arc::new(Timestamp::now), random: Arc::new(rand::random::<u64>) }
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Surroundings {
    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A number from 0 up to, but not including, 1.
    pub(crate) fn fraction(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // 53 bits are what the type holds
        let bits = ((self.random)() >> 11) as f64;
        bits / (1_u64 << 53) as f64
    }

    /// An id that nobody else has.
    pub(crate) fn id(&self) -> String {
        let bits = (u128::from((self.random)()) << 64) | u128::from((self.random)());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }
}
