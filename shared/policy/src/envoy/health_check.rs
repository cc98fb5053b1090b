//! Parts of health checks.

use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range};

use super::ClusterDraft;
use super::pb::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, ZoneAwareLbConfig};
use super::pb::core::health_check::{Payload, payload};
use crate::Protocol;

/// Bytes that are sent, or that an answer has to contain.
pub(crate) fn payload(bytes: &[u8]) -> Payload {
    Payload { payload: Some(payload::Payload::Text(hex::encode(bytes))) }
}

/// One status code.
pub(crate) fn status(code: i64) -> Int64Range {
    Int64Range { start: code, end: code + 1 }
}

/// The version of HTTP in which endpoints are asked.
pub(crate) fn codec(protocol: Protocol) -> CodecClientType {
    if protocol == Protocol::Http2 { CodecClientType::Http2 } else { CodecClientType::Http1 }
}

/// Sets whether requests fail when too few endpoints are healthy, where all would be used otherwise. Envoy has no such setting for
/// clusters that weigh localities: for these it has no effect.
pub(crate) fn fail_traffic_on_panic(fail_traffic_on_panic: bool, cluster: &mut ClusterDraft) {
    let specifier = &mut cluster.common_lb_mut().locality_config_specifier;
    if !matches!(specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))) {
        let zone_aware = ZoneAwareLbConfig { fail_traffic_on_panic, ..Default::default() };
        *specifier = Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone_aware));
    }
}
