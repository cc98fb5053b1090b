//! Conditions on requests in the form that Envoy takes.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/xds/configurer.go`, `match.go`.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::schema::{Match, Method, PathMatch, PathMatchType, QueryParamsMatch, QueryParamsMatchType};
use crate::envoy::matcher::{header, header_value, regex, text};
use crate::envoy::pb::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::envoy::pb::route::route_match::PathSpecifier;
use crate::envoy::pb::route::{QueryParameterMatcher, RouteMatch};
use crate::envoy::regex::check_regex;
use crate::schema::HeaderMatchType;

/// What of the path a request has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    /// A prefix, which is all of the path.
    WholePrefix,
    /// A prefix, with something behind it.
    Prefix,
    /// Anything else.
    Other,
}

/// The conditions of Envoy that together are one of ours: a prefix that is matched up to a slash takes two.
pub(super) fn translate(condition: &Match) -> Vec<(Matched, RouteMatch)> {
    let path = |path: &PathMatch| match path.kind {
        PathMatchType::Exact => vec![(Matched::Other, PathSpecifier::Path(path.value.clone()))],
        PathMatchType::PathPrefix if path.value == "/" => {
            vec![(Matched::Prefix, PathSpecifier::Prefix(path.value.clone()))]
        }
        PathMatchType::PathPrefix => {
            // Not Envoy's `path_separated_prefix`: what replaces that prefix leaves the slash behind it in place.
            let prefix = path.value.strip_suffix('/').unwrap_or(&path.value);
            vec![
                (Matched::WholePrefix, PathSpecifier::Path(prefix.to_owned())),
                (Matched::Prefix, PathSpecifier::Prefix(format!("{prefix}/"))),
            ]
        }
        PathMatchType::RegularExpression => vec![(Matched::Other, PathSpecifier::SafeRegex(regex(&path.value)))],
    };
    // A condition of Envoy always has a path.
    let any = || vec![(Matched::Prefix, PathSpecifier::Prefix("/".to_owned()))];
    let paths = condition.path.as_ref().map_or_else(any, path);
    let mut names = BTreeSet::new();
    let headers = condition.headers.iter().flatten().filter(|header| names.insert(header.name.as_str())).map(header);
    let method = condition.method.map(|method| header_value(":method", MatchPattern::Exact(name(method).to_owned())));
    let headers: Vec<_> = method.into_iter().chain(headers).collect();
    let mut names = BTreeSet::new();
    let parameters = condition.query_params.iter().flatten().filter(|parameter| names.insert(parameter.name.as_str()));
    let query_parameters: Vec<_> = parameters.map(query_parameter).collect();
    let translated = paths.into_iter().map(|(matched, path)| {
        let condition = RouteMatch {
            path_specifier: Some(path),
            headers: headers.clone(),
            query_parameters: query_parameters.clone(),
            ..RouteMatch::default()
        };
        (matched, condition)
    });
    translated.collect()
}

/// What Envoy would not take of a condition: a regular expression that is none.
pub(super) fn check(condition: &Match) -> Result<(), String> {
    let path = condition.path.iter().filter(|path| path.kind == PathMatchType::RegularExpression);
    let headers = condition.headers.iter().flatten().filter(|one| one.kind == HeaderMatchType::RegularExpression);
    let parameters = condition.query_params.iter().flatten();
    let parameters = parameters.filter(|one| one.kind == QueryParamsMatchType::RegularExpression);
    let patterns =
        path.map(|one| &one.value).chain(headers.map(|one| &one.value)).chain(parameters.map(|one| &one.value));
    for pattern in patterns {
        check_regex(pattern).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
    }
    Ok(())
}

fn query_parameter(parameter: &QueryParamsMatch) -> QueryParameterMatcher {
    let pattern = match parameter.kind {
        QueryParamsMatchType::Exact => MatchPattern::Exact(parameter.value.clone()),
        QueryParamsMatchType::RegularExpression => MatchPattern::SafeRegex(regex(&parameter.value)),
    };
    QueryParameterMatcher {
        name: parameter.name.clone(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(text(pattern))),
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Connect => "CONNECT",
        Method::Delete => "DELETE",
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Options => "OPTIONS",
        Method::Patch => "PATCH",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Trace => "TRACE",
    }
}
