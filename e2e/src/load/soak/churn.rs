//! Proxies that leave, and others that arrive in their places.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::seq::IndexedRandom as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::super::line::Cut;
use super::super::session::Order;
use super::super::tally::Tally;

/// Bounds of the time that a place is empty, in milliseconds. The control plane deletes what a proxy brought when it has been away for
/// ten seconds, unless it is told otherwise.
const AWAY_MS: std::ops::Range<u64> = 500..20_000;

/// Longest time that is waited for a proxy which arrived.
const LIMIT: Duration = Duration::from_secs(120);

/// Comings and goings, until they are stopped.
pub(super) struct Churn {
    stop: CancellationToken,
    task: JoinHandle<Churned>,
}

/// How many proxies came and went.
#[derive(Debug, Default)]
pub(super) struct Churned {
    pub(super) left: usize,
    /// Of those that left: the same came back.
    pub(super) came_back: usize,
    /// Another one arrived in its place.
    pub(super) arrived: usize,
    /// From its start until each was in service.
    pub(super) times: Vec<Duration>,
}

impl Churn {
    /// Lets `percent` of the proxies leave in each minute.
    pub(super) fn start(orders: Arc<[watch::Sender<Order>]>, tally: Arc<Tally>, percent: f64) -> Self {
        let stop = CancellationToken::new();
        let pause = Duration::from_secs_f64(60.0 * 100.0 / (orders.len() as f64 * percent));
        Self { task: tokio::spawn(go_on(orders, tally, pause, stop.clone())), stop }
    }

    /// Stops, and waits until somebody is in each place again.
    ///
    /// # Errors
    /// When the task failed.
    pub(super) async fn finish(self) -> Result<Churned> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

async fn go_on(
    orders: Arc<[watch::Sender<Order>]>,
    tally: Arc<Tally>,
    pause: Duration,
    stop: CancellationToken,
) -> Churned {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = JoinSet::new();
    let mut churned = Churned::default();
    // By place: the number of the proxy that is there.
    let mut numbers: Vec<usize> = (0..orders.len()).collect();
    let mut next = numbers.len();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(time) = away.join_next(), if !away.is_empty() => churned.times.extend(time.ok().flatten()),
            _ = ticks.tick() => {
                let present: Vec<_> =
                    (0..orders.len()).filter(|slot| tally.attendance().stay(*slot).is_some()).collect();
                let Some(slot) = present.choose(&mut rand::rng()).copied() else { continue };
                let cut = if rand::random() { Cut::Close } else { Cut::Reset };
                orders[slot].send_replace(Order::Leave(cut));
                churned.left += 1;
                if rand::random() {
                    churned.came_back += 1;
                } else {
                    churned.arrived += 1;
                    numbers[slot] = next;
                    next += 1;
                }
                away.spawn(arrive(Arc::clone(&orders), Arc::clone(&tally), slot, numbers[slot], stop.clone()));
            }
        }
    }
    while let Some(time) = away.join_next().await {
        churned.times.extend(time.ok().flatten());
    }
    churned
}

/// Lets a proxy arrive after a while, or at once when everything stops, and waits until it is in service.
async fn arrive(
    orders: Arc<[watch::Sender<Order>]>,
    tally: Arc<Tally>,
    slot: usize,
    number: usize,
    stop: CancellationToken,
) -> Option<Duration> {
    // The one that left is gone before.
    while tally.attendance().stay(slot).is_some() {
        sleep(Duration::from_millis(10)).await;
    }
    tokio::select! {
        () = sleep(Duration::from_millis(rand::random_range(AWAY_MS))) => {}
        () = stop.cancelled() => {}
    }
    let start = Instant::now();
    orders[slot].send_replace(Order::Arrive(number));
    while tally.attendance().stay(slot).is_none() {
        if start.elapsed() > LIMIT {
            return None;
        }
        sleep(Duration::from_millis(10)).await;
    }
    Some(start.elapsed())
}
