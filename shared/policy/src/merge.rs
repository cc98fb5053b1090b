//! Folding the configurations of several policies into one.
//!
//! Source of the definition: Kuma `pkg/plugins/policies/core/rules/merge/merge.go`.

use serde_json::{Map, Value};
use tandem_model::kind::Kind;

/// Merges configurations of one kind, later ones overriding earlier ones.
///
/// Objects merge member by member; anything else, lists included, replaces what was there. Lists whose name starts
/// with `append` are joined instead. Routes are special: the result is one configuration per hostname, rules with equal
/// matches become one, and rules of stronger policies come first.
pub fn merge(kind: Kind, confs: &[&Value]) -> Vec<Value> {
    if kind != Kind::MeshHTTPRoute {
        return if confs.is_empty() { Vec::new() } else { vec![overlay(confs)] };
    }
    let mut groups: Vec<(Option<&str>, Vec<&Value>)> = Vec::new();
    let mut add = |hostname, conf| match groups.iter_mut().find(|(name, _)| *name == hostname) {
        Some((_, members)) => members.push(conf),
        None => groups.push((hostname, vec![conf])),
    };
    for conf in confs {
        let hostnames: Vec<&str> =
            conf["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if hostnames.is_empty() {
            add(None, *conf);
        }
        for hostname in hostnames {
            add(Some(hostname), conf);
        }
    }
    groups.into_iter().map(|(hostname, confs)| merge_routes(hostname, &confs)).collect()
}

/// RFC 7396 merge of all, then the lists to be joined.
fn overlay(confs: &[&Value]) -> Value {
    let mut merged = Value::Object(Map::new());
    for conf in confs {
        patch(&mut merged, conf);
    }
    join_lists(&mut merged, confs);
    merged
}

fn patch(target: &mut Value, overlay: &Value) {
    let (Value::Object(target), Value::Object(overlay)) = (&mut *target, overlay) else {
        *target = overlay.clone();
        return;
    };
    for (key, value) in overlay {
        match target.get_mut(key) {
            Some(existing) if existing.is_object() && value.is_object() => patch(existing, value),
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

fn join_lists(merged: &mut Value, confs: &[&Value]) {
    let Value::Object(members) = merged else { return };
    for (key, value) in members {
        let parts: Vec<&Value> = confs.iter().filter_map(|conf| conf.get(key)).collect();
        match value {
            Value::Object(_) => join_lists(value, &parts),
            Value::Array(list) if key.starts_with("append") => {
                *list = parts.iter().filter_map(|part| part.as_array()).flatten().cloned().collect();
            }
            _ => {}
        }
    }
}

/// Merges the routes of one hostname. A configuration holds its rules in reverse, so that, read from its end, the
/// concatenation of all has the strongest policy first and every policy's rules in their own order.
fn merge_routes(hostname: Option<&str>, confs: &[&Value]) -> Value {
    let mut merged: Vec<(&Value, Vec<&Value>)> = Vec::new();
    for rule in confs.iter().filter_map(|conf| conf["rules"].as_array()).flatten() {
        let (matches, default) = (&rule["matches"], &rule["default"]);
        let mut defaults = match merged.iter().position(|(known, _)| *known == matches) {
            Some(index) => merged.remove(index).1,
            None => Vec::new(),
        };
        defaults.push(default);
        merged.push((matches, defaults));
    }
    let rules = merged.into_iter().rev().map(|(matches, defaults)| {
        Value::Object(Map::from_iter([
            ("matches".to_owned(), matches.clone()),
            ("default".to_owned(), overlay(&defaults)),
        ]))
    });
    let mut conf = Map::from_iter([("rules".to_owned(), Value::Array(rules.collect()))]);
    if let Some(hostname) = hostname {
        conf.insert("hostnames".to_owned(), Value::Array(vec![Value::String(hostname.to_owned())]));
    }
    Value::Object(conf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(kind: Kind, confs: &[Value]) -> Vec<Value> {
        merge(kind, &confs.iter().collect::<Vec<_>>())
    }

    #[test]
    fn objects_merge_and_lists_replace() {
        let confs = [json!({"http": {"a": 1, "list": [1, 2]}, "x": true}), json!({"http": {"b": 2, "list": []}})];
        assert_eq!(merged(Kind::MeshRetry, &confs), [json!({"http": {"a": 1, "b": 2, "list": []}, "x": true})]);
        assert_eq!(merged(Kind::MeshRetry, &[]), Vec::<Value>::new());
    }

    #[test]
    fn append_lists_join() {
        let confs = [json!({"s": {"appendX": [1]}}), json!({"s": {"appendX": [2, 3]}})];
        assert_eq!(merged(Kind::MeshMetric, &confs), [json!({"s": {"appendX": [1, 2, 3]}})]);
    }

    #[test]
    fn equal_matches_become_one_rule_of_the_strongest_policy() {
        let rule = |path: &str, default: Value| json!({"matches": [path], "default": default});
        let weak = json!({"rules": [rule("/b", json!({"f": 1})), rule("/a", json!({"f": 1, "g": 1}))]});
        let strong = json!({"rules": [rule("/a", json!({"f": 2}))]});
        assert_eq!(
            merged(Kind::MeshHTTPRoute, &[weak, strong]),
            [json!({"rules": [rule("/a", json!({"f": 2, "g": 1})), rule("/b", json!({"f": 1}))]})]
        );
    }

    #[test]
    fn routes_split_by_hostname() {
        let rule = json!({"matches": ["/"], "default": {}});
        let conf = json!({"rules": [rule], "hostnames": ["a.com", "b.com"]});
        let expected = |host: &str| json!({"rules": [rule], "hostnames": [host]});
        assert_eq!(merged(Kind::MeshHTTPRoute, &[conf]), [expected("a.com"), expected("b.com")]);
    }
}
