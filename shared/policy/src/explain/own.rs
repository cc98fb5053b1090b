//! The rule about the proxy itself.

use std::sync::Arc;

use super::answer::ProxyRule;
use super::{List, outcome};
use crate::policy::Policy;
use crate::rules::single_item_rules;

/// What policies, weakest first, amount to for the proxy itself.
pub(super) fn rule(policies: &[Arc<Policy>]) -> Option<ProxyRule> {
    let kind = policies.first()?.kind();
    // Without conditions there is nothing that could fail.
    let rule = single_item_rules(policies).ok()?.into_iter().next()?;
    let entries = rule.entries.iter().map(|entry| (List::Default, entry));
    Some(ProxyRule { resources: Vec::new(), outcome: outcome(kind, entries, std::slice::from_ref(&rule.conf)) })
}
