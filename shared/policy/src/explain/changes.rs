//! What differs between two explanations of the same proxy.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{InboundRule, KindExplanation, Outcome};
use super::report::RuleChange;

/// The rules that differ, sorted by what they are about.
pub fn changed_rules(before: Option<&KindExplanation>, after: Option<&KindExplanation>) -> Vec<RuleChange> {
    let Some(kind) = before.or(after).map(|explanation| explanation.kind.clone()) else { return Vec::new() };
    let (mut before, after) = (rules(before), rules(after));
    let mut changes = Vec::new();
    for (about, after) in after {
        let before = before.remove(&about);
        if before.as_ref() != Some(&after) {
            changes.push(RuleChange { kind: kind.clone(), about, before, after: Some(after) });
        }
    }
    let gone = before.into_iter();
    changes.extend(gone.map(|(about, before)| RuleChange {
        kind: kind.clone(),
        about,
        before: Some(before),
        after: None,
    }));
    changes.sort_by(|a, b| a.about.cmp(&b.about));
    changes
}

/// What holds, by what it is about.
fn rules(explanation: Option<&KindExplanation>) -> BTreeMap<String, Value> {
    let mut rules = BTreeMap::new();
    let Some(explanation) = explanation else { return rules };
    for rule in &explanation.outbound {
        for destination in &rule.destinations {
            let route = destination.route.iter().map(|route| format!(" route {route}")).collect::<String>();
            rules.insert(format!("to {} {}{route}", destination.kind, destination.name), conf(&rule.outcome));
        }
    }
    let mut inbounds: BTreeMap<String, Vec<&InboundRule>> = BTreeMap::new();
    for rule in &explanation.inbound {
        for inbound in &rule.inbounds {
            inbounds.entry(format!("inbound {}{}", inbound.section, clients(rule))).or_default().push(rule);
        }
    }
    rules.extend(inbounds.into_iter().map(|(about, entries)| match entries.as_slice() {
        [merged] if merged.matches.is_none() => (about, conf(&merged.outcome)),
        // Entries that are not merged: all of them in order are the rule.
        entries => (about, entries.iter().map(|rule| entry(rule)).collect()),
    }));
    rules.extend(explanation.proxy.iter().map(|rule| ("proxy".to_owned(), conf(&rule.outcome))));
    rules
}

fn entry(rule: &InboundRule) -> Value {
    serde_json::json!({ "matches": rule.matches, "default": conf(&rule.outcome) })
}

fn clients(rule: &InboundRule) -> String {
    let tag = |tag: &super::ClientTag| format!("{}{}{}", tag.key, if tag.not { "!=" } else { "=" }, tag.value);
    match rule.clients.as_slice() {
        [] => String::new(),
        tags => format!(" from {}", tags.iter().map(tag).collect::<Vec<_>>().join(",")),
    }
}

/// One configuration as it is, several as a list.
fn conf(outcome: &Outcome) -> Value {
    match outcome.configurations.as_slice() {
        [one] => one.conf.clone(),
        several => several.iter().map(|configuration| configuration.conf.clone()).collect(),
    }
}
