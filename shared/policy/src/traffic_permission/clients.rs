//! Which clients `from` entries allow, in Envoy's terms.
//!
//! The strongest entry about a client decides. Kuma renders the sets of its rules one by one, and where these overlap a
//! client can be allowed by one set although another denies it; here every allowed set excludes whatever a stronger
//! entry says otherwise about, so Envoy decides as the policies do.

use std::sync::Arc;

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use tandem_model::label::SERVICE_TAG;

use super::schema::{Action, Conf};
use crate::envoy::pb::rbac::principal::{Authenticated, Identifier, Set};
use crate::envoy::pb::rbac::{Permission, Policy as RbacPolicy, Principal, Rbac, permission, rbac};
use crate::policy::Policy;
use crate::subset::{Subset, TagCondition};

/// Name of the only policy in the rules.
const POLICY: &str = "MeshTrafficPermission";

/// What one entry says about its clients.
struct Decision {
    clients: Subset,
    action: Action,
}

/// Rules that allow what the `from` entries of policies, weakest first, allow; and rules that log what
/// [`Action::AllowWithShadowDeny`] would deny, if there is anything.
pub(super) fn rules(policies: &[Arc<Policy>], mesh: &str) -> (Rbac, Option<Rbac>) {
    let decisions: Vec<Decision> = policies.iter().flat_map(|policy| &policy.from).filter_map(decision).collect();
    let shadow = principals(&decisions, Action::AllowWithShadowDeny, mesh);
    let mut allowed = principals(&decisions, Action::Allow, mesh);
    allowed.extend(shadow.iter().cloned());
    let rules = rules_for(rbac::Action::Allow, allowed);
    (rules, (!shadow.is_empty()).then(|| rules_for(rbac::Action::Deny, shadow)))
}

/// Rules that allow or deny everyone.
pub(super) fn rules_for_all(allow: bool) -> Rbac {
    let everyone = Principal { identifier: Some(Identifier::Any(true)) };
    rules_for(rbac::Action::Allow, if allow { vec![everyone] } else { Vec::new() })
}

fn decision(item: &crate::policy::Item) -> Option<Decision> {
    let conf: Conf = serde_json::from_value(item.conf.clone()).ok()?;
    Some(Decision { clients: Subset::of(&item.target.as_tags()?), action: conf.action? })
}

fn rules_for(action: rbac::Action, principals: Vec<Principal>) -> Rbac {
    let mut rules = Rbac { action: action.into(), ..Rbac::default() };
    if !principals.is_empty() {
        let permissions = vec![Permission { rule: Some(permission::Rule::Any(true)) }];
        rules.policies.insert(POLICY.to_owned(), RbacPolicy { permissions, principals, ..RbacPolicy::default() });
    }
    rules
}

