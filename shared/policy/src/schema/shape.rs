//! What decoding lets pass although the schema says otherwise.

use serde_json::Value;
use tandem_model::violation::{Path, Violations};

/// Violations of members that are lists although the schema asks for objects: decoding takes these as the fields in
/// order. `encoded` is what `given` decoded to.
pub(crate) fn lists_for_objects(given: &Value, encoded: &Value) -> Violations {
    let mut violations = Violations::none();
    find(given, encoded, &Path::new("spec"), &mut violations);
    violations
}

fn find(given: &Value, encoded: &Value, path: &Path, violations: &mut Violations) {
    match (given, encoded) {
        (Value::Array(_), Value::Object(_)) => violations.add(path, "in body must be of type object: \"array\""),
        (Value::Array(given), Value::Array(encoded)) => {
            for (index, (given, encoded)) in given.iter().zip(encoded).enumerate() {
                find(given, encoded, &path.index(index), violations);
            }
        }
        (Value::Object(given), Value::Object(encoded)) => {
            for (name, given) in given {
                if let Some(encoded) = encoded.get(name) {
                    find(given, encoded, &path.field(name), violations);
                }
            }
        }
        _ => {}
    }
}
