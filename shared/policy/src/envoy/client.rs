//! Conditions on clients, in terms of Envoy's matchers.
//!
//! Source: Kuma `pkg/envoy/builders/xds/matchers`.

use envoy_types::pb::envoy::extensions::matching::common_inputs::ssl::v3::UriSanInput;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, SinglePredicate, single_predicate,
};
use envoy_types::pb::xds::r#type::matcher::v3::regex_matcher::{self, GoogleRe2};
use envoy_types::pb::xds::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

use super::pack;
use crate::schema::{SpiffeIdMatchType, SpiffeMatch};

/// Holds for clients that one of the matches is about; `None` when none of them says anything.
pub(crate) fn any_client<'a>(matches: impl IntoIterator<Item = &'a SpiffeMatch>) -> Option<Predicate> {
    let mut predicates: Vec<Predicate> = matches.into_iter().filter_map(client).collect();
    match predicates.len() {
        0 => None,
        1 => predicates.pop(),
        _ => Some(Predicate { match_type: Some(MatchType::OrMatcher(PredicateList { predicate: predicates })) }),
    }
}

/// Envoy compares the URIs of a certificate as one text, with commas between them. A certificate from the authority of the mesh has
/// several (one for each service and each tag), and the condition holds when one of them is as described. In Kuma the whole text has to
/// be, so that an exact ID matches nobody whose certificate is of the mesh.
fn client(condition: &SpiffeMatch) -> Option<Predicate> {
    let id = condition.spiffe_id.as_ref()?;
    let escaped = regex_syntax::escape(&id.value);
    let regex = match id.kind {
        SpiffeIdMatchType::Exact => format!("(.*,)?{escaped}(,.*)?"),
        SpiffeIdMatchType::Prefix => format!("(.*,)?{escaped}.*"),
    };
    let engine = regex_matcher::EngineType::GoogleRe2(GoogleRe2 {});
    let pattern = MatchPattern::SafeRegex(RegexMatcher { regex, engine_type: Some(engine) });
    let value = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
    let single = SinglePredicate {
        input: Some(extension("envoy.matching.inputs.uri_san", &UriSanInput {})),
        matcher: Some(single_predicate::Matcher::ValueMatch(value)),
    };
    Some(Predicate { match_type: Some(MatchType::SinglePredicate(single)) })
}

/// An input or an action of a matcher.
pub(crate) fn extension<M: prost::Message + prost::Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(message)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SpiffeIdMatch;

    fn holds(kind: SpiffeIdMatchType, value: &str, uris: &[&str]) -> bool {
        let condition = SpiffeMatch { spiffe_id: Some(SpiffeIdMatch { kind, value: value.to_owned() }) };
        let predicate = any_client([&condition]).and_then(|predicate| predicate.match_type);
        let Some(MatchType::SinglePredicate(SinglePredicate { matcher: Some(matcher), .. })) = predicate else {
            panic!("one condition is one predicate")
        };
        let single_predicate::Matcher::ValueMatch(value) = matcher else { panic!("a text is compared") };
        let Some(MatchPattern::SafeRegex(matcher)) = value.match_pattern else { panic!("by an expression") };
        // Envoy compares the whole text.
        regex::Regex::new(&format!("^(?:{})$", matcher.regex)).expect("a valid expression").is_match(&uris.join(","))
    }

    #[test]
    fn any_uri_of_a_certificate_counts() {
        use SpiffeIdMatchType::{Exact, Prefix};
        let of_mesh = ["spiffe://shop/web", "spiffe://shop/web.v2", "kuma://kuma.io~1service/web"];
        for known in ["spiffe://shop/web", "spiffe://shop/web.v2"] {
            assert!(holds(Exact, known, &of_mesh), "{known}");
            assert!(holds(Exact, known, &[known]), "{known}");
        }
        for unknown in ["spiffe://shop/we", "spiffe://shop/web.v", "spiffe://shop/webXv2", "shop/web"] {
            assert!(!holds(Exact, unknown, &of_mesh), "{unknown}");
        }
        assert!(
            holds(Prefix, "spiffe://shop/web.", &of_mesh) && holds(Prefix, "spiffe://shop", &["spiffe://shop/web"])
        );
        assert!(
            !holds(Prefix, "shop/web", &of_mesh) && !holds(Prefix, "spiffe://shop/web.", &["spiffe://shop/webXv2"])
        );
    }
}
