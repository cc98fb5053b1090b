//! Limits and outlier detection of a service.
//!
//! Source: Kuma `pkg/xds/envoy/clusters/v3/{circuit_breaker,outlier_detection}_configurer.go`.

use tandem_proto::mesh::v1alpha1::circuit_breaker::Conf;
use tandem_proto::mesh::v1alpha1::circuit_breaker::conf::Thresholds;
use tandem_proto::mesh::v1alpha1::circuit_breaker::conf::detectors::Errors;

use super::protobuf_duration;
use crate::envoy::ClusterDraft;
use crate::envoy::pb::UInt32Value;
use crate::envoy::pb::cluster::{CircuitBreakers, OutlierDetection, circuit_breakers};

const OFF: Option<UInt32Value> = Some(UInt32Value { value: 0 });
const ALWAYS: Option<UInt32Value> = Some(UInt32Value { value: 100 });

/// Sets limits and outlier detection of a cluster.
pub fn set_cluster(conf: &Conf, cluster: &mut ClusterDraft) {
    if let Some(thresholds) = conf.thresholds.filter(|thresholds| *thresholds != Thresholds::default()) {
        cluster.message.circuit_breakers = Some(CircuitBreakers {
            thresholds: vec![circuit_breakers::Thresholds {
                max_connections: number(thresholds.max_connections),
                max_pending_requests: number(thresholds.max_pending_requests),
                max_retries: number(thresholds.max_retries),
                max_requests: number(thresholds.max_requests),
                ..Default::default()
            }],
            ..CircuitBreakers::default()
        });
    }
    cluster.message.outlier_detection = Some(detection(conf));
}

fn number(value: Option<u32>) -> Option<UInt32Value> {
    value.map(|value| UInt32Value { value })
}

/// What no detector is for is told to be off, so that a policy with limits alone ejects nothing.
fn detection(conf: &Conf) -> OutlierDetection {
    let detectors = conf.detectors.unwrap_or_default();
    let enforcing = |detector: bool| if detector { ALWAYS } else { OFF };
    let consecutive =
        |errors: Option<Errors>| (enforcing(errors.is_some()), number(errors.and_then(|e| e.consecutive)));
    let mut detection = OutlierDetection {
        interval: conf.interval.map(protobuf_duration),
        base_ejection_time: conf.base_ejection_time.map(protobuf_duration),
        max_ejection_percent: number(conf.max_ejection_percent),
        split_external_local_origin_errors: conf.split_external_and_local_errors,
        enforcing_success_rate: enforcing(detectors.standard_deviation.is_some()),
        enforcing_failure_percentage: enforcing(detectors.failure.is_some()),
        ..OutlierDetection::default()
    };
    (detection.enforcing_consecutive_5xx, detection.consecutive_5xx) = consecutive(detectors.total_errors);
    (detection.enforcing_consecutive_gateway_failure, detection.consecutive_gateway_failure) =
        consecutive(detectors.gateway_errors);
    (detection.enforcing_consecutive_local_origin_failure, detection.consecutive_local_origin_failure) =
        consecutive(detectors.local_errors);
    if let Some(deviation) = detectors.standard_deviation {
        detection.success_rate_request_volume = number(deviation.request_volume);
        detection.success_rate_minimum_hosts = number(deviation.minimum_hosts);
        // Envoy takes thousandths; a factor out of range comes to the nearest limit.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let thousandths = deviation.factor.map(|factor| (factor * 1000.0) as u32);
        detection.success_rate_stdev_factor = number(thousandths);
        detection.enforcing_local_origin_success_rate = ALWAYS;
    }
    if let Some(failure) = detectors.failure {
        detection.failure_percentage_request_volume = number(failure.request_volume);
        detection.failure_percentage_minimum_hosts = number(failure.minimum_hosts);
        detection.failure_percentage_threshold = number(failure.threshold);
        detection.enforcing_failure_percentage_local_origin = ALWAYS;
    }
    detection
}
