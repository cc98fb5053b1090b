//! How an inbound recognizes callers by their tags: in a header that their proxies add to requests.
//!
//! Source: Kuma `pkg/xds/envoy/tags/{match,serialize}.go`.

use std::fmt::Write as _;

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use tandem_model::tags::{ANY, TagMultimap, Tags};
use tandem_proto::mesh::v1alpha1::Selector;

use crate::envoy::matcher;
use crate::envoy::pb::route::HeaderMatcher;
use crate::envoy::pb::route::header_matcher::HeaderMatchSpecifier;

/// The header.
pub const TAGS_HEADER: &str = "x-kuma-tags";

/// What the header of a caller with these tags holds: `&tag=value,other&` for each tag.
pub fn header_value(tags: &TagMultimap) -> String {
    let mut text = String::new();
    for (tag, values) in tags {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let _ = write!(text, "&{tag}={}&", values.join(",")); // a String takes everything
    }
    text
}

/// Matches requests of the callers that one of some selectors matches.
pub(super) fn callers(sources: &[Selector]) -> HeaderMatcher {
    let patterns: Vec<String> = sources.iter().map(|selector| pattern(&selector.r#match)).collect();
    let pattern = match patterns.as_slice() {
        [one] => one.clone(),
        [] => String::new(),
        _ => format!("({})", patterns.join("|")),
    };
    // The shape that Kuma sends; Envoy still takes it.
    #[allow(deprecated)]
    HeaderMatcher {
        name: TAGS_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::SafeRegexMatch(matcher::regex(&pattern))),
        ..HeaderMatcher::default()
    }
}

/// Matches requests of the callers with these tags.
pub(crate) fn caller(tags: &Tags) -> HeaderMatcher {
    matcher::header_value(TAGS_HEADER, MatchPattern::SafeRegex(matcher::regex(&pattern(tags))))
}

/// Matches requests of callers that tell their tags and do not have all of these.
pub(crate) fn other_callers(tags: &Tags) -> HeaderMatcher {
    HeaderMatcher { invert_match: true, ..caller(tags) }
}

fn pattern(selector: &Tags) -> String {
    let mut pattern = ".*".to_owned();
    for (tag, value) in selector {
        let _ = write!(pattern, "&{tag}="); // a String takes everything
        if value != ANY {
            let _ = write!(pattern, "[^&]*{}[,&]", value.replace('.', "\\."));
        }
        pattern.push_str(".*");
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        Selector { r#match: pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect() }
    }

    /// True when a request with this header is matched; Envoy compares the whole header.
    #[allow(deprecated)] // the shape that Kuma sends
    fn matches(sources: &[Selector], header: &str) -> bool {
        let Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) = callers(sources).header_match_specifier else {
            panic!("matched by a regular expression")
        };
        Regex::new(&format!("^(?:{})$", regex.regex)).expect("a regular expression").is_match(header)
    }

    #[test]
    fn callers_are_recognized_by_their_tags() {
        let tags = |pairs: &[(&str, &[&str])]| -> TagMultimap {
            let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
            pairs.iter().map(|(tag, of)| ((*tag).to_owned(), values(of))).collect()
        };
        let web = header_value(&tags(&[("kuma.io/service", &["web", "web-api"]), ("version", &["1.0"])]));
        assert_eq!(web, "&kuma.io/service=web,web-api&&version=1.0&");
        assert!(matches(&[selector(&[("kuma.io/service", "web")])], &web));
        assert!(matches(&[selector(&[("kuma.io/service", "web-api"), ("version", "1.0")])], &web));
        assert!(matches(&[selector(&[("kuma.io/service", "*")])], &web));
        assert!(!matches(&[selector(&[("kuma.io/service", "we")])], &web));
        assert!(!matches(&[selector(&[("version", "1x0")])], &web));
        assert!(!matches(&[selector(&[("team", "*")])], &web));
        assert!(matches(&[selector(&[("team", "a")]), selector(&[("version", "1.0")])], &web));
    }
}
