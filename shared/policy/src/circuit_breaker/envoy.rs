//! What MeshCircuitBreaker does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshcircuitbreaker/plugin/xds/configurer.go`.

use envoy_types::pb::envoy::r#type::v3::Percent;

use super::schema::{Conf, ConnectionLimits, ConsecutiveFailures, Detectors, OutlierDetection as Detection};
use crate::envoy::ClusterDraft;
use crate::envoy::pb::UInt32Value;
use crate::envoy::pb::cluster::{CircuitBreakers, OutlierDetection, circuit_breakers::Thresholds};
use crate::schema::GoDuration;

const OFF: Option<UInt32Value> = Some(UInt32Value { value: 0 });
const ALWAYS: Option<UInt32Value> = Some(UInt32Value { value: 100 });

/// A configuration in the form in which Envoy takes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Breakers {
    limits: Option<CircuitBreakers>,
    detection: Option<OutlierDetection>,
    panic_threshold: Option<Percent>,
}

impl Breakers {
    /// Translates a configuration.
    pub(crate) fn new(conf: &Conf) -> Self {
        let detection = conf.outlier_detection.as_ref().filter(|detection| detection.disabled != Some(true));
        let panic_threshold = detection.and_then(|detection| detection.healthy_panic_threshold.as_ref()?.decimal());
        Self {
            limits: conf.connection_limits.as_ref().map(limits),
            detection: detection.map(outlier_detection),
            panic_threshold: panic_threshold.map(|threshold| Percent { value: threshold.to_f64() }),
        }
    }

    /// Sets limits and outlier detection of a cluster; what the configuration leaves out stays.
    pub(crate) fn set_cluster(&self, cluster: &mut ClusterDraft) {
        if let Some(limits) = &self.limits {
            cluster.message.circuit_breakers = Some(limits.clone());
        }
        if let Some(detection) = &self.detection {
            cluster.message.outlier_detection = Some(detection.clone());
        }
        if let Some(threshold) = self.panic_threshold {
            cluster.common_lb_mut().healthy_panic_threshold = Some(threshold);
        }
    }
}

fn number(value: Option<u32>) -> Option<UInt32Value> {
    value.map(|value| UInt32Value { value })
}

fn limits(limits: &ConnectionLimits) -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            track_remaining: true,
            max_connections: number(limits.max_connections),
            max_connection_pools: number(limits.max_connection_pools),
            max_pending_requests: number(limits.max_pending_requests),
            max_retries: number(limits.max_retries),
            max_requests: number(limits.max_requests),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

fn outlier_detection(conf: &Detection) -> OutlierDetection {
    let mut detection = OutlierDetection {
        interval: conf.interval.map(GoDuration::to_proto),
        base_ejection_time: conf.base_ejection_time.map(GoDuration::to_proto),
        split_external_local_origin_errors: conf.split_external_and_local_errors.unwrap_or_default(),
        max_ejection_percent: number(conf.max_ejection_percent),
        ..OutlierDetection::default()
    };
    let none = Detectors::default();
    let detectors = conf.detectors.as_ref().unwrap_or(&none);
    let consecutive = |detector: &Option<ConsecutiveFailures>| {
        let count = detector.as_ref().and_then(|detector| detector.consecutive);
        (if count.is_some() { ALWAYS } else { OFF }, number(count))
    };
    (detection.enforcing_consecutive_5xx, detection.consecutive_5xx) = consecutive(&detectors.total_failures);
    (detection.enforcing_consecutive_gateway_failure, detection.consecutive_gateway_failure) =
        consecutive(&detectors.gateway_failures);
    (detection.enforcing_consecutive_local_origin_failure, detection.consecutive_local_origin_failure) =
        consecutive(&detectors.local_origin_failures);
    if conf.detectors.is_some() {
        success_rate(detectors, &mut detection);
        failure_percentage(detectors, &mut detection);
    }
    detection
}

fn success_rate(detectors: &Detectors, detection: &mut OutlierDetection) {
    let enforcing = if detectors.success_rate.is_some() { ALWAYS } else { OFF };
    detection.enforcing_success_rate = enforcing;
    detection.enforcing_local_origin_success_rate = enforcing;
    if let Some(conf) = &detectors.success_rate {
        detection.success_rate_minimum_hosts = number(conf.minimum_hosts);
        detection.success_rate_request_volume = number(conf.request_volume);
        let factor = conf.standard_deviation_factor.as_ref().and_then(|factor| factor.decimal());
        detection.success_rate_stdev_factor = number(factor.map(|factor| factor.times_truncated(1000)));
    }
}

fn failure_percentage(detectors: &Detectors, detection: &mut OutlierDetection) {
    let enforcing = if detectors.failure_percentage.is_some() { ALWAYS } else { OFF };
    detection.enforcing_failure_percentage = enforcing;
    detection.enforcing_failure_percentage_local_origin = enforcing;
    if let Some(conf) = &detectors.failure_percentage {
        detection.failure_percentage_minimum_hosts = number(conf.minimum_hosts);
        detection.failure_percentage_request_volume = number(conf.request_volume);
        detection.failure_percentage_threshold = number(conf.threshold);
    }
}
