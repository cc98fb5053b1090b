//! The form in which configurations are compared, and what differs between two.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Resources by type and name.
#[allow(dead_code, reason = "not every user of this file compares by resource")]
pub type Resources = BTreeMap<(String, String), Value>;

/// The one form: durations as text of a number of seconds without trailing zeros.
pub fn canonical(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => members.values_mut().for_each(|member| *member = canonical(member.take())),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = canonical(item.take())),
        Value::String(text) => {
            if let Some(seconds) = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok()) {
                *text = format!("{seconds} seconds");
            }
        }
        // A number with a fraction of zero is the same number.
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
    value
}

/// What differs, resource by resource; empty when nothing does.
#[allow(dead_code, reason = "not every user of this file compares by resource")]
pub fn differences(actual: &Resources, expected: &Resources) -> Vec<String> {
    let mut found = Vec::new();
    for (key, expected) in expected {
        match actual.get(key) {
            None => found.push(format!("missing: {key:?}")),
            Some(actual) => compare(&format!("{key:?}"), actual, expected, &mut found),
        }
    }
    found.extend(actual.keys().filter(|key| !expected.contains_key(*key)).map(|key| format!("surplus: {key:?}")));
    found
}

/// Adds what differs between two values at and below a path; a member that is missing is as good as null.
pub fn compare(path: &str, actual: &Value, expected: &Value, found: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let member = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}.{name}"), &member(one), &member(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, found);
            }
        }
        _ if actual == expected => {}
        _ => found.push(format!("{path}: {actual} instead of {expected}")),
    }
}
