//! Rules for a MeshGatewayRoute.

use tandem_proto::mesh::v1alpha1::MeshGatewayRoute;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::conf::Route;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::Filter;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::filter::header_filter::Header;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::filter::rewrite::Path as RewritePath;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::filter::{Filter as FilterKind, HeaderFilter};
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::r#match::header::MatchType as HeaderMatch;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::r#match::path::MatchType as PathMatch;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::{Match, Rule};
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::{Backend, HttpRoute};

use super::fault_injection::percentage;
use crate::validation::field::port;
use crate::validation::tags::{Rules, selector, selectors};
use crate::violation::{Path, Violations};

const EMPTY: &str = "cannot be empty";

pub(in crate::validation) fn validate(route: &MeshGatewayRoute) -> Violations {
    let mut violations = selectors(&Path::new("selectors"), &route.selectors, Rules::WITH_SERVICE);
    let path = Path::new("conf");
    match route.conf.as_ref().and_then(|conf| conf.route.as_ref()) {
        None => violations.add(&path, EMPTY),
        Some(Route::Http(http)) => violations.extend(validate_http(&path.field("http"), http)),
        Some(Route::Tcp(_)) => {}
    }
    violations
}

fn validate_http(path: &Path, http: &HttpRoute) -> Violations {
    let path = path.field("rules");
    if http.rules.is_empty() {
        return Violations::one(&path, EMPTY);
    }
    let mut violations = Violations::none();
    for (index, rule) in http.rules.iter().enumerate() {
        violations.extend(validate_rule(&path.index(index), rule));
    }
    violations
}

fn validate_rule(path: &Path, rule: &Rule) -> Violations {
    if rule.matches.is_empty() {
        return Violations::one(&path.field("matches"), EMPTY);
    }
    let mut violations = Violations::none();
    for (index, matching) in rule.matches.iter().enumerate() {
        violations.extend(validate_match(&path.field("matches").index(index), matching));
    }
    let matches_prefix = rule
        .matches
        .iter()
        .any(|matching| matching.path.as_ref().is_some_and(|path| path.r#match() == PathMatch::Prefix));
    let filters = || rule.filters.iter().filter_map(|filter| filter.filter.as_ref());
    let rewrites_host = |filter: &FilterKind| matches!(filter, FilterKind::Rewrite(r) if r.host_to_backend_hostname);
    let host_is_taken = filters().any(rewrites_host);
    let rewrites = |filter: &Filter| filter.filter.as_ref().is_some_and(rewrites_host);
    let at_filters = path.field("filters");
    // Indexes count the filters that are left after those that rewrite the host.
    for (index, filter) in rule.filters.iter().filter(|filter| !rewrites(filter)).enumerate() {
        if let Some(filter) = &filter.filter {
            violations.extend(validate_filter(&at_filters.index(index), filter, matches_prefix, host_is_taken));
        }
    }
    let redirects = filters().any(|filter| matches!(filter, FilterKind::Redirect(_)));
    if redirects && rule.filters.len() != 1 {
        violations.add(&at_filters, "redirects cannot be used with other filters");
        return violations;
    }
    let at_backends = path.field("backends");
    match (redirects, rule.backends.is_empty()) {
        (false, true) => violations.add(&at_backends, EMPTY),
        (true, false) => violations.add(&at_backends, "must be empty when using redirect filters"),
        _ => {}
    }
    for (index, backend) in rule.backends.iter().enumerate() {
        violations.extend(validate_backend(&at_backends.index(index), Some(backend)));
    }
    violations
}

fn validate_match(path: &Path, matching: &Match) -> Violations {
    let mut violations = Violations::none();
    if *matching == Match::default() {
        violations.add(path, EMPTY);
    }
    if let Some(of_path) = &matching.path {
        let at_value = path.field("value");
        match of_path.r#match() {
            PathMatch::Regex if of_path.value.is_empty() => violations.add(&at_value, EMPTY),
            PathMatch::Exact | PathMatch::Prefix if !of_path.value.starts_with('/') => {
                violations.add(&at_value, "must be an absolute path");
            }
            _ => {}
        }
    }
    for (index, header) in matching.headers.iter().enumerate() {
        let path = path.field("headers").index(index);
        if header.name.is_empty() {
            violations.add(&path.field("name"), EMPTY);
        }
        let by_presence = matches!(header.r#match(), HeaderMatch::Absent | HeaderMatch::Present);
        match (by_presence, header.value.is_empty()) {
            (true, false) => violations.add(&path.field("value"), "cannot be set"),
            (false, true) => violations.add(&path.field("value"), EMPTY),
            _ => {}
        }
    }
    for (index, query) in matching.query_parameters.iter().enumerate() {
        let path = path.field("query_parameters").index(index);
        for (name, text) in [("name", &query.name), ("value", &query.value)] {
            if text.is_empty() {
                violations.add(&path.field(name), EMPTY);
            }
        }
    }
    violations
}

fn validate_filter(path: &Path, filter: &FilterKind, matches_prefix: bool, host_is_taken: bool) -> Violations {
    let mut violations = Violations::none();
    match filter {
        FilterKind::RequestHeader(headers) => {
            violations.extend(validate_headers(&path.field("request_header"), headers, host_is_taken));
        }
        FilterKind::ResponseHeader(_) => {}
        FilterKind::Redirect(redirect) => {
            let path = path.field("redirect");
            if redirect.port > 0 {
                violations.extend(port(&path.field("port"), redirect.port));
            }
            if !(300..=308).contains(&redirect.status_code) {
                violations.add(&path.field("status_code"), "must be in the range [300, 308]");
            }
        }
        FilterKind::Mirror(mirror) => {
            let path = path.field("mirror");
            violations.extend(percentage(&path, mirror.percentage));
            violations.extend(validate_backend(&path.field("backend"), mirror.backend.as_ref()));
        }
        FilterKind::Rewrite(rewrite) => {
            if matches!(rewrite.path, Some(RewritePath::ReplacePrefixMatch(_))) && !matches_prefix {
                let path = path.field("rewrite").field("replacePrefixMatch");
                violations.add(&path, "cannot be used without a match on path prefix");
            }
        }
    }
    violations
}

fn validate_headers(path: &Path, filter: &HeaderFilter, host_is_taken: bool) -> Violations {
    let mut violations = Violations::none();
    if *filter == HeaderFilter::default() {
        violations.add(path, EMPTY);
    }
    for (name, headers) in [("set", &filter.set), ("add", &filter.add)] {
        for (index, header) in headers.iter().enumerate() {
            violations.extend(validate_header(&path.field(name).index(index), header, host_is_taken));
        }
    }
    for (index, name) in filter.remove.iter().enumerate() {
        if name.is_empty() {
            violations.add(&path.field("remove").index(index), EMPTY);
        }
    }
    violations
}

fn validate_header(path: &Path, header: &Header, host_is_taken: bool) -> Violations {
    let mut violations = Violations::none();
    match header.name.as_str() {
        name @ (":authority" | "Host" | "host") if host_is_taken => violations.add(
            path,
            format!("cannot modify '{name}' header, when route has set 'rewrite.host_to_backend_hostname' option"),
        ),
        "" => violations.add(&path.field("name"), EMPTY),
        _ => {}
    }
    if header.value.is_empty() {
        violations.add(&path.field("value"), EMPTY);
    }
    violations
}

fn validate_backend(path: &Path, backend: Option<&Backend>) -> Violations {
    match backend {
        None => Violations::one(path, EMPTY),
        Some(backend) => selector(path, &backend.destination, Rules::WITH_SERVICE),
    }
}
