//! Rules for policies of the older generation, which name sources and destinations by tags.

pub(super) mod circuit_breaker;
pub(super) mod fault_injection;
pub(super) mod gateway_route;
pub(super) mod health_check;
pub(super) mod proxy_template;
pub(super) mod rate_limit;
pub(super) mod retry;
pub(super) mod timeout;
pub(super) mod traffic_route;

use tandem_proto::mesh::v1alpha1::{Selector, TrafficLog, TrafficPermission, TrafficTrace};

use super::tags::{Rules, selectors};
use crate::violation::{Path, Violations};

pub(super) fn validate_traffic_permission(policy: &TrafficPermission) -> Violations {
    any_sides(&policy.sources, &policy.destinations)
}

pub(super) fn validate_traffic_log(policy: &TrafficLog) -> Violations {
    service_sides(&policy.sources, &policy.destinations)
}

pub(super) fn validate_traffic_trace(policy: &TrafficTrace) -> Violations {
    selectors(&Path::new("selectors"), &policy.selectors, Rules::ANY_TAGS)
}

/// Sources and destinations by any tags.
fn any_sides(sources: &[Selector], destinations: &[Selector]) -> Violations {
    sides(sources, Rules::ANY_TAGS, destinations, Rules::ANY_TAGS)
}

/// Sources by service and other tags, destinations by service alone.
fn service_sides(sources: &[Selector], destinations: &[Selector]) -> Violations {
    sides(sources, Rules::WITH_SERVICE, destinations, Rules::ONLY_SERVICE)
}

fn sides(sources: &[Selector], of_sources: Rules, destinations: &[Selector], of_destinations: Rules) -> Violations {
    let mut violations = selectors(&Path::new("sources"), sources, of_sources);
    violations.extend(selectors(&Path::new("destinations"), destinations, of_destinations));
    violations
}

#[cfg(test)]
mod tests;
