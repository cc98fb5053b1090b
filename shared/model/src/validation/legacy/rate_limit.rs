//! Rules for a RateLimit.

use tandem_proto::mesh::v1alpha1::RateLimit;

use super::any_sides;
use crate::violation::{Path, Violations};

pub(in crate::validation) fn validate(policy: &RateLimit) -> Violations {
    let mut violations = any_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let Some(conf) = &policy.conf else {
        violations.add(&path, "must have conf");
        return violations;
    };
    let Some(http) = &conf.http else { return violations };
    let path = path.field("http");
    if http.requests == 0 {
        violations.add(&path.field("requests"), "requests must be set");
    }
    if http.interval.is_none() {
        violations.add(&path.field("interval"), "interval must be set");
    }
    let headers = http.on_rate_limit.iter().flat_map(|answer| &answer.headers);
    for (index, header) in headers.enumerate() {
        // Clients know this list as a map by number.
        let path = path.field("onRateLimit").field("header").key(&index.to_string());
        if header.key.is_empty() {
            violations.add(&path, "key must be set");
        }
        if header.value.is_empty() {
            violations.add(&path, "value must be set");
        }
    }
    violations
}
