//! Metrics of synchronization. Names that exist in Kuma are Kuma's (`pkg/util/xds/stats_callbacks.go`).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A resource type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    type_url: String,
}

/// A request that answers a response.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    confirmation: &'static str,
    error_type: &'static str,
    type_url: String,
}

/// What became of a received response.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Why a zone was not let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counters and gauges of all streams of a control plane.
#[derive(Debug, Clone)]
pub struct KdsMetrics {
    streams: Gauge,
    requests: Family<AnswerLabels, Counter>,
    responses: Family<TypeLabel, Counter>,
    response_bytes: Histogram,
    generation: Histogram,
    generation_errors: Counter,
    delivery: Histogram,
    sync: Family<ResultLabel, Histogram>,
    connected: Gauge,
    authentication_failures: Family<ReasonLabel, Counter>,
}

impl Default for KdsMetrics {
    fn default() -> Self {
        Self {
            streams: Gauge::default(),
            requests: Family::default(),
            responses: Family::default(),
            response_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            generation: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            generation_errors: Counter::default(),
            delivery: Histogram::new(exponential_buckets(0.5, 4.0, 10)),
            sync: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 4.0, 9))),
            connected: Gauge::default(),
            authentication_failures: Family::default(),
        }
    }
}

impl KdsMetrics {
    /// Metrics that are part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("kds_delta_streams_active", "Open synchronization streams", metrics.streams.clone());
        registry.register(
            "kds_delta_requests_received",
            "Answers of peers to responses, by confirmation and type",
            metrics.requests.clone(),
        );
        registry.register("kds_delta_responses_sent", "Responses sent, by type", metrics.responses.clone());
        registry.register(
            "kds_delta_responses_sent_bytes",
            "Size of responses before compression",
            metrics.response_bytes.clone(),
        );
        registry.register_with_unit(
            "kds_delta_generation",
            "Time to build a response",
            Unit::Seconds,
            metrics.generation.clone(),
        );
        registry.register(
            "kds_delta_generation_errors",
            "Resources and types that could not be sent",
            metrics.generation_errors.clone(),
        );
        registry.register(
            "kds_delta_delivery",
            "Time in milliseconds from a response to its answer",
            metrics.delivery.clone(),
        );
        registry.register_with_unit(
            "kds_resources_sync",
            "Time to apply a received response to the store",
            Unit::Seconds,
            metrics.sync.clone(),
        );
        registry.register("kds_peers_connected", "Control planes connected now", metrics.connected.clone());
        registry.register(
            "kds_authentication_failures",
            "Calls of zones that did not prove who they are, by reason",
            metrics.authentication_failures.clone(),
        );
        metrics
    }

    pub(crate) fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    pub(crate) fn peer(&self) -> OpenStream {
        self.connected.inc();
        OpenStream(self.connected.clone())
    }

    pub(crate) fn answered(&self, type_url: &str, rejection: Option<&str>) {
        let error_type = match rejection {
            None => "no_error",
            Some(text) if text.starts_with("user error") => "user",
            Some(text) if text.starts_with("internal error") => "internal",
            Some(_) => "other",
        };
        let confirmation = if rejection.is_none() { "ACK" } else { "NACK" };
        let labels = AnswerLabels { confirmation, error_type, type_url: type_url.to_owned() };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn sent(&self, type_url: &str, bytes: usize, took: Duration) {
        self.responses.get_or_create(&TypeLabel { type_url: type_url.to_owned() }).inc();
        #[allow(clippy::cast_precision_loss)] // sizes are far below 2^52
        self.response_bytes.observe(bytes as f64);
        self.generation.observe(took.as_secs_f64());
    }

    pub(crate) fn delivered(&self, took: Duration) {
        self.delivery.observe(took.as_secs_f64() * 1000.0);
    }

    /// `reason` is one of `missing`, `invalid`, `expired`, `revoked`, `scope` and `zone`.
    pub(crate) fn authentication_failed(&self, reason: &'static str) {
        self.authentication_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn not_sent(&self) {
        self.generation_errors.inc();
    }

    pub(crate) fn applied(&self, left_out: usize, took: Duration) {
        let result = if left_out == 0 { "applied" } else { "left_out" };
        self.sync.get_or_create(&ResultLabel { result }).observe(took.as_secs_f64());
    }
}

/// Counts something as open until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
