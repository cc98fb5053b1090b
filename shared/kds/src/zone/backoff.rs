//! Pauses between attempts to connect.
//!
//! For the first half minute after a connection that worked, attempts follow quickly, so that a restart of global costs a
//! second or two; after that the pauses are those of Kuma: the base, doubled each time up to a maximum. All pauses vary at
//! random, so that many zones do not return at the same moment.

use std::time::Duration;

use crate::surroundings::Surroundings;

/// The pauses of the first attempts, in milliseconds.
const QUICK: [u64; 14] = [200, 500, 1000, 1000, 2000, 2000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000];

/// Limits of the pauses; the configuration keys are those of Kuma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSettings {
    /// `general.resilientComponentBaseBackoff`: the first pause after the quick ones.
    pub base: Duration,
    /// `general.resilientComponentMaxBackoff`: the longest pause.
    pub max: Duration,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { base: Duration::from_secs(5), max: Duration::from_secs(60) }
    }
}

/// The sequence of pauses.
#[derive(Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    surroundings: Surroundings,
    attempt: usize,
}

impl Backoff {
    /// A sequence at its beginning.
    pub fn new(settings: BackoffSettings, surroundings: Surroundings) -> Self {
        Self { settings, surroundings, attempt: 0 }
    }

    /// Begins again: the last attempt was a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next pause: the nominal one, more or less up to a fifth of it.
    pub fn next_pause(&mut self) -> Duration {
        let nominal = self.nominal();
        self.attempt = self.attempt.saturating_add(1);
        nominal.mul_f64(0.8 + 0.4 * self.surroundings.fraction()).min(self.settings.max)
    }

    fn nominal(&self) -> Duration {
        let BackoffSettings { base, max } = self.settings;
        let pause = match QUICK.get(self.attempt) {
            Some(quick) => Duration::from_millis(*quick).min(base),
            None => {
                let doublings = u32::try_from(self.attempt - QUICK.len()).unwrap_or(u32::MAX);
                base.saturating_mul(2_u32.saturating_pow(doublings))
            }
        };
        pause.min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nominals(settings: BackoffSettings, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::new(settings, Surroundings::default());
        let mut pauses = Vec::new();
        for _ in 0..count {
            pauses.push(backoff.nominal().as_millis());
            let pause = backoff.next_pause();
            let nominal = Duration::from_millis(u64::try_from(pauses[pauses.len() - 1]).expect("small"));
            assert!(pause >= nominal.mul_f64(0.79) && pause <= nominal.mul_f64(1.21), "{pause:?} for {nominal:?}");
        }
        backoff.reset();
        assert_eq!(backoff.nominal().as_millis(), pauses[0]);
        pauses
    }

    #[test]
    fn quick_at_first_then_as_kuma() {
        let pauses = nominals(BackoffSettings::default(), 20);
        assert_eq!(pauses[..6], [200, 500, 1000, 1000, 2000, 2000]);
        assert!(pauses[..14].iter().sum::<u128>() >= 30_000);
        assert_eq!(pauses[14..], [5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    }

    #[test]
    fn limits_hold_and_nothing_overflows() {
        let settings = BackoffSettings { base: Duration::from_millis(300), max: Duration::from_millis(400) };
        let pauses = nominals(settings, 16);
        assert_eq!(pauses[..2], [200, 300]);
        assert_eq!(pauses[13..], [300, 300, 400]);
        let mut backoff = Backoff { attempt: usize::MAX, ..Backoff::new(settings, Surroundings::default()) };
        assert!(backoff.next_pause() <= settings.max);
    }
}
