//! The pauses of an Envoy between two attempts to open its discovery stream.
//!
//! Source: Envoy `source/common/common/backoff_strategy.cc` (`JitteredExponentialBackOffStrategy`) with the interval of
//! `source/extensions/config_subscription/grpc/grpc_stream.h`: each pause is a random share of an interval that begins at half a
//! second and doubles up to 30 s; a response begins it anew.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// What one Envoy is going to wait next.
#[derive(Debug)]
pub(super) struct Backoff {
    interval: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { interval: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.interval.mul_f64(rand::random_range(0.0..1.0));
        self.interval = (self.interval * 2).min(LONGEST);
        pause
    }

    /// A response arrived.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        for interval in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            assert_eq!(backoff.interval.as_secs_f64(), interval);
            assert!(backoff.next() < Duration::from_secs_f64(interval));
        }
        backoff.reset();
        assert_eq!(backoff.interval, FIRST);
    }
}
