//! Which clients `rules` entries allow, in Envoy's terms.
//!
//! What any policy denies is denied, whatever another allows, as the documentation of MeshTrafficPermission says; Kuma
//! itself lets the first match decide, in order of precedence, weakest first.

use envoy_types::pb::envoy::config::rbac::v3::{Action as RbacAction, rbac};
use envoy_types::pb::envoy::extensions::matching::common_inputs::ssl::v3::UriSanInput;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, SinglePredicate, single_predicate,
};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch, on_match};
use envoy_types::pb::xds::r#type::matcher::v3::{Matcher, StringMatcher, string_matcher::MatchPattern};

use super::schema::RuleConf;
use crate::envoy::pack;
use crate::rules::InboundRule;
use crate::schema::{SpiffeIdMatchType, SpiffeMatch};

/// A matcher that decides about clients, and one that logs what `allowWithShadowDeny` would deny, if there is anything.
pub(super) fn matchers(rules: &[InboundRule]) -> (Matcher, Option<Matcher>) {
    let rules: Vec<(String, RuleConf)> = rules
        .iter()
        .filter_map(|rule| {
            let conf = serde_json::from_value(rule.conf().clone()).ok()?;
            Some((rule.origin.policy.kri.to_string(), conf))
        })
        .collect();
    let mut deny = Vec::new();
    let mut allow = Vec::new();
    let mut shadow = Vec::new();
    for (policy, conf) in &rules {
        let shadowed = conf.allow_with_shadow_deny.as_deref().unwrap_or_default();
        deny.extend(matcher(conf.deny.iter().flatten(), rbac::Action::Deny, policy));
        allow.extend(matcher(conf.allow.iter().flatten().chain(shadowed), rbac::Action::Allow, policy));
        shadow.extend(matcher(shadowed.iter(), rbac::Action::Deny, policy));
    }
    deny.append(&mut allow);
    (list(deny), (!shadow.is_empty()).then(|| list(shadow)))
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
    let mut predicates: Vec<Predicate> = matches.filter_map(predicate).collect();
    let predicate = match predicates.len() {
        0 => return None,
        1 => predicates.remove(0),
        _ => Predicate { match_type: Some(MatchType::OrMatcher(PredicateList { predicate: predicates })) },
    };
    Some(FieldMatcher { predicate: Some(predicate), on_match: Some(on_match(action, policy)) })
}

fn predicate(condition: &SpiffeMatch) -> Option<Predicate> {
    let id = condition.spiffe_id.as_ref()?;
    let pattern = match id.kind {
        SpiffeIdMatchType::Exact => MatchPattern::Exact(id.value.clone()),
        SpiffeIdMatchType::Prefix => MatchPattern::Prefix(id.value.clone()),
    };
    let value = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
    let single = SinglePredicate {
        input: Some(extension("envoy.matching.inputs.uri_san", &UriSanInput {})),
        matcher: Some(single_predicate::Matcher::ValueMatch(value)),
    };
    Some(Predicate { match_type: Some(MatchType::SinglePredicate(single)) })
}

fn on_match(action: rbac::Action, name: &str) -> OnMatch {
    let action = RbacAction { name: name.to_owned(), action: action.into() };
    let action = extension("envoy.filters.rbac.action", &action);
    OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..OnMatch::default() }
}

fn extension<M: prost::Message + prost::Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(message)) }
}
