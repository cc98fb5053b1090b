//! Which entry each part of a merged configuration is from.
//!
//! Read off the result: of the entries that say something at the place of a field, the strongest one is its source, and the
//! others are overridden. How configurations are merged is known to [`crate::merge`] alone.

use serde_json::Value;
use tandem_model::kind::Kind;

use super::answer::{Configuration, Contribution, Field, Overridden};

/// What an entry says at one place.
#[derive(Clone, Copy)]
struct Part<'a> {
    from: &'a Contribution,
    value: &'a Value,
}

/// The fields of a configuration that was merged from these entries, weakest first.
pub(super) fn attributed(kind: Kind, conf: &Value, merged: &[(Contribution, &Value)]) -> Configuration {
    let parts: Vec<Part<'_>> = merged.iter().map(|(from, value)| Part { from, value }).collect();
    let mut fields = Vec::new();
    if kind == Kind::MeshHTTPRoute {
        routes(conf, &parts, &mut fields);
    } else {
        walk(String::new(), false, conf, &parts, &mut fields);
    }
    Configuration { conf: conf.clone(), fields }
}

/// `joined`: lists here consist of those of all entries.
fn walk(path: String, joined: bool, value: &Value, parts: &[Part<'_>], fields: &mut Vec<Field>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let parts: Vec<Part<'_>> =
                    parts.iter().filter_map(|part| Some(Part { value: part.value.get(name)?, ..*part })).collect();
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                walk(path, name.starts_with("append"), member, &parts, fields);
            }
        }
        Value::Array(_) if joined => {
            let elements =
                parts.iter().flat_map(|part| part.value.as_array().into_iter().flatten().map(move |e| (part, e)));
            fields.extend(elements.enumerate().map(|(index, (part, element))| Field {
                path: format!("{path}/{index}"),
                value: element.clone(),
                policy: part.from.policy.clone(),
                entry: part.from.entry.clone(),
                overrides: Vec::new(),
            }));
        }
        value => {
            let Some((source, weaker)) = parts.split_last() else { return };
            let overridden = |part: &Part<'_>| Overridden {
                policy: part.from.policy.clone(),
                entry: part.from.entry.clone(),
                value: part.value.clone(),
            };
            fields.push(Field {
                path,
                value: value.clone(),
                policy: source.from.policy.clone(),
                entry: source.from.entry.clone(),
                overrides: weaker.iter().map(overridden).collect(),
            });
        }
    }
}

