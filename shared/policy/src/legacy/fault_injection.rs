//! Faults that an inbound makes up.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/fault_injection_configurer.go`.

use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, FaultRateLimit, fault_rate_limit};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use tandem_proto::mesh::v1alpha1::FaultInjection;

use super::{Decoded, protobuf_duration, source_tags};
use crate::envoy::pack;
use crate::envoy::pb::http::{HttpFilter, http_filter};

/// The filter that makes up the faults of a policy.
pub fn filter(policy: &Decoded<FaultInjection>) -> HttpFilter {
    let conf = policy.spec.conf.clone().unwrap_or_default();
    let fault = HttpFault {
        delay: conf.delay.and_then(|delay| {
            Some(FaultDelay {
                percentage: Some(percentage(delay.percentage)),
                fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(protobuf_duration(delay.value?))),
            })
        }),
        abort: conf.abort.and_then(|abort| {
            Some(FaultAbort {
                percentage: Some(percentage(abort.percentage)),
                error_type: Some(fault_abort::ErrorType::HttpStatus(abort.http_status?)),
                ..FaultAbort::default()
            })
        }),
        response_rate_limit: conf.response_bandwidth.and_then(|bandwidth| {
            let limit_kbps = kilobits_per_second(bandwidth.limit.as_deref()?)?;
            let limit = fault_rate_limit::FixedLimit { limit_kbps };
            Some(FaultRateLimit {
                percentage: Some(percentage(bandwidth.percentage)),
                limit_type: Some(fault_rate_limit::LimitType::FixedLimit(limit)),
            })
        }),
        headers: vec![source_tags::matcher(&policy.spec.sources)],
        ..HttpFault::default()
    };
    HttpFilter {
        name: "envoy.filters.http.fault".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&fault))),
        ..HttpFilter::default()
    }
}

/// A percentage with up to four digits after the point, as a fraction with the smallest denominator.
fn percentage(value: Option<f64>) -> FractionalPercent {
    let value = value.unwrap_or_default();
    let whole = |value: f64| value.floor() == value;
    // Validation keeps percentages between 0 and 100, so that the casts lose nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let fraction = |factor: f64, denominator: DenominatorType| FractionalPercent {
        numerator: (value * factor).round() as u32,
        denominator: denominator.into(),
    };
    if whole(value) {
        fraction(1.0, DenominatorType::Hundred)
    } else if whole(value * 100.0) {
        fraction(100.0, DenominatorType::TenThousand)
    } else {
        fraction(10_000.0, DenominatorType::Million)
    }
}

/// A bandwidth such as `50 Mbps`; `None` for what is none, which validation refuses.
fn kilobits_per_second(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let value: u64 = text[..end].parse().ok()?;
    let factor = match text[end..].trim_start() {
        "kbps" => 1,
        "Mbps" => 1_000,
        "Gbps" => 1_000_000,
        _ => return None,
    };
    value.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_fractions() {
        let fraction = |value| {
            let percent = percentage(Some(value));
            (percent.numerator, percent.denominator())
        };
        assert_eq!(fraction(50.0), (50, DenominatorType::Hundred));
        assert_eq!(fraction(12.34), (1234, DenominatorType::TenThousand));
        assert_eq!(fraction(0.0001), (1, DenominatorType::Million));
    }

    #[test]
    fn bandwidths_have_units() {
        assert_eq!(kilobits_per_second("50 Mbps"), Some(50_000));
        assert_eq!(kilobits_per_second("7kbps"), Some(7));
        assert_eq!(kilobits_per_second("1Gbps"), Some(1_000_000));
        assert_eq!([kilobits_per_second("50"), kilobits_per_second("fast"), kilobits_per_second("5 bps")], [None; 3]);
    }
}
