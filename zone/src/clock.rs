//! The time of day.

use jiff::Timestamp;

/// The present time.
#[cfg(not(test))]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The present time, which a test that pauses tokio's clock passes with it.
#[cfg(test)]
pub fn now() -> Timestamp {
    use tokio::time::Instant;
    thread_local! {
        static BEGIN: (Timestamp, Instant) = (Timestamp::now(), Instant::now());
    }
    BEGIN.with(|(time, instant)| *time + instant.elapsed())
}
