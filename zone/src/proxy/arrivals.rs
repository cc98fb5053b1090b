//! Who is let in next when many proxies come at once.
//!
//! Before a proxy is served its token is checked, its resource stored, and its first configuration made: milliseconds of processor
//! time each. When thousands come back at once, as many tasks would want them at the same moment, and streams that serve would wait
//! behind all of them. So arrivals wait here, first come, first served, in two steps:
//!
//! - **Admission.** Some dozens of arrivals are under way at a time: enough to share one flush of the disk, few enough to be done soon.
//!   The others wait in line. A client that hangs up gives up its place, nobody loses a place to others, and nobody waits for ever.
//! - **Turns.** Of those under way, as many as there are cores use the processor at a time; whoever waits for the disk or for a
//!   certificate has no turn. Between two turns all other tasks that can run are run.
//!
//! Streams that serve take no turns at all: their priority is that they never stand in these queues.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::refusals::{Door, Reason, Refusals};

/// Arrivals under way for each core: the disk is waited for by many together.
const UNDER_WAY: usize = 32;

/// How many arrive at a time, and how long others wait.
#[derive(Debug, Clone)]
pub struct ArrivalSettings {
    /// Arrivals that use the processor at a time.
    pub turns: usize,
    /// Arrivals under way.
    pub under_way: usize,
    /// Most arrivals in line.
    pub max_waiting: usize,
    /// Longest wait in line.
    pub max_wait: Duration,
}

impl ArrivalSettings {
    /// Settings for this number of cores.
    pub fn for_cores(cores: usize, max_waiting: usize, max_wait: Duration) -> Self {
        Self { turns: cores, under_way: cores * UNDER_WAY, max_waiting, max_wait }
    }
}

/// Why an arrival is to come again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// The line is full.
    #[error(
        "{0} proxies are waiting to be served already, the most that may (dpServer.arrivals.maxWaiting, \
         KUMA_DP_SERVER_ARRIVALS_MAX_WAITING); try again later"
    )]
    Full(usize),
    /// The wait was too long.
    #[error(
        "too many proxies connect at once: no turn within {0:?} (dpServer.arrivals.maxWait, \
         KUMA_DP_SERVER_ARRIVALS_MAX_WAIT); try again later"
    )]
    TooLong(Duration),
}

/// Labels of arrivals that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GivenUp {
    reason: &'static str,
}

/// What is counted about arrivals.
#[derive(Debug)]
pub struct ArrivalMetrics {
    waiting: Gauge,
    under_way: Gauge,
    admitted: Counter,
    waited: Histogram,
    given_up: Family<GivenUp, Counter>,
}

impl Default for ArrivalMetrics {
    fn default() -> Self {
        let buckets = [0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
        Self {
            waiting: Gauge::default(),
            under_way: Gauge::default(),
            admitted: Counter::default(),
            waited: Histogram::new(buckets),
            given_up: Family::default(),
        }
    }
}

impl ArrivalMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("dp_server_arrivals_waiting", "Proxies in line to be served", metrics.waiting.clone());
        let help = "Proxies that are being checked, registered and given their first configuration";
        registry.register("dp_server_arrivals_under_way", help, metrics.under_way.clone());
        registry.register("dp_server_arrivals_admitted", "Proxies that had their turn", metrics.admitted.clone());
        registry.register("dp_server_arrivals_wait_seconds", "Time in line until admission", metrics.waited.clone());
        let help = "Proxies that left the line without a turn: it was full, the wait too long, or the client hung up";
        registry.register("dp_server_arrivals_given_up", help, metrics.given_up.clone());
        metrics
    }
}

