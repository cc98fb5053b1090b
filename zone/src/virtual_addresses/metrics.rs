//! Numbers about virtual addresses, under the names that Kuma gives them (`pkg/dns/metrics`).

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How long it takes to find out who needs an address, and how often something stands in the way.
#[derive(Debug, Clone)]
pub struct VipMetrics {
    generation: Histogram,
    errors: Counter,
}

impl VipMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let buckets = [0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];
        let metrics = Self { generation: Histogram::new(buckets), errors: Counter::default() };
        registry.register(
            "vip_generation",
            "Milliseconds spent to find the virtual addresses of a mesh",
            metrics.generation.clone(),
        );
        registry.register(
            "vip_generation_errors",
            "Names that got no virtual address or are claimed twice, and Configs that cannot be read",
            metrics.errors.clone(),
        );
        metrics
    }

    /// Counts a look at a mesh, and what was found wrong for the first time.
    pub(super) fn planned(&self, took: Duration, problems: usize) {
        self.generation.observe(took.as_secs_f64() * 1000.0);
        self.errors.inc_by(u64::try_from(problems).unwrap_or(u64::MAX));
    }
}
