//! Which of several routes that take a request gets it.
//!
//! Source of the order: Kuma `pkg/plugins/policies/meshhttproute/api/v1alpha1/compare.go`, which follows the Gateway API.

use std::cmp::{Ordering, Reverse};

use super::schema::{Match, PathMatch, PathMatchType};

/// Compares what takes precedence by how narrow it is: narrower is less. Conditions that are equally narrow tie.
pub fn cmp_precedence(one: &Match, other: &Match) -> Ordering {
    let count = |list: Option<usize>| Reverse(list.unwrap_or_default());
    let rest = |condition: &Match| {
        (
            condition.method.is_none(),
            count(condition.headers.as_ref().map(Vec::len)),
            count(condition.query_params.as_ref().map(Vec::len)),
        )
    };
    path_rank(one.path.as_ref()).cmp(&path_rank(other.path.as_ref())).then_with(|| rest(one).cmp(&rest(other)))
}

/// Exact paths, then prefixes, then patterns, then none; of two prefixes or patterns the longer one first.
fn path_rank(path: Option<&PathMatch>) -> (u8, Reverse<usize>) {
    let Some(PathMatch { value, kind }) = path else { return (3, Reverse(0)) };
    match kind {
        PathMatchType::Exact => (0, Reverse(0)),
        PathMatchType::PathPrefix => (1, Reverse(value.len())),
        PathMatchType::RegularExpression => (2, Reverse(value.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn condition(value: Value) -> Match {
        serde_json::from_value(value).expect("a match")
    }

    #[test]
    fn narrower_conditions_come_first() {
        let path = |kind: &str, value: &str| json!({"path": {"type": kind, "value": value}});
        let header = |name: &str| json!({"name": name, "value": "v"});
        let exact = |more: Value| {
            let mut exact = path("Exact", "/e");
            more.as_object().into_iter().flatten().for_each(|(key, value)| exact[key] = value.clone());
            exact
        };
        let narrowest_first = [
            exact(json!({"method": "GET"})),
            exact(json!({"headers": [header("a"), header("b")]})),
            exact(json!({"headers": [header("a")]})),
            exact(json!({"queryParams": [{"type": "Exact", "name": "q", "value": "1"}]})),
            path("Exact", "/other"),
            path("PathPrefix", "/prefix/more"),
            path("PathPrefix", "/prefix"),
            path("RegularExpression", "/longer.*"),
            path("RegularExpression", "/.*"),
            json!({"method": "POST"}),
            json!({"headers": [header("a")]}),
            json!({}),
        ];
        let conditions: Vec<Match> = narrowest_first.into_iter().map(condition).collect();
        for (index, one) in conditions.iter().enumerate() {
            for (other_index, other) in conditions.iter().enumerate() {
                assert_eq!(cmp_precedence(one, other), index.cmp(&other_index), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn equally_narrow_conditions_tie() {
        let exact = |value: &str| condition(json!({"path": {"type": "Exact", "value": value}}));
        assert_eq!(cmp_precedence(&exact("/a"), &exact("/longer")), Ordering::Equal);
    }
}
