//! What routes change, in the form that Envoy takes.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/xds/filters`.

use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::matches::Matched;
use super::schema::{
    Filter, FilterType, HeaderModifier, PathRewrite, PathRewriteType, RequestRedirect, Scheme, UrlRewrite,
};
use crate::envoy::matcher::regex;
use crate::envoy::pb::core::{HeaderValueOption, RuntimeFractionalPercent};
use crate::envoy::pb::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use crate::envoy::pb::route::route::Action;
use crate::envoy::pb::route::route_action::HostRewriteSpecifier;
use crate::envoy::pb::route::{RedirectAction, Route};
use crate::envoy::{header_to_add, percent};
use crate::schema::IntOrString;

/// Changes a route, which is for requests with what `matched` says, as a filter asks. Copies of requests are made by the caller.
pub(super) fn apply(filter: &Filter, matched: Matched, route: &mut Route) {
    match filter.kind {
        FilterType::RequestHeaderModifier => {
            if let Some(modifier) = &filter.request_header_modifier {
                route.request_headers_to_add.extend(headers_to_add(modifier));
                route.request_headers_to_remove.extend(modifier.remove.iter().flatten().cloned());
            }
        }
        FilterType::ResponseHeaderModifier => {
            if let Some(modifier) = &filter.response_header_modifier {
                route.response_headers_to_add.extend(headers_to_add(modifier));
                route.response_headers_to_remove.extend(modifier.remove.iter().flatten().cloned());
            }
        }
        FilterType::RequestRedirect => {
            if let Some(conf) = &filter.request_redirect {
                route.action = Some(Action::Redirect(redirect(conf, matched)));
            }
        }
        FilterType::UrlRewrite => {
            if let Some(conf) = &filter.url_rewrite {
                rewrite(conf, matched, route);
            }
        }
        FilterType::RequestMirror => {}
    }
}

fn headers_to_add(modifier: &HeaderModifier) -> impl Iterator<Item = HeaderValueOption> {
    let set = modifier.set.iter().flatten().map(|header| (header, false));
    let add = modifier.add.iter().flatten().map(|header| (header, true));
    set.chain(add).map(|(header, append)| header_to_add(header.name.clone(), header.value.clone(), append))
}

fn redirect(conf: &RequestRedirect, matched: Matched) -> RedirectAction {
    let scheme = |scheme: Scheme| match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let code = match conf.status_code {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    let path = new_path(conf.path.as_ref(), matched).map(|path| match path {
        NewPath::Whole(path) => PathRewriteSpecifier::RegexRewrite(whole_path(&path)),
        NewPath::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
    });
    RedirectAction {
        host_redirect: conf.hostname.clone().unwrap_or_default(),
        port_redirect: conf.port.unwrap_or_default(),
        scheme_rewrite_specifier: conf
            .scheme
            .map(|value| SchemeRewriteSpecifier::SchemeRedirect(scheme(value).to_owned())),
        path_rewrite_specifier: path,
        response_code: code.into(),
        ..RedirectAction::default()
    }
}

fn rewrite(conf: &UrlRewrite, matched: Matched, route: &mut Route) {
    let Some(Action::Route(action)) = &mut route.action else { return };
    if let Some(hostname) = &conf.hostname {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(hostname.clone()));
    }
    match new_path(conf.path.as_ref(), matched) {
        Some(NewPath::Whole(path)) => action.regex_rewrite = Some(whole_path(&path)),
        Some(NewPath::Prefix(prefix)) => action.prefix_rewrite = prefix,
        None => {}
    }
}

/// What takes the place of which part of the path.
enum NewPath {
    Whole(String),
    Prefix(String),
}

/// `None` when the path stays as it is.
fn new_path(conf: Option<&PathRewrite>, matched: Matched) -> Option<NewPath> {
    let conf = conf?;
    match (conf.kind, matched) {
        (PathRewriteType::ReplaceFullPath, _) => Some(NewPath::Whole(conf.replace_full_path.clone()?)),
        (PathRewriteType::ReplacePrefixMatch, Matched::WholePrefix) => {
            Some(NewPath::Whole(conf.replace_prefix_match.clone()?))
        }
        (PathRewriteType::ReplacePrefixMatch, Matched::Prefix) => {
            Some(NewPath::Prefix(conf.replace_prefix_match.clone()?))
        }
        (PathRewriteType::ReplacePrefixMatch, Matched::Other) => None,
    }
}