/// Resolves with what a client is told that opened a stream and does not say who it is in time.
pub async fn first_request_missing(opened: Instant, limit: Duration, refusals: &Refusals, door: Door) -> Status {
    tokio::time::sleep_until(opened + limit).await;
    let text = format!(
        "no request within {limit:?} of the opening of the stream (dpServer.limits.firstRequestTimeout, \
         KUMA_DP_SERVER_LIMITS_FIRST_REQUEST_TIMEOUT)"
    );
    refusals.with(door, Reason::NoFirstRequest, Status::deadline_exceeded(text))
}

/// The queues.
#[derive(Debug)]
pub struct Arrivals {
    settings: ArrivalSettings,
    admissions: Arc<Semaphore>,
    turns: Semaphore,
    metrics: ArrivalMetrics,
}

impl Arrivals {
    /// Empty queues.
    pub fn new(settings: ArrivalSettings, metrics: ArrivalMetrics) -> Self {
        Self {
            admissions: Arc::new(Semaphore::new(settings.under_way)),
            turns: Semaphore::new(settings.turns),
            settings,
            metrics,
        }
    }

    /// Waits in line. The place is given up when the wait is dropped.
    ///
    /// # Errors
    /// When the line is full or does not move on in time.
    pub async fn admission(self: &Arc<Self>) -> Result<Admitted, Overloaded> {
        let max_waiting = self.settings.max_waiting;
        if usize::try_from(self.metrics.waiting.get()).unwrap_or_default() >= max_waiting {
            self.give_up("full");
            return Err(Overloaded::Full(max_waiting));
        }
        let place = Place::take(self);
        let permit = timeout(self.settings.max_wait, self.admissions.clone().acquire_owned()).await;
        let Ok(permit) = permit else {
            place.leave(Some("too_long"));
            return Err(Overloaded::TooLong(self.settings.max_wait));
        };
        let permit = permit.expect("the semaphore is never closed");
        self.metrics.admitted.inc();
        self.metrics.waited.observe(place.since.elapsed().as_secs_f64());
        self.metrics.under_way.inc();
        place.leave(None);
        Ok(Admitted { arrivals: self.clone(), _permit: permit })
    }

    /// Does a part of an arrival that uses the processor, when it is its turn. It should not wait for anything else.
    pub async fn turn<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let result = work.await;
        // Everything else that can run comes before the next arrival.
        tokio::task::yield_now().await;
        drop(turn);
        result
    }

    fn give_up(&self, reason: &'static str) {
        self.metrics.given_up.get_or_create(&GivenUp { reason }).inc();
    }
}

/// A place in line.
struct Place<'a> {
    arrivals: &'a Arrivals,
    since: Instant,
    /// What is counted when it is left.
    outcome: Option<&'static str>,
}

impl<'a> Place<'a> {
    fn take(arrivals: &'a Arrivals) -> Self {
        arrivals.metrics.waiting.inc();
        Self { arrivals, since: Instant::now(), outcome: Some("hung_up") }
    }

    /// Leaves the line; without a reason to go on.
    fn leave(mut self, reason: Option<&'static str>) {
        self.outcome = reason;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.arrivals.metrics.waiting.dec();
        if let Some(reason) = self.outcome {
            self.arrivals.give_up(reason);
        }
    }
}

/// An arrival that is under way, until dropped.
#[derive(Debug)]
pub struct Admitted {
    arrivals: Arc<Arrivals>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.arrivals.metrics.under_way.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn arrivals(under_way: usize, max_waiting: usize) -> Arc<Arrivals> {
        let settings = ArrivalSettings { turns: 1, under_way, max_waiting, max_wait: WAIT };
        Arc::new(Arrivals::new(settings, ArrivalMetrics::default()))
    }

    fn given_up(arrivals: &Arrivals, reason: &'static str) -> u64 {
        arrivals.metrics.given_up.get_or_create(&GivenUp { reason }).get()
    }

