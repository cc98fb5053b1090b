//! Changes to a JSON document, as in RFC 6902 with what MeshProxyPatch adds to it: negative indexes count from the end of a list, what
//! is missing need not be removed, and what is on the way to an added value is created.
//!
//! Source: the options that Kuma `pkg/plugins/policies/core/jsonpatch` gives to its library.

use serde_json::{Map, Value};
use tandem_policy::proxy_patch::{JsonPatch, JsonPatchOp};

/// No list of Envoy's configuration is so long that something has to be added at this index.
const LARGEST_INDEX: usize = 1000;

/// Makes changes one after the other.
///
/// # Errors
/// When one cannot be made, with the reason; the document is then of no use.
pub(super) fn apply(document: &mut Value, patches: &[JsonPatch]) -> Result<(), String> {
    patches.iter().enumerate().try_for_each(|(index, patch)| {
        change(document, patch).map_err(|reason| format!("jsonPatches[{index}]: {reason}"))
    })
}

fn change(document: &mut Value, patch: &JsonPatch) -> Result<(), String> {
    let path = tokens(&patch.path)?;
    let given = || patch.value.clone().unwrap_or_default();
    let from = || tokens(patch.from.as_deref().unwrap_or_default());
    match patch.op {
        JsonPatchOp::Add => {
            let path = create(document, path)?;
            add(document, &path, given())
        }
        JsonPatchOp::Replace => {
            *find(document, &path)? = given();
            Ok(())
        }
        JsonPatchOp::Remove => {
            // What is not there is not there afterwards either.
            let _ = take(document, &path);
            Ok(())
        }
        JsonPatchOp::Move => {
            let value = take(document, &from()?)?;
            add(document, &path, value)
        }
        JsonPatchOp::Copy => {
            let value = find(document, &from()?)?.clone();
            add(document, &path, value)
        }
    }
}

/// The names and indexes that a path consists of.
fn tokens(path: &str) -> Result<Vec<String>, String> {
    match path.strip_prefix('/') {
        Some(rest) => Ok(rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect()),
        None if path.is_empty() => Ok(Vec::new()),
        None => Err(format!("the path {path:?} does not begin with a slash")),
    }
}

fn missing(path: &[String]) -> String {
    format!("there is nothing at /{}", path.join("/"))
}

/// Position in a list of which `length` places can be meant.
fn position(token: &str, length: usize) -> Option<usize> {
    let index: isize = token.parse().ok()?;
    let from_start = if index < 0 { length.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
    (from_start < length).then_some(from_start)
}

fn child<'a>(value: &'a mut Value, token: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(members) => members.get_mut(token),
        Value::Array(items) => {
            let position = position(token, items.len())?;
            items.get_mut(position)
        }
        _ => None,
    }
}

fn find<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    path.iter().try_fold(document, |value, token| child(value, token)).ok_or_else(|| missing(path))
}

fn take(document: &mut Value, path: &[String]) -> Result<Value, String> {
    let (last, parents) = path.split_last().ok_or("the whole document cannot be taken away")?;
    let taken = match find(document, parents)? {
        Value::Object(members) => members.remove(last),
        Value::Array(items) => position(last, items.len()).map(|position| items.remove(position)),
        _ => None,
    };
    taken.ok_or_else(|| missing(path))
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parents)? {
        Value::Object(members) => {
            members.insert(last.clone(), value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let position = position(last, items.len() + 1)
                .ok_or_else(|| format!("{last:?} is no index of the list, which has {} items", items.len()))?;
            items.insert(position, value);
        }
        _ => return Err(format!("/{} is neither an object nor a list", parents.join("/"))),
    }
    Ok(())
}

/// Creates what is missing on the way to `path`: lists where the next part is an index, filled with nothing up to it, else objects.
/// Returns the path, with indexes for what is created at the end of a list.
fn create(document: &mut Value, mut path: Vec<String>) -> Result<Vec<String>, String> {
    let mut value = document;
    for depth in 1..path.len() {
        let (done, next) = path.split_at_mut(depth);
        let Some((token, above)) = done.split_last_mut() else { break };
        if child(value, token).is_none() {
            let created = container(&next[0])?;
            match value {
                Value::Object(members) => {
                    members.insert(token.clone(), created);
                }
                Value::Array(items) => {
                    let position = if token == "-" { items.len() } else { new_index(token)? };
                    if position > items.len() {
                        items.resize(position, Value::Null);
                    }
                    items.insert(position, created);
                    *token = position.to_string();
                }
                _ => return Err(format!("/{} is neither an object nor a list", above.join("/"))),
            }
        }
        value = child(value, token).ok_or_else(|| missing(&path[..depth]))?;
    }
    Ok(path)
}

