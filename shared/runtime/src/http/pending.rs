//! Connections that have not asked for anything yet.
//!
//! They cost a file descriptor each and prove nothing, so their number is limited. When there are too many, the one that has waited
//! longest gives way, and those that never spoke before those that did: whoever means to ask does so within moments, unless this
//! server itself is behind with the handshakes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The connections of one server that have not asked for anything yet.
#[derive(Debug)]
pub(super) struct Pending {
    most: usize,
    queues: Mutex<Queues>,
}

/// Connections by the order in which they came.
#[derive(Debug, Default)]
struct Queues {
    next: u64,
    silent: BTreeMap<u64, oneshot::Sender<()>>,
    spoken: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Pending {
    /// At most `most` connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, queues: Mutex::default() })
    }

    /// Takes in a connection; another one may have to give way.
    pub(super) fn enter(self: &Arc<Self>) -> (Ticket, Eviction) {
        let (evict, eviction) = oneshot::channel();
        let mut queues = self.queues.lock();
        let number = queues.next;
        queues.next += 1;
        if queues.silent.len() + queues.spoken.len() >= self.most {
            let oldest = queues.silent.pop_first().or_else(|| queues.spoken.pop_first());
            if let Some((_, evict)) = oldest {
                // One that ends at this moment has given way already.
                let _ = evict.send(());
            }
        }
        queues.silent.insert(number, evict);
        (Ticket { pending: self.clone(), number }, Eviction(Some(eviction)))
    }
}

/// The place of a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pending: Arc<Pending>,
    number: u64,
}

impl Ticket {
    /// Notes that something came over the connection.
    pub(super) fn spoke(&self) {
        let mut queues = self.pending.queues.lock();
        if let Some(evict) = queues.silent.remove(&self.number) {
            queues.spoken.insert(self.number, evict);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queues = self.pending.queues.lock();
        if queues.silent.remove(&self.number).is_none() {
            queues.spoken.remove(&self.number);
        }
    }
}

/// Tells a connection that it has to give way.
#[derive(Debug)]
pub(super) struct Eviction(Option<oneshot::Receiver<()>>);

impl Eviction {
    /// Resolves when the connection has to give way; never once its ticket is given back.
    pub(super) async fn wait(&mut self) {
        if let Some(eviction) = &mut self.0 {
            let evicted = eviction.await.is_ok();
            self.0 = None;
            if evicted {
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_evicted(eviction: &mut Eviction) -> bool {
        eviction.wait().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_that_never_spoke_gives_way_first() {
        let pending = Pending::new(3);
        let (first, mut first_eviction) = pending.enter();
        first.spoke();
        let (_second, mut second_eviction) = pending.enter();
        let (third, mut third_eviction) = pending.enter();
        let (fourth, mut fourth_eviction) = pending.enter();
        assert!(is_evicted(&mut second_eviction));
        third.spoke();
        fourth.spoke();
        let (_fifth, mut fifth_eviction) = pending.enter();
        assert!(is_evicted(&mut first_eviction), "when all have spoken, the oldest gives way");
        drop(third);
        let (_sixth, _) = pending.enter();
        for eviction in [&mut third_eviction, &mut fourth_eviction, &mut fifth_eviction] {
            // The third has given its place back, so there was one for the sixth.
            assert!(!is_evicted(eviction));
        }
    }
}
