//! All policies selected by `targetRef`, one line each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde_json::{Map, Value};
use tandem_model::json_schema::{self, TypeSchema};
use tandem_model::kind::Kind;
use tandem_model::schema::{self, Checker, SpecError};
use tandem_model::violation::Violations;

use crate::check::Checked;
use crate::role::Role;
use crate::schema::{SchemaError, decode};
use crate::validation::Validate;

/// Who brings a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody who writes it.
    Person,
    /// Another control plane, which has checked it.
    Peer,
}

/// What the engine and the checks know about one kind of policy.
pub(crate) struct PolicyType {
    /// The kind.
    pub kind: Kind,
    /// Whether `from` entries count as inbound rules, as entries of `rules` do.
    pub from_as_rules: bool,
    /// Schema defaults, shape and meaning of a specification, as a user writes it or as a peer sends it.
    check: fn(&Checker, &mut Value, Role, Origin) -> Checked,
    /// The specification as its schema encodes it: defaults present, durations in one form, unknown members left out.
    pub canonical: fn(&Value) -> Result<Value, SchemaError>,
    /// JSON Schema of a specification as a user writes it.
    pub schema: fn() -> TypeSchema,
}

const fn policy<S: Validate + JsonSchema>(kind: Kind, from_as_rules: bool) -> PolicyType {
    PolicyType { kind, from_as_rules, check: check::<S>, canonical: canonical::<S>, schema: json_schema::of::<S> }
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

/// Checkers of the specifications.
static CHECKERS: LazyLock<HashMap<Kind, Checker>> =
    LazyLock::new(|| POLICIES.iter().map(|policy| (policy.kind, Checker::new(&(policy.schema)()))).collect());

impl PolicyType {
    /// Checks a specification and brings it into the form to be stored; see [`Checked`].
    pub(crate) fn check(&self, spec: &mut Value, role: Role, origin: Origin) -> Checked {
        CHECKERS.get(&self.kind).map(|checker| (self.check)(checker, spec, role, origin)).unwrap_or_default()
    }
}

/// The row of a kind; `None` for kinds that are no policies selected by `targetRef`.
pub(crate) fn policy_type(kind: Kind) -> Option<&'static PolicyType> {
    POLICIES.iter().find(|policy| policy.kind == kind)
}

/// Schema of the specification of a kind of policy; `None` for kinds that are no policies selected by `targetRef`.
pub fn spec_schema(kind: Kind) -> Option<TypeSchema> {
    policy_type(kind).map(|policy| (policy.schema)())
}

fn encode<S: Validate>(spec: &S) -> Value {
    serde_json::to_value(spec).expect("specifications have string keys and no values that JSON lacks")
}

/// An absent specification is an empty one.
fn or_empty(spec: &Value) -> Cow<'_, Value> {
    if spec.is_null() { Cow::Owned(Value::Object(Map::new())) } else { Cow::Borrowed(spec) }
}

fn check<S: Validate>(checker: &Checker, spec: &mut Value, role: Role, origin: Origin) -> Checked {
    let given = or_empty(spec);
    let decoded: S = match schema::read(checker, "spec", &given) {
        Ok(decoded) => decoded,
        Err(SpecError::Shape(violations)) => return Checked { violations, ..Checked::default() },
        Err(SpecError::Value(violation)) => {
            return Checked { violations: violation.into(), unreadable: true, warnings: Vec::new() };
        }
    };
    *spec = encode(&decoded);
    let mut violations = Violations::none();
    decoded.validate(role, &mut violations);
    if origin == Origin::Person {
        decoded.validate_written(&mut violations);
    }
    Checked { violations, warnings: decoded.warnings(), unreadable: false }
}

fn canonical<S: Validate>(spec: &Value) -> Result<Value, SchemaError> {
    Ok(encode(&decode::<S>(&or_empty(spec))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_no_objects() {
        use serde_json::json;
        let refused = |mut spec: Value| crate::check(Kind::MeshTimeout, &mut spec).violations.to_string();
        let target = json!({"kind": "Mesh"});
        assert_eq!(refused(json!([])), "spec: in body must be of type object: \"array\"");
        assert_eq!(
            refused(json!({"to": [{"targetRef": ["Mesh"], "default": {"idleTimeout": "1s"}}]})),
            "spec.to[0].targetRef: in body must be of type object: \"array\""
        );
        assert_eq!(
            refused(json!({"to": [{"targetRef": target, "default": {"http": []}}]})),
            "spec.to[0].default.http: in body must be of type object: \"array\""
        );
    }

    #[test]
    fn an_absent_specification_is_empty() {
        let mut spec = Value::Null;
        let violations = crate::check(Kind::MeshTimeout, &mut spec).violations.to_string();
        assert_eq!(violations, "spec: at least one of 'from', 'to' or 'rules' has to be defined");
    }

    #[test]
    fn every_target_ref_policy_has_a_line() {
        for kind in Kind::all() {
            assert_eq!(policy_type(kind).is_some(), kind.is_target_ref_policy(), "{kind}");
        }
    }
}
