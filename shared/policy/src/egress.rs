//! Policies at a ZoneEgress, which acts for all clients of a service outside the mesh.
//!
//! Source: Kuma `pkg/plugins/policies/core/matchers/egress.go`.

use std::sync::Arc;

use tandem_model::label;
use tandem_model::tags::{Tags, selects};

use crate::destinations::Destinations;
use crate::policy::Policy;
use crate::rules::{
    Entry, InboundRule, ResourceRules, Rule, RuleError, RuleOrigin, build_by_tags, from_rules, inbound_rules,
    resource_rules,
};
use crate::target_ref::{TargetKind, TargetRef};

/// What policies of one kind amount to at a ZoneEgress, for one service.
#[derive(Debug, Clone, Default)]
pub struct EgressRules {
    /// Rules about clients. For kinds with `to` only: what clients configured for the service, by client.
    pub rules: Vec<Rule>,
    /// Rules about traffic to the service, for kinds that have them.
    pub inbound_rules: Option<Vec<InboundRule>>,
    /// Rules about destinations that are resources.
    pub resource_rules: ResourceRules,
}

/// Computes the rules for a service with these tags from policies of one kind, given in stored order. Shadow policies
/// have no effect.
///
/// # Errors
/// When a policy has no form in tags.
pub fn egress_rules(
    policies: &[Arc<Policy>],
    service: &Tags,
    destinations: &Destinations,
) -> Result<EgressRules, RuleError> {
    let policies: Vec<Arc<Policy>> = policies.iter().filter(|policy| !policy.is_shadow()).cloned().collect();
    let Some(traits) = policies.first().map(|policy| policy.traits) else { return Ok(EgressRules::default()) };
    let mut rules = EgressRules::default();
    if traits.from {
        let mut selected: Vec<Arc<Policy>> =
            policies.iter().filter(|policy| selects_service(&policy.target, service)).cloned().collect();
        selected.sort_by(|a, b| a.cmp_precedence(b));
        rules.rules = from_rules(&selected)?;
        rules.inbound_rules = traits.rules.then(|| inbound_rules(&selected));
    } else if traits.to {
        rules.rules = inverted_rules(&policies, service)?;
    }
    if traits.to {
        rules.resource_rules = resource_rules(&policies, destinations);
    }
    Ok(rules)
}

/// Turns "these clients, to this service" round into "at this service, from these clients".
fn inverted_rules(policies: &[Arc<Policy>], service: &Tags) -> Result<Vec<Rule>, RuleError> {
    let mut selected: Vec<&Arc<Policy>> = policies
        .iter()
        .flat_map(|policy| policy.to.iter().filter(|item| selects_service(&item.target, service)).map(move |_| policy))
        .collect();
    selected.sort_by(|a, b| a.cmp_precedence(b));
    let entries: Vec<Entry<'_>> = selected
        .into_iter()
        .flat_map(|policy| {
            policy.to.iter().filter(|item| selects_service(&item.target, service)).map(move |item| Entry {
                target: policy.target.clone(),
                conf: &item.conf,
                origin: RuleOrigin { policy: Arc::clone(policy), index: 0 },
            })
        })
        .collect();
    build_by_tags(&entries, false)
}

/// True when a reference is about a service with these tags.
pub(crate) fn selects_service(target: &TargetRef, service: &Tags) -> bool {
    let none = Tags::new();
    let tags = target.tags.as_ref().unwrap_or(&none);
    let named = || service.get(label::SERVICE_TAG).is_some_and(|name| name == target.name());
    match target.kind {
        TargetKind::Mesh => true,
        TargetKind::MeshSubset => selects(tags, service),
        TargetKind::MeshService => named(),
        TargetKind::MeshServiceSubset => named() && selects(tags, service),
        _ => false,
    }
}