/// Rules of routes are merged with those that have the same matches, for each host name apart.
fn routes(conf: &Value, parts: &[Part<'_>], fields: &mut Vec<Field>) {
    let host = conf["hostnames"].get(0);
    let about_host = |part: &&Part<'_>| {
        let hosts = part.value["hostnames"].as_array().filter(|hosts| !hosts.is_empty());
        match (host, hosts) {
            (None, hosts) => hosts.is_none(),
            (Some(host), hosts) => hosts.is_some_and(|hosts| hosts.contains(host)),
        }
    };
    let parts: Vec<&Part<'_>> = parts.iter().filter(about_host).collect();
    for (index, rule) in conf["rules"].as_array().into_iter().flatten().enumerate() {
        let same: Vec<(&Part<'_>, &Value)> = parts
            .iter()
            .flat_map(|part| part.value["rules"].as_array().into_iter().flatten().map(move |rule| (*part, rule)))
            .filter(|(_, own)| own["matches"] == rule["matches"])
            .collect();
        if let Some((part, _)) = same.last() {
            fields.push(Field {
                path: format!("/rules/{index}/matches"),
                value: rule["matches"].clone(),
                policy: part.from.policy.clone(),
                entry: part.from.entry.clone(),
                overrides: Vec::new(),
            });
        }
        let defaults: Vec<Part<'_>> =
            same.iter().map(|(part, rule)| Part { value: &rule["default"], ..**part }).collect();
        walk(format!("/rules/{index}/default"), false, &rule["default"], &defaults, fields);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::merge::merge;

    fn named(confs: &[Value]) -> Vec<(Contribution, &Value)> {
        let entry = |index| Contribution { policy: format!("p{index}"), entry: "to[0]".into(), stronger_by: None };
        confs.iter().enumerate().map(|(index, conf)| (entry(index), conf)).collect()
    }

    fn explained(kind: Kind, confs: &[Value]) -> Vec<Configuration> {
        let merged = merge(kind, &confs.iter().collect::<Vec<_>>());
        merged.iter().map(|conf| attributed(kind, conf, &named(confs))).collect()
    }

    fn shown(fields: &[Field]) -> Vec<String> {
        let show = |field: &Field| {
            let over: Vec<String> =
                field.overrides.iter().map(|weaker| format!("{}={}", weaker.policy, weaker.value)).collect();
            format!("{}={} {} over [{}]", field.path, field.value, field.policy, over.join(" "))
        };
        fields.iter().map(show).collect()
    }

    #[test]
    fn a_field_is_from_the_strongest_entry_that_sets_it() {
        let confs = [
            json!({"http": {"requestTimeout": "1s", "streamIdleTimeout": "2s"}, "idleTimeout": "3s"}),
            json!({"http": {"requestTimeout": "4s"}}),
            json!({"http": {"requestTimeout": "5s"}, "connectionTimeout": "6s"}),
        ];
        assert_eq!(
            shown(&explained(Kind::MeshTimeout, &confs)[0].fields),
            [
                r#"/http/requestTimeout="5s" p2 over [p0="1s" p1="4s"]"#,
                r#"/http/streamIdleTimeout="2s" p0 over []"#,
                r#"/idleTimeout="3s" p0 over []"#,
                r#"/connectionTimeout="6s" p2 over []"#,
            ]
        );
    }

    #[test]
    fn lists_are_one_field_unless_they_are_joined() {
        let confs = [json!({"a/b": [1], "appendX": [1, 2]}), json!({"a/b": [], "appendX": [3]})];
        assert_eq!(
            shown(&explained(Kind::MeshProxyPatch, &confs)[0].fields),
            [
                "/a~1b=[] p1 over [p0=[1]]",
                "/appendX/0=1 p0 over []",
                "/appendX/1=2 p0 over []",
                "/appendX/2=3 p1 over []"
            ]
        );
    }

    #[test]
    fn rules_of_routes_are_told_apart_by_matches_and_host() {
        let rule = |path: &str, default: Value| json!({"matches": [path], "default": default});
        let confs = [
            json!({"rules": [rule("/b", json!({"f": 1})), rule("/a", json!({"f": 1, "g": 1}))]}),
            json!({"rules": [rule("/a", json!({"f": 2}))]}),
            json!({"rules": [rule("/a", json!({"f": 3}))], "hostnames": ["x.com"]}),
        ];
        let explained = explained(Kind::MeshHTTPRoute, &confs);
        assert_eq!(
            shown(&explained[0].fields),
            [
                r#"/rules/0/matches=["/a"] p1 over []"#,
                "/rules/0/default/f=2 p1 over [p0=1]",
                "/rules/0/default/g=1 p0 over []",
                r#"/rules/1/matches=["/b"] p0 over []"#,
                "/rules/1/default/f=1 p0 over []",
            ]
        );
        assert_eq!(shown(&explained[1].fields)[1], "/rules/0/default/f=3 p2 over []");
    }

    fn conf() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3u8).prop_map(Value::from), Just(json!([1]))];
        let name = || "[abc]|appendX";
        leaf.prop_recursive(3, 12, 3, move |inner| {
            prop::collection::btree_map(name(), inner, 0..4).prop_map(|members| json!(members))
        })
        .prop_map(|value| if value.is_object() { value } else { json!({ "a": value }) })
    }

    proptest! {
        /// Whatever is merged, every leaf of the result is a field with its value, and the entry it is said to be from says so.
        #[test]
        fn fields_are_the_result_and_their_sources_say_so(confs in prop::collection::vec(conf(), 1..5)) {
            for explained in explained(Kind::MeshTimeout, &confs) {
                for field in &explained.fields {
                    prop_assert_eq!(explained.conf.pointer(&field.path), Some(&field.value));
                    let index: usize = field.policy[1..].parse().expect("a number");
                    if !field.path.contains("/append") {
                        prop_assert_eq!(confs[index].pointer(&field.path), Some(&field.value));
                        prop_assert!(confs[index + 1..].iter().all(|later| later.pointer(&field.path).is_none()));
                    }
                }
                prop_assert_eq!(explained.fields.len(), leaves(&explained.conf, false));
            }
        }
    }

    fn leaves(value: &Value, joined: bool) -> usize {
        match value {
            Value::Object(members) if !members.is_empty() => {
                members.iter().map(|(name, member)| leaves(member, name.starts_with("append"))).sum()
            }
            Value::Array(list) if joined => list.len(),
            _ => 1,
        }
    }
}
