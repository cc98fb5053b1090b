//! Rules about incoming traffic.

use serde_json::Value;

use super::answer::{ClientTag, Inbound, InboundRule, Outcome};
use super::{List, Scene, outcome};
use crate::matching::Matched;
use crate::rules::{self, Unusable, inbound_rules, merged_inbound, usable_from_rules};
use crate::subject::InboundKey;

/// What policies amount to for each inbound of the proxy, or each port of a builtin gateway.
pub(super) fn rules(scene: &Scene<'_>, matched: &Matched, unusable: &mut Unusable) -> Vec<InboundRule> {
    let mut all: Vec<InboundRule> = Vec::new();
    for (key, inbound) in inbounds(scene) {
        let policies = matched.by_inbound.get(&key).map(Vec::as_slice).unwrap_or_default();
        let entries = inbound_rules(policies);
        let of_inbound = if entries.is_empty() {
            let (rules, more) = usable_from_rules(policies);
            unusable.extend(more);
            rules.iter().map(|rule| by_clients(scene, rule)).collect()
        } else if entries.iter().all(|entry| entry.origin.policy.from_as_rules) {
            let merged = merged_inbound(&entries);
            let entries = entries.iter().map(|entry| (list(entry), &entry.origin));
            vec![(Vec::new(), None, outcome(scene.kind, entries, &[merged]))]
        } else {
            entries.iter().map(|entry| alone(scene, entry)).collect()
        };
        for (clients, matches, outcome) in of_inbound {
            let same = all
                .iter_mut()
                .find(|rule| rule.clients == clients && rule.matches == matches && rule.outcome == outcome);
            match same {
                Some(rule) => rule.inbounds.push(inbound.clone()),
                None => all.push(InboundRule { inbounds: vec![inbound.clone()], clients, matches, outcome }),
            }
        }
    }
    all
}

fn inbounds(scene: &Scene<'_>) -> Vec<(InboundKey, Inbound)> {
    let inbound =
        |key: &InboundKey, section: String| (key.clone(), Inbound { section, port: key.port, resources: Vec::new() });
    let subject = scene.subject;
    let own = subject.inbounds.iter().map(|own| inbound(&own.key, own.section.clone()));
    let mut all: Vec<(InboundKey, Inbound)> = own.collect();
    for listener in &subject.listeners {
        if !all.iter().any(|(key, _)| *key == listener.key) {
            all.push(inbound(&listener.key, format!("{}:{}", listener.key.port, listener.hostname)));
        }
    }
    all
}

fn list(rule: &rules::InboundRule) -> List {
    if rule.from { List::From } else { List::Rules }
}

type Explained = (Vec<ClientTag>, Option<Value>, Outcome);

/// A rule about clients with some tags.
fn by_clients(scene: &Scene<'_>, rule: &rules::Rule) -> Explained {
    let conditions = rule.subset.conditions().iter();
    let clients = conditions.map(|tag| ClientTag { key: tag.key.clone(), value: tag.value.clone(), not: tag.not });
    let entries = rule.entries.iter().map(|entry| (List::From, entry));
    (clients.collect(), None, outcome(scene.kind, entries, std::slice::from_ref(&rule.conf)))
}

/// An entry that is not merged with others.
fn alone(scene: &Scene<'_>, rule: &rules::InboundRule) -> Explained {
    let outcome = outcome(scene.kind, [(list(rule), &rule.origin)], std::slice::from_ref(rule.conf()));
    (Vec::new(), rule.item().matches.clone(), outcome)
}
