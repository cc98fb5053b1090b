//! Numbers of proxies and resources with problems, counted when they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::insight::Insights;
use super::problems::kind;
use crate::mesh_state::CurrentSnapshot;

/// The metrics `xds_proxies_with_problems` and `xds_resources_left_out`.
pub struct ProblemMetrics {
    /// What is known of connected proxies.
    pub insights: Arc<Insights>,
    /// State of the meshes.
    pub snapshot: CurrentSnapshot,
}

impl fmt::Debug for ProblemMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProblemMetrics").finish_non_exhaustive()
    }
}

impl Collector for ProblemMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connected proxies with a problem, by type of the problem";
        let mut family = encoder.encode_descriptor("xds_proxies_with_problems", help, None, MetricType::Gauge)?;
        for (kind, number) in kind::ALL.iter().zip(self.insights.count_problems(&kind::ALL)) {
            gauge(number).encode(family.encode_family(&[("type", *kind)])?)?;
        }
        let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
        let snapshot = self.snapshot.load();
        for (key, _) in snapshot.problems() {
            *left_out.entry(key.kind.name()).or_default() += 1;
        }
        let help = "Resources that are left out of the configuration of every proxy, wholly or in part, by type";
        let mut family = encoder.encode_descriptor("xds_resources_left_out", help, None, MetricType::Gauge)?;
        for (kind, number) in left_out {
            gauge(number).encode(family.encode_family(&[("type", kind)])?)?;
        }
        Ok(())
    }
}

fn gauge(number: usize) -> ConstGauge<u64> {
    ConstGauge::new(number as u64)
}
