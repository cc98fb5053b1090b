//! Rules about sets described by tags.
//!
//! Source of the algorithm: Kuma `pkg/plugins/policies/core/rules/rules.go` and its design document 007.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::clique::maximal_cliques;
use super::{Entry, MAX_COMBINATIONS, Rule, RuleError, RuleOrigin, distinct_origins, entries, origins_by_matches};
use crate::merge::merge;
use crate::policy::Policy;
use crate::subset::{Subset, combinations};
use crate::target_ref::TargetRef;

/// Rules about clients, from `from` of policies in order of precedence. Kinds without `from` have none.
///
/// # Errors
/// When an entry has no form in tags, or the tags combine in too many ways.
pub fn from_rules(policies: &[Arc<Policy>]) -> Result<Vec<Rule>, RuleError> {
    let entries: Vec<Entry<'_>> = policies.iter().flat_map(|policy| entries(policy, &policy.from)).collect();
    build(&entries, true)
}

/// The rule about the proxy itself, from policies in order of precedence: none, or one about everything.
///
/// # Errors
/// Never in practice: the entries are about the whole mesh.
pub fn single_item_rules(policies: &[Arc<Policy>]) -> Result<Vec<Rule>, RuleError> {
    let entry = |policy: &'_ Arc<Policy>| RuleOrigin { policy: Arc::clone(policy), index: 0 };
    let entries: Vec<Entry<'_>> = policies
        .iter()
        .filter(|policy| policy.is_single_item())
        .filter_map(|policy| {
            Some(Entry { target: TargetRef::mesh(), conf: policy.default.as_ref()?, origin: entry(policy) })
        })
        .collect();
    build(&entries, false)
}

/// Builds rules from entries in order of precedence. With `negations`, the sets are split so that the first match is
/// always right for sets described by "not"; without, the sets overlap and the most specific comes first.
pub(crate) fn build(entries: &[Entry<'_>], negations: bool) -> Result<Vec<Rule>, RuleError> {
    let mut items = Vec::new();
    for entry in entries.iter().filter(|entry| entry.target.kind.has_tag_form()) {
        let tags = entry.target.as_tags().ok_or(RuleError::NoTags(entry.target.kind))?;
        items.push((Subset::of(&tags), entry));
    }
    let keys: BTreeSet<&str> =
        items.iter().flat_map(|(subset, _)| subset.conditions()).map(|tag| tag.key.as_str()).collect();
    let mut rules = Vec::new();
    if !negations && keys.len() <= 1 {
        rules = rules_by_value(&items);
    } else {
        for group in groups(&items)? {
            let tags: BTreeSet<(String, String)> = group
                .iter()
                .flat_map(|index| items[*index].0.conditions())
                .map(|tag| (tag.key.clone(), tag.value.clone()))
                .collect();
            let subsets = combinations(&tags, MAX_COMBINATIONS).ok_or(RuleError::TooManyCombinations)?;
            if rules.len() + subsets.len() > MAX_COMBINATIONS {
                return Err(RuleError::TooManyCombinations);
            }
            for subset in subsets {
                rules.extend(rules_of(&subset, &items));
            }
        }
    }
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.subset.positive_count()));
    Ok(rules)
}

