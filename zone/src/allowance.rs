//! How many messages a stream takes in.

use tokio::time::Instant;

/// Messages that a peer may send: a number at once, and some more each second.
#[derive(Debug)]
pub struct Allowance {
    burst: u32,
    per_second: u32,
    left: f64,
    last: Instant,
}

impl Allowance {
    /// `burst` messages at once, and `per_second` more each second.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second, left: burst.into(), last: Instant::now() }
    }

    /// Takes in a message.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn take(&mut self) -> Result<(), TooMany> {
        let now = Instant::now();
        let more = now.duration_since(self.last).as_secs_f64() * f64::from(self.per_second);
        self.last = now;
        self.left = (self.left + more).min(self.burst.into()) - 1.0;
        if self.left < 0.0 { Err(TooMany { burst: self.burst, per_second: self.per_second }) } else { Ok(()) }
    }
}

/// A stream has sent more messages than are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {burst} messages at once, or {per_second} a second, are more than a proxy has to say")]
pub struct TooMany {
    burst: u32,
    per_second: u32,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_used_up_comes_back_with_time() {
        let mut allowance = Allowance::new(10, 2);
        assert!((0..10).all(|_| allowance.take().is_ok()));
        assert!(allowance.take().is_err());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!((0..3).all(|_| allowance.take().is_ok()), "four came back, and the one that was refused took one");
        assert!(allowance.take().is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!((0..10).all(|_| allowance.take().is_ok()));
        assert!(allowance.take().is_err(), "never more than at first");
    }
}
