//! Which clients `from` entries allow, in Envoy's terms.
//!
//! What an entry denies is denied, unless another one makes an exception to it ([`exceptions`](super::exceptions)); of the other
//! entries the strongest one about a client decides. Kuma renders the sets of its rules one by one, and where these overlap a
//! client can be allowed by one set although another denies it; here every allowed set excludes what is denied, so Envoy decides as
//! the entries do.

use std::sync::Arc;

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use tandem_model::label::SERVICE_TAG;

use super::exceptions::{Part, proxies};
use super::schema::{Action, Conf, RuleConf};
use crate::envoy::pb::rbac::principal::{Authenticated, Identifier, Set};
use crate::envoy::pb::rbac::{Permission, Policy as RbacPolicy, Principal, Rbac, permission, rbac};
use crate::policy::Policy;
use crate::rules::{InboundRule, from_rules};
use crate::schema::{SpiffeIdMatchType, SpiffeMatch};
use crate::subset::{Subset, TagCondition};

/// Name of the only policy in the rules.
const POLICY: &str = "MeshTrafficPermission";

/// What one entry says about its clients.
struct Decision<'a> {
    policy: &'a Arc<Policy>,
    clients: Subset,
    action: Action,
}

impl Decision<'_> {
    fn allows(&self) -> bool {
        self.action != Action::Deny
    }

    /// True when this Allow is an exception to a Deny that it stands above.
    fn excepts(&self, deny: &Decision<'_>) -> bool {
        let clients = match (deny.clients.is_superset_of(&self.clients), self.clients.is_superset_of(&deny.clients)) {
            (false, _) => Part::None,
            (true, true) => Part::All,
            (true, false) => Part::Some,
        };
        clients.and(proxies(self.policy, deny.policy)) == Part::Some
    }
}

/// Rules that allow what the `from` entries of policies, weakest first, allow; and rules that log what
/// [`Action::AllowWithShadowDeny`] would deny, if there is anything.
pub(super) fn rules(policies: &[Arc<Policy>], mesh: &str) -> (Rbac, Option<Rbac>) {
    let decisions = decisions(policies);
    let denied = denied(&decisions, mesh);
    let shadow = allowed(&decisions, Action::AllowWithShadowDeny, mesh);
    let mut allowed = allowed(&decisions, Action::Allow, mesh);
    allowed.extend(shadow.iter().cloned());
    let (allowed, shadow) = (without(allowed, &denied), without(shadow, &denied));
    (rules_for(rbac::Action::Allow, allowed), log_of(shadow))
}

/// As [`rules`], as Kuma makes them: the sets of clients that are told apart, one by one. Where there are too many of them, those
/// of [`rules`].
pub(super) fn rules_set_by_set(policies: &[Arc<Policy>], mesh: &str) -> (Rbac, Option<Rbac>) {
    let Ok(sets) = from_rules(policies) else { return rules(policies, mesh) };
    let principals = |action: Action| -> Vec<Principal> {
        let action_of = |conf: &serde_json::Value| serde_json::from_value::<Conf>(conf.clone()).ok()?.action;
        let sets = sets.iter().filter(|set| action_of(&set.conf) == Some(action));
        sets.map(|set| all_of(set.subset.conditions().iter().map(|tag| having(tag, mesh)).collect())).collect()
    };
    let shadow = principals(Action::AllowWithShadowDeny);
    let allowed = [principals(Action::Allow), shadow.clone()].concat();
    (rules_for(rbac::Action::Allow, allowed), log_of(shadow))
}

