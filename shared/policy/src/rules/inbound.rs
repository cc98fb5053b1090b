//! Rules about incoming traffic.
//!
//! Source: Kuma `pkg/plugins/policies/core/rules/inbound`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::RuleOrigin;
use crate::merge::merge;
use crate::policy::{Item, Policy};

/// One entry about incoming traffic. Entries are kept apart, not merged.
#[derive(Debug, Clone)]
pub struct InboundRule {
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// True when the entry is one of `from`, which some kinds treat as rules.
    pub from: bool,
}

impl InboundRule {
    /// The entry.
    pub fn item(&self) -> &Item {
        let list = if self.from { &self.origin.policy.from } else { &self.origin.policy.rules };
        &list[self.origin.index]
    }

    /// Its configuration.
    pub fn conf(&self) -> &Value {
        &self.item().conf
    }
}

/// The entries of the policies that select an inbound, weakest first. Of a policy with `rules`, `from` is ignored.
pub fn inbound_rules(policies: &[Arc<Policy>]) -> Vec<InboundRule> {
    let mut rules: Vec<InboundRule> = Vec::new();
    for policy in policies {
        let from = policy.rules.is_empty();
        let list = match from {
            false => &policy.rules,
            true if policy.from_as_rules => &policy.from,
            true => continue,
        };
        let origin = |index| RuleOrigin { policy: Arc::clone(policy), index };
        rules.extend((0..list.len()).map(|index| InboundRule { origin: origin(index), from }));
    }
    rules.sort_by(|a, b| {
        let (a, b) = (&a.origin.policy, &b.origin.policy);
        a.cmp_attributes(b).then_with(|| a.cmp_name(b))
    });
    rules
}

/// The configuration of all traffic: all entries merged; empty without any.
pub fn merged_inbound(rules: &[InboundRule]) -> Value {
    let confs: Vec<&Value> = rules.iter().map(InboundRule::conf).collect();
    let merged = rules.first().map(|rule| merge(rule.origin.policy.kind(), &confs));
    merged.and_then(|merged| merged.into_iter().next()).unwrap_or_else(|| Value::Object(Map::new()))
}
