//! All policies selected by `targetRef`, one line each.

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::violation::Violations;

use crate::check::Checked;
use crate::role::Role;
use crate::schema::{SchemaError, Unknown, decode};
use crate::validation::Validate;

/// What the engine and the checks know about one kind of policy.
pub(crate) struct PolicyType {
    /// The kind.
    pub kind: Kind,
    /// Whether `from` entries count as inbound rules, as entries of `rules` do.
    pub from_as_rules: bool,
    /// Schema defaults, shape and meaning of a specification as a user writes it.
    pub check: fn(&mut Value, Role) -> Checked,
    /// The specification as its schema encodes it: defaults present, durations in one form, unknown members left out.
    pub canonical: fn(&Value) -> Result<Value, SchemaError>,
}

const fn policy<S: Validate>(kind: Kind, from_as_rules: bool) -> PolicyType {
    PolicyType { kind, from_as_rules, check: check::<S>, canonical: canonical::<S> }
}

static POLICIES: &[PolicyType] = &[
    policy::<crate::access_log::Spec>(Kind::MeshAccessLog, true),
    policy::<crate::circuit_breaker::Spec>(Kind::MeshCircuitBreaker, true),
    policy::<crate::fault_injection::Spec>(Kind::MeshFaultInjection, false),
    policy::<crate::health_check::Spec>(Kind::MeshHealthCheck, false),
    policy::<crate::http_route::Spec>(Kind::MeshHTTPRoute, false),
    policy::<crate::load_balancing::Spec>(Kind::MeshLoadBalancingStrategy, false),
    policy::<crate::metric::Spec>(Kind::MeshMetric, false),
    policy::<crate::passthrough::Spec>(Kind::MeshPassthrough, false),
    policy::<crate::proxy_patch::Spec>(Kind::MeshProxyPatch, false),
    policy::<crate::rate_limit::Spec>(Kind::MeshRateLimit, true),
    policy::<crate::retry::Spec>(Kind::MeshRetry, false),
    policy::<crate::tcp_route::Spec>(Kind::MeshTCPRoute, false),
    policy::<crate::timeout::Spec>(Kind::MeshTimeout, true),
    policy::<crate::tls::Spec>(Kind::MeshTLS, true),
    policy::<crate::trace::Spec>(Kind::MeshTrace, false),
    policy::<crate::traffic_permission::Spec>(Kind::MeshTrafficPermission, false),
];

/// The row of a kind; `None` for kinds that are no policies selected by `targetRef`.
pub(crate) fn policy_type(kind: Kind) -> Option<&'static PolicyType> {
    POLICIES.iter().find(|policy| policy.kind == kind)
}

fn encode<S: Validate>(spec: &S) -> Value {
    serde_json::to_value(spec).expect("specifications have string keys and no values that JSON lacks")
}

fn check<S: Validate>(spec: &mut Value, role: Role) -> Checked {
    match decode::<S>(spec, Unknown::Refuse) {
        Err(SchemaError(violations)) => Checked { violations, warnings: Vec::new() },
        Ok(decoded) => {
            *spec = encode(&decoded);
            let mut violations = Violations::none();
            decoded.validate(role, &mut violations);
            Checked { violations, warnings: decoded.warnings() }
        }
    }
}

fn canonical<S: Validate>(spec: &Value) -> Result<Value, SchemaError> {
    Ok(encode(&decode::<S>(spec, Unknown::Ignore)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_ref_policy_has_a_line() {
        for kind in Kind::all() {
            assert_eq!(policy_type(kind).is_some(), kind.is_target_ref_policy(), "{kind}");
        }
    }
}