/// Rules that deny what the `from` entries of policies deny, for inbounds whose `rules` decide who is allowed. `None` when that is
/// nobody, or nobody whom the `rules` allow. Policies and rules are given weakest first.
pub(super) fn denials(policies: &[Arc<Policy>], rules: &[InboundRule], mesh: &str) -> Option<Rbac> {
    let decisions = decisions(policies);
    let rank = |policy: &Arc<Policy>| policies.iter().position(|known| Arc::ptr_eq(known, policy));
    let allowed: Vec<(&Arc<Policy>, Vec<SpiffeMatch>)> =
        rules.iter().map(|rule| (&rule.origin.policy, ids(rule))).collect();
    let denied = decisions.iter().enumerate().filter(|(_, decision)| !decision.allows()).filter_map(|(index, deny)| {
        let mut exceptions: Vec<Principal> =
            exceptions(&decisions, index).map(|allow| with_tags(&allow.clients, mesh)).collect();
        let mut all_excepted = true;
        for (policy, ids) in &allowed {
            // Identities are a part of everyone; of clients by tags nothing is known.
            let excepts = deny.clients.conditions().is_empty()
                && rank(policy) > rank(deny.policy)
                && proxies(policy, deny.policy) != Part::None;
            all_excepted &= excepts || ids.is_empty();
            if excepts {
                exceptions.extend(ids.iter().filter_map(with_id));
            }
        }
        let own = deny.clients.conditions().iter().map(|tag| having(tag, mesh));
        (!all_excepted).then(|| all_of(own.chain(exceptions.into_iter().map(not)).collect()))
    });
    let denied: Vec<Principal> = denied.collect();
    (!denied.is_empty()).then(|| rules_for(rbac::Action::Deny, denied))
}

/// Whom an entry of `rules` allows.
fn ids(rule: &InboundRule) -> Vec<SpiffeMatch> {
    let conf: RuleConf = serde_json::from_value(rule.conf().clone()).unwrap_or_default();
    conf.allow.into_iter().chain(conf.allow_with_shadow_deny).flatten().collect()
}

/// Rules that allow or deny everyone.
pub(super) fn rules_for_all(allow: bool) -> Rbac {
    let everyone = Principal { identifier: Some(Identifier::Any(true)) };
    rules_for(rbac::Action::Allow, if allow { vec![everyone] } else { Vec::new() })
}

fn decisions(policies: &[Arc<Policy>]) -> Vec<Decision<'_>> {
    let items = policies.iter().flat_map(|policy| policy.from.iter().map(move |item| (policy, item)));
    let decision = |(policy, item): (_, &crate::policy::Item)| {
        let conf: Conf = serde_json::from_value(item.conf.clone()).ok()?;
        Some(Decision { policy, clients: Subset::of(&item.target.as_tags()?), action: conf.action? })
    };
    items.filter_map(decision).collect()
}

fn rules_for(action: rbac::Action, principals: Vec<Principal>) -> Rbac {
    let mut rules = Rbac { action: action.into(), ..Rbac::default() };
    if !principals.is_empty() {
        let permissions = vec![Permission { rule: Some(permission::Rule::Any(true)) }];
        rules.policies.insert(POLICY.to_owned(), RbacPolicy { permissions, principals, ..RbacPolicy::default() });
    }
    rules
}

fn log_of(shadow: Vec<Principal>) -> Option<Rbac> {
    (!shadow.is_empty()).then(|| rules_for(rbac::Action::Deny, shadow))
}

/// The exceptions to the Deny at `index`.
fn exceptions<'a>(decisions: &'a [Decision<'a>], index: usize) -> impl Iterator<Item = &'a Decision<'a>> {
    let deny = &decisions[index];
    decisions[index + 1..].iter().filter(move |other| other.allows() && other.excepts(deny))
}

