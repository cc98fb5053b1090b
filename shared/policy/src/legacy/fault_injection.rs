//! Faults that an inbound makes up.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/fault_injection_configurer.go`.

use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use tandem_proto::mesh::v1alpha1::FaultInjection;

use super::{Decoded, protobuf_duration, source_tags};
use crate::envoy::pb::http::HttpFilter;
use crate::fault_injection::envoy as faults;

/// The filter that makes up the faults of a policy.
pub fn filter(policy: &Decoded<FaultInjection>) -> HttpFilter {
    let conf = policy.spec.conf.clone().unwrap_or_default();
    let share = |percentage: Option<f64>| percentage.unwrap_or_default();
    faults::filter(&HttpFault {
        delay: conf.delay.and_then(|delay| faults::delay(protobuf_duration(delay.value?), share(delay.percentage))),
        abort: conf.abort.and_then(|abort| faults::abort(abort.http_status?, share(abort.percentage))),
        response_rate_limit: conf
            .response_bandwidth
            .and_then(|bandwidth| faults::bandwidth(bandwidth.limit.as_deref()?, share(bandwidth.percentage))),
        headers: vec![source_tags::callers(&policy.spec.sources)],
        ..HttpFault::default()
    })
}