/// The rules about sets that differ in the value of one tag, or are everything, in order of first appearance.
fn rules_by_value(items: &[(Subset, &Entry<'_>)]) -> Vec<Rule> {
    let everything = Subset::default();
    let mut positions: HashMap<&Subset, Vec<usize>> = HashMap::new();
    let mut sets: Vec<&Subset> = Vec::new();
    for (position, (subset, _)) in items.iter().enumerate() {
        let known = positions.entry(subset).or_default();
        if known.is_empty() {
            sets.push(subset);
        }
        known.push(position);
    }
    let about = |subset: &Subset| {
        let own = positions.get(subset).into_iter().flatten();
        let of_all = positions.get(&everything).filter(|_| *subset != everything).into_iter().flatten();
        let mut about: Vec<usize> = own.chain(of_all).copied().collect();
        about.sort_unstable();
        about.into_iter().map(|position| items[position].1).collect::<Vec<_>>()
    };
    sets.into_iter().flat_map(|subset| rules_about(subset, &about(subset))).collect()
}

/// Groups of overlapping entries, in the order in which users see their rules: by the text of their indexes, descending.
fn groups(items: &[(Subset, &Entry<'_>)]) -> Result<Vec<Vec<usize>>, RuleError> {
    let adjacent: Vec<Vec<bool>> = items
        .iter()
        .enumerate()
        .map(|(i, (one, _))| items.iter().enumerate().map(|(j, (other, _))| i != j && one.intersects(other)).collect())
        .collect();
    let text = |group: &Vec<usize>| group.iter().map(usize::to_string).collect::<Vec<_>>().join(":");
    let mut groups = maximal_cliques(&adjacent, MAX_COMBINATIONS).ok_or(RuleError::TooManyCombinations)?;
    groups.sort_by_cached_key(|group| std::cmp::Reverse(text(group)));
    Ok(groups)
}

/// The rules about one set: none, or one per merged configuration.
fn rules_of(subset: &Subset, items: &[(Subset, &Entry<'_>)]) -> Vec<Rule> {
    let relevant: Vec<&Entry<'_>> =
        items.iter().filter(|(item, _)| item.is_superset_of(subset)).map(|(_, entry)| *entry).collect();
    rules_about(subset, &relevant)
}

/// As [`rules_of`], from the entries that are about the set.
fn rules_about(subset: &Subset, relevant: &[&Entry<'_>]) -> Vec<Rule> {
    let Some(first) = relevant.first() else { return Vec::new() };
    let confs: Vec<_> = relevant.iter().map(|entry| entry.conf).collect();
    let entries = distinct_origins(relevant.iter().map(|entry| &entry.origin));
    let origins: Vec<RuleOrigin> = entries.iter().map(|entry| RuleOrigin { index: 0, ..entry.clone() }).collect();
    let origins: Vec<Arc<Policy>> = distinct_origins(origins.iter()).into_iter().map(|origin| origin.policy).collect();
    let by_matches: BTreeMap<String, Arc<Policy>> =
        origins_by_matches(relevant).into_iter().map(|(hash, origin)| (hash, origin.policy)).collect();
    merge(first.origin.policy.kind(), &confs)
        .into_iter()
        .map(|conf| Rule {
            subset: subset.clone(),
            conf,
            origins: origins.clone(),
            entries: entries.clone(),
            origin_by_matches: by_matches.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;
    use serde_json::{Value, json};
    use tandem_model::kind::Kind;

    fn shown(rules: &[Rule]) -> Vec<String> {
        let show = |rule: &Rule| {
            let subset: Vec<String> = rule
                .subset
                .conditions()
                .iter()
                .map(|tag| format!("{}{}{}", tag.key, if tag.not { "!=" } else { "=" }, tag.value))
                .collect();
            format!("{} {}", subset.join(","), rule.conf["action"].as_str().unwrap_or_default())
        };
        rules.iter().map(show).collect()
    }

    fn permission(from: &[(&str, &str)]) -> Arc<Policy> {
        let from: Vec<Value> = from
            .iter()
            .map(|(app, action)| {
                let target = match *app {
                    "" => json!({"kind": "Mesh"}),
                    app => json!({"kind": "MeshSubset", "tags": {"app": app}}),
                };
                json!({"targetRef": target, "default": {"action": action}})
            })
            .collect();
        Arc::new(policy(Kind::MeshTrafficPermission, "p", json!({"from": from})))
    }

    #[test]
    fn overlapping_clients_are_told_apart() {
        let policy = permission(&[("", "Deny"), ("ui", "Allow"), ("order", "Allow")]);
        let rules = from_rules(&[policy]).expect("all kinds have tags");
        assert_eq!(shown(&rules), ["app=order Allow", "app=ui Allow", "app!=order Deny", "app!=ui Deny"]);
    }

    #[test]
    fn tags_that_combine_in_too_many_ways_are_an_error() {
        let from: Vec<Value> = (0..40)
            .map(|key| {
                let target = json!({"kind": "MeshSubset", "tags": {format!("key-{key}"): "x"}});
                json!({"targetRef": target, "default": {"action": "Allow"}})
            })
            .collect();
        let policy = Arc::new(policy(Kind::MeshTrafficPermission, "p", json!({"from": from})));
        assert_eq!(from_rules(&[policy]).expect_err("2^40 combinations"), RuleError::TooManyCombinations);
    }

    #[test]
    fn everything_alone_is_one_rule() {
        let rules = from_rules(&[permission(&[("", "Deny")]), permission(&[("", "Allow")])]).expect("tags");
        assert_eq!(shown(&rules), [" Allow"]);
        assert_eq!(rules[0].origins.len(), 1, "equal keys count once");
    }
}