/// Clients who are denied whatever else is said about them. Those whom nobody allows are left out.
fn denied(decisions: &[Decision<'_>], mesh: &str) -> Vec<Principal> {
    let mut denied = Vec::new();
    for (index, deny) in decisions.iter().enumerate().filter(|(_, decision)| !decision.allows()) {
        let exceptions: Vec<&Subset> = exceptions(decisions, index).map(|allow| &allow.clients).collect();
        let is_excepted = |clients: &Subset| exceptions.iter().any(|exception| exception.is_superset_of(clients));
        if decisions.iter().filter(|other| other.allows()).all(|other| is_excepted(&other.clients)) {
            continue;
        }
        let own = deny.clients.conditions().iter().map(|tag| having(tag, mesh));
        denied.push(all_of(own.chain(exceptions.iter().map(|clients| not(with_tags(clients, mesh)))).collect()));
    }
    denied
}

/// The clients about whom, among the entries that allow, one with this action is the strongest; the most specific sets first.
fn allowed(decisions: &[Decision<'_>], action: Action, mesh: &str) -> Vec<Principal> {
    let mut sets: Vec<(usize, Principal)> = Vec::new();
    for (index, decision) in decisions.iter().enumerate().rev().filter(|(_, decision)| decision.action == action) {
        let stronger = || decisions[index + 1..].iter();
        let covers = |other: &Decision<'_>| other.clients.is_superset_of(&decision.clients);
        // A Deny that covers the entry without any exception leaves nobody to it, and a stronger Allow as little.
        let is_final = |other: usize| exceptions(decisions, other).next().is_none();
        if stronger().any(|other| other.allows() && covers(other))
            || decisions.iter().enumerate().any(|(at, deny)| !deny.allows() && covers(deny) && is_final(at))
        {
            continue;
        }
        let others = stronger()
            .filter(|other| other.allows() && other.action != action && other.clients.intersects(&decision.clients))
            .map(|other| {
                let further = other.clients.conditions().iter().filter(|tag| !decision.clients.0.contains(*tag));
                not(all_of(further.map(|tag| having(tag, mesh)).collect()))
            });
        let own = decision.clients.conditions().iter().map(|tag| having(tag, mesh));
        sets.push((decision.clients.positive_count(), all_of(own.chain(others).collect())));
    }
    sets.sort_by_key(|(tags, _)| std::cmp::Reverse(*tags));
    sets.into_iter().map(|(_, principal)| principal).collect()
}

/// Clients in some of these sets and in none of those.
fn without(some: Vec<Principal>, denied: &[Principal]) -> Vec<Principal> {
    if some.is_empty() || denied.is_empty() {
        return some;
    }
    let everyone = Principal { identifier: Some(Identifier::Any(true)) };
    let rest = not(any_of(denied.to_vec()));
    vec![if some.contains(&everyone) { rest } else { all_of(vec![any_of(some), rest]) }]
}

/// Clients whose certificate has a tag.
fn having(tag: &TagCondition, mesh: &str) -> Principal {
    let uri = match tag.key.as_str() {
        SERVICE_TAG => format!("spiffe://{mesh}/{}", tag.value),
        key => format!("kuma://{key}/{}", tag.value),
    };
    let name = named(MatchPattern::Exact(uri));
    if tag.not { not(name) } else { name }
}

/// Clients whose certificate has these tags.
fn with_tags(clients: &Subset, mesh: &str) -> Principal {
    all_of(clients.conditions().iter().map(|tag| having(tag, mesh)).collect())
}

/// Clients whose certificate has an identity.
fn with_id(condition: &SpiffeMatch) -> Option<Principal> {
    let id = condition.spiffe_id.as_ref()?;
    Some(named(match id.kind {
        SpiffeIdMatchType::Exact => MatchPattern::Exact(id.value.clone()),
        SpiffeIdMatchType::Prefix => MatchPattern::Prefix(id.value.clone()),
    }))
}

fn named(pattern: MatchPattern) -> Principal {
    let name = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
    Principal { identifier: Some(Identifier::Authenticated(Authenticated { principal_name: Some(name) })) }
}

fn not(principal: Principal) -> Principal {
    Principal { identifier: Some(Identifier::NotId(Box::new(principal))) }
}

fn all_of(mut principals: Vec<Principal>) -> Principal {
    match principals.len() {
        0 => Principal { identifier: Some(Identifier::Any(true)) },
        1 => principals.remove(0),
        _ => Principal { identifier: Some(Identifier::AndIds(Set { ids: principals })) },
    }
}

fn any_of(mut principals: Vec<Principal>) -> Principal {
    match principals.len() {
        1 => principals.remove(0),
        _ => Principal { identifier: Some(Identifier::OrIds(Set { ids: principals })) },
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
