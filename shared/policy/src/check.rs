//! Checking specifications that users write.

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::violation::Violations;

use crate::registry::{Origin, policy_type};
use crate::role::Role;
use crate::schema::SchemaError;

/// Result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong; the policy must be refused unless this is empty.
    pub violations: Violations,
    /// What is allowed but should be written differently; shown to whoever writes the policy.
    pub warnings: Vec<String>,
    /// Whether the shape is right but the value of a member cannot be read, such as a length of time without unit. The
    /// violation tells which.
    pub unreadable: bool,
}

/// Checks the specification of a policy with role [`Role::System`], the only one outside Kubernetes. See [`check_as`].
pub fn check(kind: Kind, spec: &mut Value) -> Checked {
    check_as(kind, Role::System, spec)
}

/// Checks the specification of a policy and brings it into the form to be stored: schema defaults applied, durations
/// in one form, members in the schema's order.
///
/// Unknown members are violations. When the shape is wrong, only that is reported and the specification is left as it
/// was. Kinds that are no policies selected by `targetRef` are not looked at.
pub fn check_as(kind: Kind, role: Role, spec: &mut Value) -> Checked {
    policy_type(kind).map(|policy| policy.check(spec, role, Origin::Person)).unwrap_or_default()
}

/// Checks the specification of a policy that another control plane sent. Members that this version does not know are fine:
/// the peer may be newer.
pub fn check_received(kind: Kind, spec: &Value) -> Violations {
    let Some(policy) = policy_type(kind) else { return Violations::none() };
    match (policy.canonical)(spec) {
        Ok(mut known) => policy.check(&mut known, Role::System, Origin::Peer).violations,
        Err(SchemaError(violations)) => violations,
    }
}
