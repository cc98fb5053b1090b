//! Which requests a rule of a TrafficRoute takes, and how it changes them.
//!
//! Source: Kuma `pkg/xds/envoy/virtualhosts/routes_configurer.go`.

use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatchAndSubstitute, RegexMatcher, StringMatcher as EnvoyStringMatcher, string_matcher::MatchPattern,
};
use tandem_proto::mesh::v1alpha1::traffic_route::http::r#match::StringMatcher;
use tandem_proto::mesh::v1alpha1::traffic_route::http::r#match::string_matcher::MatcherType;
use tandem_proto::mesh::v1alpha1::traffic_route::http::modify::{Headers, RegexReplace, host, path};
use tandem_proto::mesh::v1alpha1::traffic_route::http::{Match, Modify};

use crate::envoy::header_to_add;
use crate::envoy::pb::core::HeaderValueOption;
use crate::envoy::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::envoy::pb::route::route::Action;
use crate::envoy::pb::route::route_action::HostRewriteSpecifier;
use crate::envoy::pb::route::route_match::PathSpecifier;
use crate::envoy::pb::route::{HeaderMatcher, Route, RouteMatch};

/// The requests that a rule takes: all when it does not say which.
pub fn matches(rule: Option<&Match>) -> RouteMatch {
    let none = Match::default();
    let rule = rule.unwrap_or(&none);
    let headers = rule.headers.iter().map(|(name, value)| header(name, value));
    let method = rule.method.iter().map(|value| header(":method", value));
    let path = rule.path.as_ref().and_then(|path| path.matcher_type.as_ref());
    RouteMatch {
        path_specifier: Some(path.map_or_else(|| PathSpecifier::Prefix("/".to_owned()), path_specifier)),
        headers: headers.chain(method).collect(),
        ..RouteMatch::default()
    }
}

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
}

fn path_specifier(path: &MatcherType) -> PathSpecifier {
    match path {
        MatcherType::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        MatcherType::Exact(path) => PathSpecifier::Path(path.clone()),
        MatcherType::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    }
}

fn header(name: &str, value: &StringMatcher) -> HeaderMatcher {
    // The shapes that Kuma sends; Envoy still takes those it has named replacements for.
    #[allow(deprecated)]
    let specifier = value.matcher_type.as_ref().map(|value| match value {
        MatcherType::Prefix(prefix) => HeaderMatchSpecifier::PrefixMatch(prefix.clone()),
        MatcherType::Exact(text) => HeaderMatchSpecifier::StringMatch(EnvoyStringMatcher {
            match_pattern: Some(MatchPattern::Exact(text.clone())),
            ..EnvoyStringMatcher::default()
        }),
        MatcherType::Regex(pattern) => HeaderMatchSpecifier::SafeRegexMatch(regex(pattern)),
    });
    HeaderMatcher { name: name.to_owned(), header_match_specifier: specifier, ..HeaderMatcher::default() }
}

/// Changes the requests of a route and their responses.
pub fn modify(modify: &Modify, route: &mut Route) {
    (route.request_headers_to_add, route.request_headers_to_remove) = headers(modify.request_headers.as_ref());
    (route.response_headers_to_add, route.response_headers_to_remove) = headers(modify.response_headers.as_ref());
    let Some(Action::Route(action)) = route.action.as_mut() else { return };
    match modify.path.as_ref().and_then(|path| path.r#type.as_ref()) {
        Some(path::Type::RewritePrefix(prefix)) => action.prefix_rewrite.clone_from(prefix),
        Some(path::Type::Regex(replace)) => action.regex_rewrite = Some(substitute(replace)),
        None => {}
    }
    match modify.host.as_ref().and_then(|host| host.r#type.as_ref()) {
        Some(host::Type::Value(host)) => {
            action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
        }
        Some(host::Type::FromPath(replace)) => {
            action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewritePathRegex(substitute(replace)));
        }
        None => {}
    }
}

fn substitute(replace: &RegexReplace) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(&replace.pattern)), substitution: replace.substitution.clone() }
}

fn headers(headers: Option<&Headers>) -> (Vec<HeaderValueOption>, Vec<String>) {
    let Some(headers) = headers else { return Default::default() };
    let add = headers.add.iter().map(|add| header_to_add(add.name.clone(), add.value.clone(), add.append));
    (add.collect(), headers.remove.iter().map(|remove| remove.name.clone()).collect())
}
