//! Helpers of this crate's tests.

use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::resource::{Resource, ResourceKey};

use crate::policy::Policy;

/// Checks a specification and returns the violations as text.
pub(crate) fn check(kind: Kind, spec: &mut Value) -> String {
    crate::check(kind, spec).violations.to_string()
}

/// Asserts that a specification is refused with exactly these violations.
pub(crate) fn refused(kind: Kind, mut spec: Value, expected: &[&str]) {
    let violations = crate::check(kind, &mut spec).violations;
    let found: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.reason)).collect();
    assert_eq!(found, expected);
}

/// A policy of mesh `default`.
pub(crate) fn policy(kind: Kind, name: &str, spec: Value) -> Policy {
    let resource = Resource::from_json(ResourceKey::new(kind, "default", name), spec);
    Policy::decode(Arc::new(resource)).expect("a valid policy")
}

/// The same policy with one more label.
pub(crate) fn labelled(policy: Policy, label: &str, value: &str) -> Policy {
    let mut resource = Arc::unwrap_or_clone(policy.resource);
    resource.labels.insert(label.to_owned(), value.to_owned());
    Policy::decode(Arc::new(resource)).expect("valid before the label was added")
}