    /// Arrivals that note their number when they are admitted and stay under way for a second.
    fn queue(arrivals: &Arc<Arrivals>, numbers: std::ops::Range<usize>, order: &Arc<Mutex<Vec<usize>>>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for number in numbers {
            let (arrivals, order) = (arrivals.clone(), order.clone());
            tasks.spawn(async move {
                let _admitted = arrivals.admission().await.expect("in time");
                order.lock().unwrap().push(number);
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
        }
        tasks
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_admitted_first_whatever_others_do() {
        let arrivals = arrivals(2, 100);
        let order = Arc::new(Mutex::new(Vec::new()));
        let early = queue(&arrivals, 0..10, &order);
        yield_now().await;
        // Others come and go all the time.
        let restless = {
            let arrivals = arrivals.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let _ = timeout(Duration::from_millis(70), arrivals.admission()).await;
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let late = queue(&arrivals, 10..20, &order);
        early.join_all().await;
        late.join_all().await;
        restless.await.unwrap();
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(arrivals.metrics.waiting.get(), 0);
        assert_eq!(arrivals.metrics.under_way.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_gives_up_its_place() {
        let arrivals = arrivals(1, 100);
        let first = arrivals.admission().await.expect("nobody else is there");
        let mut second = Box::pin(arrivals.admission());
        let mut third = Box::pin(arrivals.admission());
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        assert_eq!(arrivals.metrics.waiting.get(), 2);
        drop(second);
        assert_eq!((arrivals.metrics.waiting.get(), given_up(&arrivals, "hung_up")), (1, 1));
        drop(first);
        assert!(third.now_or_never().expect("it is its turn").is_ok());
        assert_eq!(arrivals.metrics.admitted.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let arrivals = arrivals(1, 100);
        let _first = arrivals.admission().await.expect("nobody else is there");
        let begin = Instant::now();
        assert_eq!(arrivals.admission().await.unwrap_err(), Overloaded::TooLong(WAIT));
        assert_eq!(begin.elapsed(), WAIT);
        assert_eq!((arrivals.metrics.waiting.get(), given_up(&arrivals, "too_long")), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_not_waited_for() {
        let (opened, refusals) = (Instant::now(), Refusals::default());
        let limit = Duration::from_secs(30);
        let status = first_request_missing(opened, limit, &refusals, Door::Ads).await;
        assert_eq!((status.code(), opened.elapsed()), (tonic::Code::DeadlineExceeded, limit));
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_has_an_end() {
        let arrivals = arrivals(1, 2);
        let _first = arrivals.admission().await.expect("nobody else is there");
        let mut waiting = [Box::pin(arrivals.admission()), Box::pin(arrivals.admission())];
        assert!(waiting.iter_mut().all(|wait| wait.as_mut().now_or_never().is_none()));
        assert_eq!(arrivals.admission().await.unwrap_err(), Overloaded::Full(2));
        assert_eq!((arrivals.metrics.waiting.get(), given_up(&arrivals, "full")), (2, 1));
    }

    #[tokio::test]
    async fn other_tasks_run_between_two_turns() {
        let arrivals = arrivals(100, 100);
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut turns = JoinSet::new();
        for _ in 0..20 {
            let (arrivals, log) = (arrivals.clone(), log.clone());
            turns.spawn(async move { arrivals.turn(async { log.lock().unwrap().push("arrival") }).await });
        }
        let serving = {
            let log = log.clone();
            tokio::spawn(async move {
                loop {
                    log.lock().unwrap().push("serving");
                    yield_now().await;
                }
            })
        };
        turns.join_all().await;
        serving.abort();
        let log = log.lock().unwrap();
        let adjacent = log.windows(2).filter(|pair| *pair == ["arrival", "arrival"]).count();
        assert_eq!(adjacent, 0, "{log:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_disk_holds_no_turn() {
        let arrivals = arrivals(100, 100);
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let arrivals = arrivals.clone();
            tasks.spawn(async move {
                let _admitted = arrivals.admission().await.expect("there is room");
                arrivals.turn(async {}).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                arrivals.turn(async {}).await;
            });
        }
        tasks.join_all().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
