//! Rules for a CircuitBreaker.

use tandem_proto::mesh::v1alpha1::CircuitBreaker;
use tandem_proto::mesh::v1alpha1::circuit_breaker::conf::{Detectors, Thresholds};

use super::service_sides;
use crate::validation::field::{PERCENT, percent};
use crate::violation::{Path, Violations};

pub(in crate::validation) fn validate(policy: &CircuitBreaker) -> Violations {
    let mut violations = service_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let conf = policy.conf.unwrap_or_default();
    let has_detectors = conf.detectors.as_ref().is_some_and(|detectors| *detectors != Detectors::default());
    let has_thresholds = conf.thresholds.as_ref().is_some_and(|thresholds| *thresholds != Thresholds::default());
    if !has_detectors && !has_thresholds {
        violations.add(&path, "must have at least one of the detector or threshold configured");
        return violations;
    }
    let detectors = path.field("detectors");
    if conf.detectors.is_some() && !has_detectors {
        violations.add(&detectors, "can't be empty");
    }
    let ejected = f64::from(conf.max_ejection_percent.unwrap_or_default());
    violations.extend(percent(&path.field("maxEjectionPercent"), ejected, PERCENT));
    if let Some(failure) = conf.detectors.as_ref().and_then(|detectors| detectors.failure.as_ref()) {
        let threshold = f64::from(failure.threshold.unwrap_or_default());
        violations.extend(percent(&detectors.field("failure").field("threshold"), threshold, PERCENT));
    }
    if conf.thresholds.is_some() && !has_thresholds {
        violations.add(&path.field("thresholds"), "can't be empty");
    }
    violations
}
