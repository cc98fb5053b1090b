//! Measures of requests: how many, how long, how large; by route template, never by path.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tandem_runtime::metrics::Metrics;

use crate::context::SharedContext;

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

/// The metrics of the API server, under Kuma's names.
#[derive(Clone)]
pub struct ApiMetrics {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    size: Family<Labels, Histogram, fn() -> Histogram>,
    inflight: Family<Route, Gauge<i64, std::sync::atomic::AtomicI64>>,
}

impl ApiMetrics {
    /// Creates the metrics and registers them with those of the process. To be done once.
    pub fn register(metrics: &Metrics) -> Self {
        metrics.register(Self::create)
    }

    fn create(registry: &mut Registry) -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 15))),
            size: Family::new_with_constructor(|| Histogram::new(exponential_buckets(100.0, 10.0, 8))),
            inflight: Family::default(),
        };
        registry.register(
            "api_server_http_request_duration_seconds",
            "Time from a request's head to its answer",
            metrics.duration.clone(),
        );
        registry.register("api_server_http_response_size_bytes", "Size of the bodies of answers", metrics.size.clone());
        registry.register("api_server_http_requests_inflight", "Requests being answered", metrics.inflight.clone());
        metrics
    }
}

/// Counts a request and its answer.
pub async fn measure(State(context): State<SharedContext>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let method = request.method().as_str().to_owned();
    let inflight = context.metrics.inflight.get_or_create_owned(&Route { handler: handler.clone(), service: "" });
    inflight.inc();
    let start = Instant::now();
    let response = next.run(request).await;
    inflight.dec();
    let labels = Labels { code: response.status().as_u16(), handler, method, service: "" };
    context.metrics.duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    // The length is known for every body that is not streamed; streams count as empty.
    #[allow(clippy::cast_precision_loss)] // sizes stay far below 2^52
    context.metrics.size.get_or_create(&labels).observe(response.body().size_hint().lower() as f64);
    response
}
