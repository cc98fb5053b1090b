//! Shares of requests or connections.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/fault_injection_configurer.go`.

use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

/// A percentage between 0 and 100 with up to four digits after the point, as a fraction with the smallest denominator.
pub(crate) fn percent(value: f64) -> FractionalPercent {
    let is_whole = |value: f64| value.floor() == value;
    // Validation keeps percentages between 0 and 100, so that the casts lose nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let fraction = |factor: f64, denominator: DenominatorType| FractionalPercent {
        numerator: (value * factor).round() as u32,
        denominator: denominator.into(),
    };
    if is_whole(value) {
        fraction(1.0, DenominatorType::Hundred)
    } else if is_whole(value * 100.0) {
        fraction(100.0, DenominatorType::TenThousand)
    } else {
        fraction(10_000.0, DenominatorType::Million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_fractions() {
        let fraction = |value| (percent(value).numerator, percent(value).denominator());
        assert_eq!(fraction(50.0), (50, DenominatorType::Hundred));
        assert_eq!(fraction(12.34), (1234, DenominatorType::TenThousand));
        assert_eq!(fraction(0.0001), (1, DenominatorType::Million));
    }
}