/// The clients for which an action is the decision, the most specific sets first.
fn principals(decisions: &[Decision], action: Action, mesh: &str) -> Vec<Principal> {
    let mut sets: Vec<(usize, Principal)> = Vec::new();
    for (index, decision) in decisions.iter().enumerate().rev().filter(|(_, decision)| decision.action == action) {
        let stronger = &decisions[index + 1..];
        if stronger.iter().any(|other| other.clients.is_superset_of(&decision.clients)) {
            continue; // nobody is left for this entry to decide about
        }
        let others = stronger
            .iter()
            .filter(|other| other.action != action && other.clients.intersects(&decision.clients))
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

/// Clients whose certificate has a tag.
fn having(tag: &TagCondition, mesh: &str) -> Principal {
    let uri = match tag.key.as_str() {
        SERVICE_TAG => format!("spiffe://{mesh}/{}", tag.value),
        key => format!("kuma://{key}/{}", tag.value),
    };
    let name = StringMatcher { match_pattern: Some(MatchPattern::Exact(uri)), ..StringMatcher::default() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{first_match, from_rules};
    use crate::testing::policy;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use tandem_model::kind::Kind;

    fn holds(principal: &Principal, tags: &BTreeMap<&str, &str>) -> bool {
        match principal.identifier.as_ref().expect("every principal says something") {
            Identifier::Any(any) => *any,
            Identifier::NotId(other) => !holds(other, tags),
            Identifier::AndIds(set) => set.ids.iter().all(|principal| holds(principal, tags)),
            Identifier::Authenticated(authenticated) => {
                let name = authenticated.principal_name.as_ref().and_then(|name| name.match_pattern.as_ref());
                let Some(MatchPattern::Exact(uri)) = name else { panic!("names are compared exactly") };
                tags.iter().any(|(key, value)| {
                    *uri == format!("kuma://{key}/{value}")
                        || (*key == SERVICE_TAG && *uri == format!("spiffe://m/{value}"))
                })
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn allows(rules: &Rbac, tags: &BTreeMap<&str, &str>) -> bool {
        rules.policies.values().flat_map(|policy| &policy.principals).any(|principal| holds(principal, tags))
    }

    /// Tags of clients, and what happens to their requests.
    type Entry<'a> = (&'a [(&'a str, &'a str)], &'a str);

    fn permission(from: &[Entry<'_>]) -> Arc<Policy> {
        let from: Vec<Value> = from
            .iter()
            .map(|(tags, action)| {
                let tags: BTreeMap<&str, &str> = tags.iter().copied().collect();
                let target = match tags.len() {
                    0 => json!({"kind": "Mesh"}),
                    _ => json!({"kind": "MeshSubset", "tags": tags}),
                };
                json!({"targetRef": target, "default": {"action": action}})
            })
            .collect();
        Arc::new(policy(Kind::MeshTrafficPermission, "p", json!({"from": from})))
    }

    /// For every client, the rules decide as the policy does: the last entry about it, or the first matching rule.
    #[test]
    fn envoy_decides_as_the_policies_do() {
        let everyone: &[(&str, &str)] = &[];
        let (a, b, c) = ([(SERVICE_TAG, "a")], [(SERVICE_TAG, "b")], [(SERVICE_TAG, "c")]);
        let (east, a_east) = ([("zone", "east")], [(SERVICE_TAG, "a"), ("zone", "east")]);
        let cases: [&[Entry<'_>]; 7] = [
            &[],
            &[(everyone, "Allow")],
            &[(everyone, "Deny"), (&a, "Allow"), (&b, "Allow")],
            &[(everyone, "AllowWithShadowDeny"), (&a, "Deny"), (&b, "Deny"), (&c, "Allow")],
            &[(everyone, "Allow"), (&a, "Deny"), (&a_east, "Allow")],
            &[(&a, "Allow"), (&east, "Deny"), (everyone, "AllowWithShadowDeny"), (&b, "Deny")],
            &[(&a_east, "Deny"), (&a, "Allow"), (&east, "AllowWithShadowDeny")],
        ];
        for case in cases {
            let policies = [permission(case)];
            let (rules, shadow) = rules(&policies, "m");
            let by_tags = from_rules(&policies).expect("all kinds have tags");
            for service in ["a", "b", "c", "d"] {
                for zone in ["east", "west"] {
                    let client: BTreeMap<&str, &str> = [(SERVICE_TAG, service), ("zone", zone)].into();
                    let last = case.iter().rfind(|(tags, _)| tags.iter().all(|(k, v)| client.get(k) == Some(v)));
                    let action = last.map(|(_, action)| *action);
                    assert_eq!(allows(&rules, &client), action.is_some_and(|a| a != "Deny"), "{case:?} {client:?}");
                    let shadowed = shadow.as_ref().is_some_and(|shadow| allows(shadow, &client));
                    assert_eq!(shadowed, action == Some("AllowWithShadowDeny"), "{case:?} {client:?}");
                    if case.len() < 4 {
                        let rule = first_match(&by_tags, &client).and_then(|rule| rule.conf["action"].as_str());
                        assert_eq!(rule, action, "{case:?} {client:?}");
                    }
                }
            }
        }
    }
}
