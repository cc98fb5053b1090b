//! Results in the shape of the expected files, whose members bear the names of Kuma's types.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tandem_model::resource::{Resource, Spec};
use tandem_policy::policy::Policy;
use tandem_policy::rules::{InboundRule, ResourceRules, Rule, RuleOrigin, ToRules};

use crate::meta::{Metas, rest};

/// A value in which a container that is empty and one that is absent look the same. Within configurations, which keep
/// empty lists apart from absent ones, nothing changes.
pub fn normal(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: Map<String, Value> = members
                .iter()
                .map(|(name, value)| {
                    let is_conf = matches!(name.as_str(), "Conf" | "conf" | "spec" | "Entry");
                    (name.clone(), if is_conf { value.clone() } else { normal(value) })
                })
                .filter(|(_, value)| !value.is_null())
                .collect();
            if members.is_empty() { Value::Null } else { Value::Object(members) }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(normal).collect(),
        value => value.clone(),
    }
}

pub fn rules(rules: &[Rule], metas: &Metas) -> Value {
    rules
        .iter()
        .map(|rule| {
            let subset: Vec<Value> = rule
                .subset
                .conditions()
                .iter()
                .map(|tag| json!({"Key": tag.key, "Value": tag.value, "Not": tag.not}))
                .collect();
            let origins: Vec<Value> = rule.origins.iter().map(|policy| metas.show(&policy.resource)).collect();
            let by_matches: BTreeMap<&String, Value> =
                rule.origin_by_matches.iter().map(|(hash, policy)| (hash, metas.show(&policy.resource))).collect();
            json!({"Subset": subset, "Conf": rule.conf, "Origin": origins, "OriginByMatches": by_matches})
        })
        .collect()
}

fn origin(origin: &RuleOrigin, metas: &Metas) -> Value {
    json!({"Resource": metas.show(&origin.policy.resource), "RuleIndex": origin.index})
}

pub fn resource_rules(rules: &ResourceRules, metas: &Metas) -> Value {
    let show = |rule: &tandem_policy::rules::ResourceRule| {
        let by_matches: BTreeMap<&String, Value> =
            rule.origin_by_matches.iter().map(|(hash, entry)| (hash, origin(entry, metas))).collect();
        json!({
            "Resource": metas.show(&rule.resource),
            "ResourceSectionName": rule.section,
            "Conf": rule.confs,
            "Origin": rule.origins.iter().map(|entry| origin(entry, metas)).collect::<Vec<_>>(),
            "OriginByMatches": by_matches,
        })
    };
    let rules = rules.0.iter().map(|(kri, rule)| (kri.to_string(), show(rule)));
    Value::Object(rules.collect())
}

pub fn to_rules(to: &ToRules, metas: &Metas) -> Value {
    json!({"Rules": rules(&to.rules, metas), "ResourceRules": resource_rules(&to.resource_rules, metas)})
}

pub fn inbound_rules(rules: &[InboundRule], metas: &Metas) -> Value {
    rules
        .iter()
        .map(|rule| {
            let item = rule.item();
            let mut entry = Map::from_iter([("default".to_owned(), item.conf.clone())]);
            if let Some(matches) = &item.matches {
                entry.insert("matches".to_owned(), matches.clone());
            }
            if rule.from {
                entry.insert("targetRef".to_owned(), json!(item.target));
                entry = Map::from_iter([("BaseEntry".to_owned(), Value::Object(entry))]);
            }
            json!({"conf": entry, "origin": origin(&rule.origin, metas)})
        })
        .collect()
}

/// An object with a member for every key.
pub fn by_key<K: Display, V>(map: &BTreeMap<K, V>, mut show: impl FnMut(&V) -> Value) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.to_string(), show(value))).collect())
}

/// A list of policies as the HTTP API shows it.
pub fn list(policies: &[Arc<Policy>]) -> Value {
    let items: Vec<Value> = policies.iter().map(|policy| with_spec(&policy.resource)).collect();
    json!({"items": items, "next": null, "total": 0})
}

fn with_spec(resource: &Resource) -> Value {
    let mut shown = rest(resource);
    if let Spec::Json(spec) = &resource.spec {
        let mut spec = spec.clone();
        tandem_policy::check(resource.kind(), &mut spec);
        shown["spec"] = spec;
    }
    shown
}
