//! Wakes the streams that a change concerns, a few at a time.
//!
//! A change that concerns thousands of proxies is seconds of work. If all their streams could run at the same moment, whatever else becomes
//! ready meanwhile (a handshake, the first request of a proxy) would wait behind all of them, longer than an Envoy waits for a
//! connection; and it would come again, and wait again. So a few are woken, everything that is ready runs, and then the next few.
//! What changes meanwhile makes those wait once who have not had their turn, and wakes the others once more.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::yield_now;

/// Streams that are woken together: some milliseconds of work.
const TOGETHER: usize = 16;

/// Streams that are still to be woken, in the order in which changes concerned them.
#[derive(Debug, Default)]
pub struct Waking {
    queue: VecDeque<Arc<Notify>>,
    /// Those in the queue, by their address in memory.
    queued: HashSet<usize>,
}

impl Waking {
    /// Adds streams, except those that are to be woken anyway.
    pub fn add(&mut self, streams: Vec<Arc<Notify>>) {
        for stream in streams {
            if self.queued.insert(Arc::as_ptr(&stream).addr()) {
                self.queue.push_back(stream);
            }
        }
    }

    /// Resolves when everything else that is ready had its turn; never while there is nobody to wake. Nothing is lost when the wait is
    /// given up.
    pub async fn turn(&self) {
        if self.queue.is_empty() {
            std::future::pending::<()>().await;
        }
        yield_now().await;
    }

    /// Wakes the next few.
    pub fn wake(&mut self) {
        for stream in self.queue.drain(..TOGETHER.min(self.queue.len())) {
            self.queued.remove(&Arc::as_ptr(&stream).addr());
            stream.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn woken(streams: &[Arc<Notify>]) -> usize {
        streams.iter().filter(|stream| stream.notified().now_or_never().is_some()).count()
    }

    #[tokio::test]
    async fn a_few_are_woken_at_a_time_and_each_once_for_what_changed_before() {
        let streams: Vec<_> = (0..TOGETHER * 2).map(|_| Arc::new(Notify::new())).collect();
        let mut waking = Waking::default();
        assert!(waking.turn().now_or_never().is_none(), "there is nobody to wake");
        waking.add(streams.clone());
        waking.turn().await;
        waking.wake();
        assert_eq!((woken(&streams[..TOGETHER]), woken(&streams[TOGETHER..])), (TOGETHER, 0));
        // Another change concerns all: the second half has not had its turn yet and is woken once for both.
        waking.add(streams.clone());
        waking.turn().await;
        waking.wake();
        assert_eq!((woken(&streams[..TOGETHER]), woken(&streams[TOGETHER..])), (0, TOGETHER));
        waking.turn().await;
        waking.wake();
        assert_eq!((woken(&streams[..TOGETHER]), woken(&streams[TOGETHER..])), (TOGETHER, 0));
        assert!(waking.turn().now_or_never().is_none(), "all were woken");
    }
}
