//! Conditions on texts and headers.

use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

use super::pb::route::HeaderMatcher;
use super::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::schema::{HeaderMatch, HeaderMatchType};

/// Compares with a regular expression, which has to match the whole text.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..RegexMatcher::default() }
}

/// Compares a text as `pattern` says.
pub(crate) fn text(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// The condition that the header `name` is as `pattern` says.
pub(crate) fn header_value(name: &str, pattern: MatchPattern) -> HeaderMatcher {
    header_matcher(name, HeaderMatchSpecifier::StringMatch(text(pattern)))
}

/// A condition on a header.
pub(crate) fn header(header: &HeaderMatch) -> HeaderMatcher {
    let HeaderMatch { kind, name, value } = header;
    match kind {
        HeaderMatchType::Exact => header_value(name, MatchPattern::Exact(value.clone())),
        // Every text begins with the empty one, but Envoy takes no empty prefix.
        HeaderMatchType::Prefix if value.is_empty() => header_matcher(name, HeaderMatchSpecifier::PresentMatch(true)),
        HeaderMatchType::Prefix => header_value(name, MatchPattern::Prefix(value.clone())),
        HeaderMatchType::RegularExpression => header_value(name, MatchPattern::SafeRegex(regex(value))),
        HeaderMatchType::Present => header_matcher(name, HeaderMatchSpecifier::PresentMatch(true)),
        HeaderMatchType::Absent => header_matcher(name, HeaderMatchSpecifier::PresentMatch(false)),
    }
}

fn header_matcher(name: &str, specifier: HeaderMatchSpecifier) -> HeaderMatcher {
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..HeaderMatcher::default() }
}
