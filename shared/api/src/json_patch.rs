//! What differs between two JSON values, as a JSON patch (RFC 6902) that also tells what was there before.
//!
//! Every value that goes is tested and removed, every value that comes is added, so that a reader of the patch sees both.
//! That is the form that clients of Kuma know (`github.com/josephburnett/jd`, `RenderPatch`).

use serde_json::{Value, json};

/// The operations that turn `before` into `after`, in order; empty when they are equal.
pub fn diff(before: &Value, after: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    values("", before, after, &mut operations);
    operations
}

fn values(path: &str, before: &Value, after: &Value, operations: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let path = format!("{path}/{}", escaped(name));
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) => values(&path, before, after, operations),
                    (Some(before), None) => remove(&path, before, operations),
                    (None, Some(after)) => add(&path, after, operations),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => items(path, before, after, operations),
        _ if before == after => {}
        _ => {
            remove(path, before, operations);
            add(path, after, operations);
        }
    }
}

/// What both lists begin and end with stays; what is between is compared one by one, and the rest is removed or added.
fn items(path: &str, before: &[Value], after: &[Value], operations: &mut Vec<Value>) {
    let start = before.iter().zip(after).take_while(|(before, after)| before == after).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(before, after)| before == after).count();
    let (before, after) = (&before[..before.len() - end], &after[..after.len() - end]);
    let common = before.len().min(after.len());
    for index in 0..common {
        values(&format!("{path}/{}", start + index), &before[index], &after[index], operations);
    }
    // Each removal moves the next one to the same place.
    for gone in &before[common..] {
        remove(&format!("{path}/{}", start + common), gone, operations);
    }
    // Each addition pushes the earlier one away.
    for new in after[common..].iter().rev() {
        add(&format!("{path}/{}", start + common), new, operations);
    }
}

fn remove(path: &str, value: &Value, operations: &mut Vec<Value>) {
    operations.push(json!({ "op": "test", "path": path, "value": value }));
    operations.push(json!({ "op": "remove", "path": path, "value": value }));
}

fn add(path: &str, value: &Value, operations: &mut Vec<Value>) {
    operations.push(json!({ "op": "add", "path": path, "value": value }));
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies a patch, checking its tests; independent of how it was made.
    fn patched(mut value: Value, patch: &[Value]) -> Value {
        for operation in patch {
            let path = operation["path"].as_str().expect("a path");
            let argument = operation["value"].clone();
            let Some((parent, last)) = path.rsplit_once('/') else {
                match operation["op"].as_str() {
                    Some("add") => value = argument,
                    _ => assert_eq!(value, argument),
                }
                continue;
            };
            let name = last.replace("~1", "/").replace("~0", "~");
            let parent = value.pointer_mut(parent).expect("the parent exists");
            match (operation["op"].as_str().expect("an operation"), parent) {
                ("test", parent) => {
                    let found = match parent {
                        Value::Array(items) => &items[name.parse::<usize>().expect("an index")],
                        parent => &parent[&name],
                    };
                    assert_eq!(*found, argument, "{path}");
                }
                ("remove", Value::Array(items)) => drop(items.remove(name.parse().expect("an index"))),
                ("remove", Value::Object(members)) => drop(members.remove(&name).expect("there")),
                ("add", Value::Array(items)) => items.insert(name.parse().expect("an index"), argument),
                ("add", Value::Object(members)) => drop(members.insert(name, argument)),
                (operation, parent) => panic!("{operation} {path} in {parent}"),
            }
        }
        value
    }

    #[test]
    fn a_change_is_tested_removed_and_added() {
        let patch = diff(&json!({"a/b": {"c~": "1s"}, "same": 1}), &json!({"a/b": {"c~": "2s"}, "same": 1}));
        let expected = [("test", "1s"), ("remove", "1s"), ("add", "2s")]
            .map(|(op, value)| json!({"op": op, "path": "/a~1b/c~0", "value": value}));
        assert_eq!(patch, expected);
    }

    #[test]
    fn equal_values_do_not_differ() {
        let value = json!({"a": [1, {"b": null}]});
        assert_eq!(diff(&value, &value), Vec::<Value>::new());
    }

    #[test]
    fn applied_to_the_first_value_a_patch_gives_the_second() {
        let values = [
            json!({}),
            json!({"a": 1}),
            json!({"a": [1, 2, 3]}),
            json!({"a": [0, 1, 2, 3]}),
            json!({"a": [1, 3]}),
            json!({"a": [1, {"x": 1}, 3], "b": {"c/d": true}}),
            json!({"a": [1, {"x": 2, "y": []}, 4, 3], "b": {"c/d": false}}),
            json!({"a": {"0": 1}}),
            json!(["a"]),
        ];
        for before in &values {
            for after in &values {
                let patch = diff(before, after);
                assert_eq!(patched(before.clone(), &patch), *after, "{before} to {after}: {patch:?}");
            }
        }
    }
}
