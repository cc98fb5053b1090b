//! Measures of the requests of an HTTP server: how many, how long, how large; by route template, never by path.

use std::sync::atomic::AtomicI64;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use hyper::body::Body as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    code: u16,
    handler: String,
    method: String,
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    handler: String,
    service: &'static str,
}

/// The metrics of a server, under Kuma's names. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    size: Family<Labels, Histogram, fn() -> Histogram>,
    inflight: Family<Route, Gauge<i64, AtomicI64>>,
}

impl HttpMetrics {
    /// Creates the metrics of the server whose metrics begin with `prefix`, as `api_server`, and registers them with those of the
    /// process. To be done once.
    pub fn register(metrics: &Metrics, prefix: &str) -> Self {
        metrics.register(|registry| Self::create(registry, prefix))
    }

    fn create(registry: &mut Registry, prefix: &str) -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 15))),
            size: Family::new_with_constructor(|| Histogram::new(exponential_buckets(100.0, 10.0, 8))),
            inflight: Family::default(),
        };
        registry.register(
            format!("{prefix}_http_request_duration_seconds"),
            "Time from a request's head to its answer",
            metrics.duration.clone(),
        );
        registry.register(
            format!("{prefix}_http_response_size_bytes"),
            "Size of the bodies of answers",
            metrics.size.clone(),
        );
        registry.register(
            format!("{prefix}_http_requests_inflight"),
            "Requests being answered",
            metrics.inflight.clone(),
        );
        metrics
    }
}

/// Counts a request and its answer; a layer for a router.
pub async fn measure(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // Clients can send any word as the method.
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = if known.contains(request.method()) { request.method().as_str() } else { "other" }.to_owned();
    let inflight = InFlight::begin(&metrics, handler.clone());
    let start = Instant::now();
    let response = next.run(request).await;
    drop(inflight);
    let labels = Labels { code: response.status().as_u16(), handler, method, service: "" };
    metrics.duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    // The length is known for every body that is not streamed; streams count as empty.
    #[allow(clippy::cast_precision_loss)] // sizes stay far below 2^52
    metrics.size.get_or_create(&labels).observe(response.body().size_hint().lower() as f64);
    response
}

/// A request that is being answered, until this is dropped: also when its client goes away.
struct InFlight(Gauge<i64, AtomicI64>);

impl InFlight {
    fn begin(metrics: &HttpMetrics, handler: String) -> Self {
        let gauge = metrics.inflight.get_or_create_owned(&Route { handler, service: "" });
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
