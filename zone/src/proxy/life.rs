//! Whether somebody is at the other end of a stream.
//!
//! A proxy whose connection was lost without a word (a pulled cable, a host that died) comes back while its earlier stream still looks
//! open. The earlier stream then sends something that an Envoy has to acknowledge. When anything comes back, the proxy is alive, and
//! whoever came later is refused; when nothing does, the place is free.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a stream has to give a sign of life. An Envoy answers at once unless its main thread or its host is very busy.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What one stream and those who want its place tell each other.
#[derive(Debug, Default)]
pub struct Life {
    /// The stream answers questions; until then it is about to begin.
    serving: AtomicBool,
    asked: Notify,
    heard: Notify,
    displaced: CancellationToken,
    ended: CancellationToken,
}

/// What became of a stream that was asked for a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Something came from its client.
    Alive,
    /// It ended meanwhile.
    Ended,
    /// Nothing came.
    Silent,
}

impl Life {
    /// The stream answers questions from now on.
    pub fn serve(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Asks the stream for a sign of life, and waits for it. One that just came needs to give none.
    pub async fn ask(&self) -> Sign {
        if !self.serving.load(Ordering::Relaxed) {
            return Sign::Alive;
        }
        let mut heard = std::pin::pin!(self.heard.notified());
        heard.as_mut().enable();
        self.asked.notify_one();
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Sign::Ended,
            () = heard => Sign::Alive,
            () = tokio::time::sleep(PATIENCE) => Sign::Silent,
        }
    }

    /// Resolves when somebody asks for a sign of life.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Something came from the client.
    pub fn heard(&self) {
        self.heard.notify_waiters();
    }

    /// The place of the stream was taken by another one.
    pub fn displace(&self) {
        self.displaced.cancel();
    }

    /// Resolves when the place of the stream was taken by another one.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// The stream is over.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when the stream is over.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_alive_silent_or_over() {
        let life = Arc::new(Life::default());
        assert_eq!(life.ask().await, Sign::Alive, "it just came");
        life.serve();
        let alive = tokio::spawn({
            let life = life.clone();
            async move { life.ask().await }
        });
        life.asked().await;
        life.heard();
        assert_eq!(alive.await.unwrap(), Sign::Alive);
        // What came before the question does not count.
        life.heard();
        let begin = tokio::time::Instant::now();
        assert_eq!(life.ask().await, Sign::Silent);
        assert_eq!(begin.elapsed(), PATIENCE);
        life.end();
        assert_eq!(life.ask().await, Sign::Ended);
    }
}