/// What `next` can be part of.
fn container(next: &str) -> Result<Value, String> {
    if next == "-" {
        return Ok(Value::Array(Vec::new()));
    }
    match next.parse::<isize>() {
        // The end of a list without items is its beginning.
        Ok(-1) => Ok(Value::Array(Vec::new())),
        Ok(_) => Ok(Value::Array(vec![Value::Null; new_index(next)?])),
        Err(_) => Ok(Value::Object(Map::new())),
    }
}

fn new_index(token: &str) -> Result<usize, String> {
    let index = token.parse().ok().filter(|index| *index <= LARGEST_INDEX);
    index.ok_or_else(|| format!("{token:?} is no index of a list that is to be created"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut document: Value, patches: Value) -> Result<Value, String> {
        let patches: Vec<JsonPatch> = serde_json::from_value(patches).expect("patches");
        apply(&mut document, &patches).map(|()| document)
    }

    #[test]
    fn values_are_added_replaced_and_removed() {
        let document = json!({"a": {"b": 1}, "list": [1, 2, 3], "x/y": 1});
        let patches = json!([
            {"op": "add", "path": "/a/c", "value": 2},
            {"op": "add", "path": "/list/1", "value": 9},
            {"op": "add", "path": "/list/-", "value": 8},
            {"op": "add", "path": "/list/-1", "value": 7},
            {"op": "replace", "path": "/list/-2", "value": 6},
            {"op": "remove", "path": "/list/0"},
            {"op": "remove", "path": "/x~1y"},
            {"op": "remove", "path": "/not/there"},
            {"op": "remove", "path": "/list/17"},
        ]);
        let expected = json!({"a": {"b": 1, "c": 2}, "list": [9, 2, 3, 6, 7]});
        assert_eq!(patched(document, patches), Ok(expected));
    }

    #[test]
    fn values_are_moved_and_copied() {
        let document = json!({"a": {"b": [1]}, "c": {}});
        let patches = json!([
            {"op": "copy", "from": "/a/b", "path": "/c/b"},
            {"op": "move", "from": "/a/b/0", "path": "/c/d"},
        ]);
        assert_eq!(patched(document, patches), Ok(json!({"a": {"b": []}, "c": {"b": [1], "d": 1}})));
    }

    #[test]
    fn what_is_on_the_way_to_a_value_is_created() {
        let patches = json!([
            {"op": "add", "path": "/a/b/c", "value": 1},
            {"op": "add", "path": "/list/-/x", "value": 2},
            {"op": "add", "path": "/list/-/x", "value": 3},
            {"op": "add", "path": "/third/2", "value": 4},
            {"op": "add", "path": "/third/4/y", "value": 5},
        ]);
        let expected = json!({
            "a": {"b": {"c": 1}}, "list": [{"x": 2}, {"x": 3}], "third": [null, null, 4, null, {"y": 5}],
        });
        assert_eq!(patched(json!({}), patches), Ok(expected));
    }

    #[test]
    fn the_whole_document_can_be_replaced() {
        assert_eq!(
            patched(json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {"b": 2}}])),
            Ok(json!({"b": 2}))
        );
    }

    #[test]
    fn changes_that_cannot_be_made_are_told() {
        for (patch, reason) in [
            (json!({"op": "replace", "path": "/b", "value": 1}), "there is nothing at /b"),
            (json!({"op": "replace", "path": "/list/1", "value": 1}), "there is nothing at /list/1"),
            (json!({"op": "move", "from": "/b", "path": "/c"}), "there is nothing at /b"),
            (json!({"op": "move", "from": "", "path": "/c"}), "the whole document cannot be taken away"),
            (json!({"op": "copy", "from": "/a", "path": "/b/c"}), "there is nothing at /b"),
            (json!({"op": "add", "path": "b", "value": 1}), "the path \"b\" does not begin with a slash"),
            (json!({"op": "add", "path": "/a/b", "value": 1}), "/a is neither an object nor a list"),
            (json!({"op": "add", "path": "/a/b/c", "value": 1}), "/a is neither an object nor a list"),
            (json!({"op": "add", "path": "/list/3", "value": 1}), "\"3\" is no index of the list, which has 1 items"),
            (json!({"op": "add", "path": "/list/x", "value": 1}), "\"x\" is no index of the list, which has 1 items"),
            (
                json!({"op": "add", "path": "/new/4000000000", "value": 1}),
                "\"4000000000\" is no index of a list that is to be created",
            ),
        ] {
            let result = patched(json!({"a": 1, "list": [0]}), json!([patch]));
            assert_eq!(result, Err(format!("jsonPatches[0]: {reason}")), "{patch}");
        }
    }
}
