//! Which clients `rules` entries allow, in Envoy's terms.
//!
//! What any policy denies is denied, whatever another allows, as the documentation of MeshTrafficPermission says; Kuma
//! itself lets the first match decide, in order of precedence, weakest first.

use envoy_types::pb::envoy::config::rbac::v3::{Action as RbacAction, rbac};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::FieldMatcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch, on_match};

use super::schema::RuleConf;
use crate::envoy::{any_client, extension};
use crate::rules::InboundRule;
use crate::schema::SpiffeMatch;

/// A matcher that decides about clients, and one that logs what `allowWithShadowDeny` would deny, if there is anything.
/// With `deny_first` what any of the rules denies is denied, else the first match decides.
pub(super) fn matchers(rules: &[InboundRule], deny_first: bool) -> (Matcher, Option<Matcher>) {
    let rules: Vec<(String, RuleConf)> = rules
        .iter()
        .filter_map(|rule| {
            let conf = serde_json::from_value(rule.conf().clone()).ok()?;
            Some((rule.origin.policy.kri.to_string(), conf))
        })
        .collect();
    let (mut denied, mut matchers, mut shadow) = (Vec::new(), Vec::new(), Vec::new());
    for (policy, conf) in &rules {
        let shadowed = conf.allow_with_shadow_deny.as_deref().unwrap_or_default();
        let deny = matcher(conf.deny.iter().flatten(), rbac::Action::Deny, policy);
        if deny_first { &mut denied } else { &mut matchers }.extend(deny);
        matchers.extend(matcher(conf.allow.iter().flatten().chain(shadowed), rbac::Action::Allow, policy));
        shadow.extend(matcher(shadowed.iter(), rbac::Action::Deny, policy));
    }
    denied.append(&mut matchers);
    (list(denied), (!shadow.is_empty()).then(|| list(shadow)))
}

fn list(matchers: Vec<FieldMatcher>) -> Matcher {
    Matcher {
        on_no_match: Some(Box::new(on_match(rbac::Action::Deny, "default"))),
        matcher_type: (!matchers.is_empty()).then_some(MatcherType::MatcherList(MatcherList { matchers })),
    }
}

fn matcher<'a>(
    matches: impl Iterator<Item = &'a SpiffeMatch>,
    action: rbac::Action,
    policy: &str,
) -> Option<FieldMatcher> {
    Some(FieldMatcher { predicate: Some(any_client(matches)?), on_match: Some(on_match(action, policy)) })
}

fn on_match(action: rbac::Action, name: &str) -> OnMatch {
    let action = RbacAction { name: name.to_owned(), action: action.into() };
    let action = extension("envoy.filters.rbac.action", &action);
    OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..OnMatch::default() }
}
