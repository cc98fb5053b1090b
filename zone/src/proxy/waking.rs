//! Wakes the streams that a change concerns, a few at a time and none too often.
//!
//! A change that concerns thousands of proxies is seconds of work. If all their streams could run at the same moment, whatever else becomes
//! ready meanwhile (a handshake, the first request of a proxy) would wait behind all of them, longer than an Envoy waits for a
//! connection; and it would come again, and wait again. So a few are woken, everything that is ready runs, and then the next few.
//!
//! While thousands arrive, each of them changes endpoints that thousands use. So streams have turns in rounds: one that had its turn is
//! woken for later changes in the next round, which begins after a rest that depends on how long the turns of the round took. A stream that
//! had no turn in the round does not wait for that, and a change that concerns few waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// Streams that are woken together: some milliseconds of work.
const TOGETHER: usize = 16;

/// The rest after a round, in terms of the time that its turns took.
const REST: u32 = 2;

/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(3);

/// Where a stream is in the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waits,
    HadItsTurn,
    /// It had its turn, and something changed since.
    WantsAnother,
}

/// Streams that are still to be woken.
#[derive(Debug, Default)]
pub struct Waking {
    /// Those that wait for their turn, in the order in which changes concerned them, and those that had it before it was theirs.
    queue: VecDeque<Arc<Notify>>,
    /// All streams of the round, by their address in memory.
    round: HashMap<usize, Place>,
    /// Those that are to have a turn in the next round.
    next: Vec<Arc<Notify>>,
    /// Since when there are such that wait.
    busy_since: Option<Instant>,
    /// How long the turns of the round took.
    took: Duration,
    /// When nobody waited any more for the first time in the round.
    done: Option<Instant>,
}

fn id(stream: &Arc<Notify>) -> usize {
    Arc::as_ptr(stream).addr()
}

impl Waking {
    /// Adds streams, except those that are to be woken anyway.
    pub fn add(&mut self, streams: Vec<Arc<Notify>>) {
        if self.queue.is_empty() && self.rests_until().is_none_or(|end| end <= Instant::now()) {
            self.begin_round();
        }
        let are_few = streams.len() <= TOGETHER;
        for stream in streams {
            match self.round.get_mut(&id(&stream)) {
                _ if are_few => {
                    self.round.insert(id(&stream), Place::Waits);
                    self.queue.push_front(stream);
                }
                None => {
                    self.round.insert(id(&stream), Place::Waits);
                    self.queue.push_back(stream);
                }
                Some(place) if *place == Place::HadItsTurn => {
                    *place = Place::WantsAnother;
                    self.next.push(stream);
                }
                Some(_) => {}
            }
        }
        if !self.queue.is_empty() {
            self.busy_since.get_or_insert_with(Instant::now);
        }
    }

    /// Resolves when everything else that is ready had its turn, or when the rest is over; never while there is nobody to wake. Nothing is
    /// lost when the wait is given up.
    pub async fn turn(&self) {
        match self.rests_until() {
            _ if !self.queue.is_empty() => yield_now().await,
            Some(end) if !self.next.is_empty() => sleep_until(end).await,
            _ => std::future::pending().await,
        }
    }

    /// Wakes the next few.
    pub fn wake(&mut self) {
        if self.queue.is_empty() {
            self.begin_round();
        }
        let mut woken = 0;
        while woken < TOGETHER
            && let Some(stream) = self.queue.pop_front()
        {
            if self.round.insert(id(&stream), Place::HadItsTurn) == Some(Place::Waits) {
                stream.notify_one();
                woken += 1;
            }
        }
        if self.queue.is_empty() {
            let now = Instant::now();
            self.took += self.busy_since.take().map_or(Duration::ZERO, |since| now - since);
            self.done.get_or_insert(now);
        }
    }

    /// When the rest is over; `None` while the first turns of a round are under way.
    fn rests_until(&self) -> Option<Instant> {
        self.done.map(|done| done + (self.took * REST).min(LONGEST_REST))
    }

    fn begin_round(&mut self) {
        let queue = VecDeque::from(std::mem::take(&mut self.next));
        let round = queue.iter().map(|stream| (id(stream), Place::Waits)).collect();
        let busy_since = (!queue.is_empty()).then(Instant::now);
        *self = Self { queue, round, busy_since, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    fn streams(number: usize) -> Vec<Arc<Notify>> {
        (0..number).map(|_| Arc::new(Notify::new())).collect()
    }

    fn woken(streams: &[Arc<Notify>]) -> usize {
        streams.iter().filter(|stream| stream.notified().now_or_never().is_some()).count()
    }

    fn is_due(waking: &Waking) -> bool {
        // The first look may be the one that lets others run.
        let mut turn = Box::pin(waking.turn());
        turn.as_mut().now_or_never().is_some() || turn.now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_woken_at_a_time_and_each_once_for_what_changed_before() {
        let streams = streams(TOGETHER * 2);
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
        assert!(!is_due(&waking), "all were woken");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_round_its_streams_rest_and_others_do_not() {
        let (many, other) = (streams(TOGETHER * 3), streams(1));
        let mut waking = Waking::default();
        waking.add(many.clone());
        for _ in 0..3 {
            waking.turn().await;
            advance(Duration::from_millis(100)).await;
            waking.wake();
        }
        assert_eq!(woken(&many), many.len());
        waking.add(many.clone());
        assert!(!is_due(&waking), "they rest");
        waking.add([many[..TOGETHER].to_vec(), other.clone()].concat());
        waking.turn().await;
        waking.wake();
        assert_eq!((woken(&other), woken(&many)), (1, 0), "one that had no turn does not wait");
        let begin = Instant::now();
        waking.turn().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(600));
        waking.wake();
        waking.add(many[TOGETHER * 3 - 1..].to_vec());
        waking.wake();
        assert_eq!(woken(&many[TOGETHER * 3 - 1..]), 1, "a change that concerns few comes first");
        waking.wake();
        waking.wake();
        assert_eq!(woken(&many), many.len() - 1, "and each is woken once");
        assert!(!is_due(&waking));
    }
}
