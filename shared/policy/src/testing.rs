//! Helpers of this crate's tests.

use serde_json::Value;
use tandem_model::kind::Kind;

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
