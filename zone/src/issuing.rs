//! Certificates are made here, off the tasks that serve.
//!
//! A key and a signature cost between a tenth of a millisecond (elliptic) and a tenth of a second (RSA). A few threads make them, first
//! come, first served; whoever waits for one goes on serving meanwhile and is woken when it is there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tandem_auth::ca::WorkloadCertificate;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Renewals of certificates that were issued at the same moment are spread over this part of their life.
const SPREAD: f64 = 0.05;

/// What is counted about certificates.
#[derive(Debug, Clone)]
pub struct IssuingMetrics {
    waiting: Gauge,
    issued: Counter,
    waited: Histogram,
}

impl Default for IssuingMetrics {
    fn default() -> Self {
        let buckets = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];
        Self { waiting: Gauge::default(), issued: Counter::default(), waited: Histogram::new(buckets) }
    }
}

impl IssuingMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("certificates_waiting", "Certificates of proxies still to be made", metrics.waiting.clone());
        registry.register("certificates_made", "Certificates of proxies that were made", metrics.issued.clone());
        let help = "Time from the request for a certificate until it was made";
        registry.register("certificates_wait_seconds", help, metrics.waited.clone());
        metrics
    }
}

/// The threads that make certificates.
#[derive(Debug)]
pub struct Issuing {
    threads: Arc<Semaphore>,
    metrics: IssuingMetrics,
}

impl Issuing {
    /// At most this number of threads.
    pub fn new(threads: usize, metrics: IssuingMetrics) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), metrics }
    }

    /// Has something made, and notifies `done` when it is there.
    pub fn begin<T: Send + 'static>(&self, done: &Arc<Notify>, work: impl FnOnce() -> T + Send + 'static) -> Issue<T> {
        let (threads, metrics, done) = (self.threads.clone(), self.metrics.clone(), done.clone());
        let result = Arc::new(Mutex::new(None));
        let place = result.clone();
        metrics.waiting.inc();
        let waiting = Waiting(metrics.waiting.clone());
        let since = Instant::now();
        let task = tokio::spawn(async move {
            let thread = threads.acquire_owned().await.expect("the semaphore is never closed");
            // The thread counts as used until the work is done, also when nobody waits for it any more.
            let made = tokio::task::spawn_blocking(move || {
                let _thread = thread;
                work()
            });
            let made = made.await;
            drop(waiting);
            metrics.issued.inc();
            metrics.waited.observe(since.elapsed().as_secs_f64());
            *place.lock() = Some(made);
            done.notify_one();
        });
        Issue { result, _task: AbortOnDropHandle::new(task) }
    }

    /// How many were made since the start.
    pub fn issued(&self) -> u64 {
        self.metrics.issued.get()
    }
}

struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Something that is being made. Dropping it gives up its place in line.
#[derive(Debug)]
pub struct Issue<T> {
    result: Arc<Mutex<Option<Result<T, JoinError>>>>,
    _task: AbortOnDropHandle<()>,
}

impl<T> Issue<T> {
    /// What was made, as soon as it is; once.
    ///
    /// # Errors
    /// When making it panicked.
    pub fn take(&self) -> Option<Result<T, JoinError>> {
        self.result.lock().take()
    }
}

/// When a certificate is to be replaced: after four fifths of its life and up to a twentieth more, so that proxies that came at the
/// same moment do not all come again at the same moment. Which part of the twentieth depends on the certificate alone.
pub fn renew_at(certificate: &WorkloadCertificate) -> Timestamp {
    let mut hasher = DefaultHasher::new();
    certificate.cert_pem.hash(&mut hasher);
    #[allow(clippy::cast_precision_loss)] // a fraction needs no more digits
    let fraction = hasher.finish() as f64 / u64::MAX as f64;
    let life = certificate.not_after.duration_since(certificate.issued);
    let later = life.as_secs_f64() * SPREAD * fraction;
    let at = certificate.renew_at();
    jiff::SignedDuration::try_from_secs_f64(later).ok().and_then(|later| at.checked_add(later).ok()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn issuing(threads: usize) -> Issuing {
        Issuing::new(threads, IssuingMetrics::default())
    }

    #[tokio::test]
    async fn who_came_first_is_first() {
        let (issuing, done) = (issuing(1), Arc::new(Notify::new()));
        let (go, wait) = mpsc::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let blocked = issuing.begin(&done, move || wait.recv().is_ok());
        let note = |number: usize| {
            let order = order.clone();
            move || order.lock().push(number)
        };
        let mut others: Vec<_> = (0..10).map(|number| issuing.begin(&done, note(number))).collect();
        // Tasks are started in order; let all of them stand in line.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(blocked.take().is_none());
        // One loses interest, and its place with it.
        drop(others.remove(3));
        go.send(()).unwrap();
        while issuing.issued() < 10 {
            done.notified().await;
        }
        assert!(blocked.take().expect("made").expect("no panic"));
        assert!(blocked.take().is_none(), "it is given once");
        assert_eq!(*order.lock(), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(issuing.metrics.waiting.get(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_harms_nobody_else() {
        let (issuing, done) = (issuing(1), Arc::new(Notify::new()));
        let bad = issuing.begin(&done, || panic!("on purpose"));
        done.notified().await;
        assert!(bad.take().expect("it is over").is_err());
        let good = issuing.begin(&done, || 1);
        done.notified().await;
        assert_eq!(good.take().expect("made").expect("no panic"), 1);
    }

    #[test]
    fn renewals_are_spread() {
        let issued = Timestamp::from_second(1_000_000).unwrap();
        let certificate = |number: usize| WorkloadCertificate {
            cert_pem: number.to_string(),
            key_pem: String::new(),
            issued,
            not_after: Timestamp::from_second(1_001_000).unwrap(),
        };
        let after = |number| renew_at(&certificate(number)).duration_since(issued).as_secs_f64();
        let mut times: Vec<f64> = (0..1000).map(after).collect();
        times.sort_by(f64::total_cmp);
        assert!(times[0] >= 800.0 && times[999] <= 850.0, "{} to {}", times[0], times[999]);
        assert!(times[250] < 820.0 && times[750] > 830.0, "{} to {}", times[250], times[750]);
    }
}