/// Puts `path` in the place of all of the path.
fn whole_path(path: &str) -> RegexMatchAndSubstitute {
    // A backslash would refer to a group.
    let substitution = path.replace('\\', r"\\");
    RegexMatchAndSubstitute { pattern: Some(regex(".*")), substitution }
}

/// The share of the requests that is copied; `None` for all.
pub(super) fn mirrored(percentage: Option<&IntOrString>) -> Option<RuntimeFractionalPercent> {
    // Validation makes it a number.
    let share = percentage?.decimal().unwrap_or_default().to_f64();
    Some(RuntimeFractionalPercent { default_value: Some(percent(share)), ..RuntimeFractionalPercent::default() })
}

/// What Envoy would not take of a filter.
pub(super) fn check(filter: &Filter) -> Result<(), String> {
    let path = |rewrite: Option<&PathRewrite>| {
        let paths = rewrite.into_iter().flat_map(|path| [&path.replace_full_path, &path.replace_prefix_match]);
        paths.flatten().try_for_each(|path| check_text("the path", path))
    };
    match filter.kind {
        FilterType::RequestHeaderModifier => filter.request_header_modifier.as_ref().map_or(Ok(()), check_headers),
        FilterType::ResponseHeaderModifier => filter.response_header_modifier.as_ref().map_or(Ok(()), check_headers),
        FilterType::RequestRedirect => {
            path(filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref()))
        }
        FilterType::UrlRewrite => path(filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref())),
        FilterType::RequestMirror => Ok(()),
    }
}

fn check_headers(modifier: &HeaderModifier) -> Result<(), String> {
    let HeaderModifier { set, add, remove } = modifier;
    for header in set.iter().chain(add).flatten() {
        check_name(&header.name)?;
        check_text("the value of a header", &header.value)?;
        check_format(&header.value)?;
    }
    remove.iter().flatten().try_for_each(|name| check_name(name))
}

fn check_name(name: &str) -> Result<(), String> {
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is no name of a header"));
    }
    if name.eq_ignore_ascii_case("host") {
        return Err("the header \"host\" cannot be changed like others: use URLRewrite".to_owned());
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    match text.contains(['\0', '\r', '\n']) {
        true => Err(format!("{what} {text:?} has characters that no header can have")),
        false => Ok(()),
    }
}

/// Checks the placeholders in the value of a header, which Envoy fills: `%NAME%`, `%NAME(more)%` or `%NAME(more):length%`; a percent sign is
/// `%%`.
fn check_format(value: &str) -> Result<(), String> {
    let error = || {
        format!(
            "the value of a header {value:?} has a percent sign that begins no placeholder: write %% for a percent sign"
        )
    };
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').ok_or_else(error)?;
        let mut after = &after[end..];
        if end == 0 {
            return Err(error());
        }
        if let Some(arguments) = after.strip_prefix('(') {
            after = arguments.split_once(')').ok_or_else(error)?.1;
        }
        if let Some(length) = after.strip_prefix(':') {
            after = length.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        rest = after.strip_prefix('%').ok_or_else(error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_of_headers() {
        for value in ["", "plain", "100%%", "%DOWNSTREAM_REMOTE_ADDRESS%", "a %REQ(x?y)% b %REQ(x):9%"] {
            assert_eq!(check_format(value), Ok(()), "{value}");
        }
        for value in ["100%", "%", "%a%", "%REQ(x%", "% %", "%REQ(x):9"] {
            assert!(check_format(value).is_err(), "{value}");
        }
    }

    #[test]
    fn names_of_headers() {
        assert_eq!(check_name("x-a_b"), Ok(()));
        for name in ["", ":path", "a b", "Host"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
