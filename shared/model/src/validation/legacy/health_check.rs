//! Rules for a HealthCheck.

use tandem_proto::mesh::v1alpha1::HealthCheck;
use tandem_proto::mesh::v1alpha1::health_check::conf::Http;

use super::service_sides;
use crate::validation::field::{percent, positive, positive_duration, positive_duration_if_set};
use crate::violation::{Path, Violations};

pub(in crate::validation) fn validate(policy: &HealthCheck) -> Violations {
    let mut violations = service_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let Some(conf) = &policy.conf else {
        violations.add(&path, "has to be defined");
        return violations;
    };
    violations.extend(positive_duration(&path.field("interval"), conf.interval.as_ref()));
    violations.extend(positive_duration(&path.field("timeout"), conf.timeout.as_ref()));
    violations.extend(positive(&path.field("unhealthyThreshold"), conf.unhealthy_threshold));
    violations.extend(positive(&path.field("healthyThreshold"), conf.healthy_threshold));
    for (name, duration) in [
        ("initialJitter", &conf.initial_jitter),
        ("intervalJitter", &conf.interval_jitter),
        ("noTrafficInterval", &conf.no_traffic_interval),
    ] {
        violations.extend(positive_duration_if_set(&path.field(name), duration.as_ref()));
    }
    let panic = f64::from(conf.healthy_panic_threshold.unwrap_or_default());
    violations.extend(percent(&path.field("healthyPanicThreshold"), panic, "must be in range [0.0 - 100.0]"));
    if let Some(http) = &conf.http {
        violations.extend(validate_http(&path.field("http"), http));
    }
    if conf.tcp.is_some() && conf.http.is_some() {
        violations.add(&path, "http and tcp cannot be defined at the same time");
    }
    violations
}

fn validate_http(path: &Path, http: &Http) -> Violations {
    let mut violations = Violations::none();
    if http.path.is_empty() {
        violations.add(&path.field("path"), "has to be defined and cannot be empty");
    }
    for (index, status) in http.expected_statuses.iter().enumerate() {
        if !(100..600).contains(status) {
            violations.add(&path.field("expectedStatuses").index(index), "must be in range [100, 600)");
        }
    }
    for (index, option) in http.request_headers_to_add.iter().enumerate() {
        let path = path.field("requestHeadersToAdd").index(index).field("header");
        match &option.header {
            None => violations.add(&path, "has to be defined"),
            Some(header) if header.key.is_empty() => violations.add(&path.field("key"), "cannot be empty"),
            Some(_) => {}
        }
    }
    violations
}
