//! Validation of MeshHTTPRoute.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/api/v1alpha1/validation.go`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tandem_model::violation::{Path, Violations};

use super::schema::{Filter, FilterType, HeaderModifier, Match, PathMatch, PathMatchType, PathRewrite, Rule, Spec};
use crate::role::Role;
use crate::schema::{HeaderMatch, HeaderMatchType};
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    BACKENDS, TargetRules, Validate, backend_ref, list, spec, target_deprecation, target_ref, top_kind,
};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshGateway, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const TO: &[TargetKind] = &[MeshService, MeshExternalService, MeshMultiZoneService];
/// Name that stands for a destination that could not be found when a Kubernetes route was converted.
const UNRESOLVED_BACKEND: &str = "kuma.io/unresolved-backend";

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = match role {
                Role::System => TargetRules::kinds(TOP_OF_SYSTEM).with_listener_tags(),
                _ => TargetRules::kinds(TOP_OF_OTHERS),
            };
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        let top = top_kind(self.target_ref.as_ref());
        let allowed = TargetRules::kinds(if top == MeshGateway { &[Mesh] } else { TO });
        for (index, item) in list(&self.to).iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            for (index, item) in item.rules.iter().enumerate() {
                rule(item, top, &path.field("rules").index(index), violations);
            }
            if top != MeshGateway && !list(&item.hostnames).is_empty() {
                violations.add(&path.field("hostnames"), "must not be defined");
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

fn rule(rule: &Rule, top: TargetKind, path: &Path, violations: &mut Violations) {
    for (index, item) in rule.matches.iter().enumerate() {
        condition(item, &path.field("matches").index(index), violations);
    }
    let filters = list(&rule.default.filters);
    for (index, item) in filters.iter().enumerate() {
        let path = path.field("default").field("filters").index(index);
        filter(item, &rule.matches, top, &path, violations);
    }
    let path = path.field("default").field("backendRefs");
    let backends = list(&rule.default.backend_refs);
    let redirects = filters.iter().any(|filter| filter.kind == FilterType::RequestRedirect);
    if backends.is_empty() && top == MeshGateway && !redirects {
        violations.add(&path, "must not be empty");
    }
    for (index, backend) in backends.iter().enumerate() {
        let allowed = TargetRules { malformed_name: Some(UNRESOLVED_BACKEND), ..TargetRules::kinds(BACKENDS) };
        backend_ref(backend, &path.index(index), &allowed, violations);
    }
}

fn condition(condition: &Match, path: &Path, violations: &mut Violations) {
    if let Some(condition) = &condition.path {
        path_match(condition, &path.field("path").field("value"), violations);
    }
    let mut names = BTreeSet::new();
    for (index, parameter) in list(&condition.query_params).iter().enumerate() {
        let path = path.field("queryParams").index(index).field("name");
        if !names.insert(&parameter.name) {
            violations.add(&path, format!("multiple entries for name {}", parameter.name));
        }
    }
    for (index, header) in list(&condition.headers).iter().enumerate() {
        header_match(header, &path.field("headers").index(index), violations);
    }
}

fn path_match(condition: &PathMatch, path: &Path, violations: &mut Violations) {
    let value = condition.value.as_str();
    let is_prefix = condition.kind == PathMatchType::PathPrefix;
    if condition.kind == PathMatchType::RegularExpression || (is_prefix && value == "/") {
        return;
    }
    if is_prefix && value.ends_with('/') {
        violations.add(
            path,
            "does not need a trailing slash because only a `/`-separated prefix or an entire path is matched",
        );
    }
    if !value.starts_with('/') {
        violations.add(path, "must be an absolute path");
    }
}

fn header_match(header: &HeaderMatch, path: &Path, violations: &mut Violations) {
    let without_value = matches!(header.kind, HeaderMatchType::Present | HeaderMatchType::Absent);
    if without_value && !header.value.is_empty() {
        violations.add(&path.field("value"), "must not be defined");
    }
}

fn filter(filter: &Filter, matches: &[Match], top: TargetKind, path: &Path, violations: &mut Violations) {
    const DEFINED: &str = "must be defined";
    let rewrite = |rewrite: Option<&PathRewrite>, path: &Path, violations: &mut Violations| {
        let of_prefix =
            |condition: &Match| condition.path.as_ref().is_some_and(|path| path.kind == PathMatchType::PathPrefix);
        let replaces_prefix = rewrite.is_some_and(|rewrite| rewrite.replace_prefix_match.is_some());
        if replaces_prefix && !matches.iter().all(of_prefix) {
            let path = path.field("path").field("replacePrefixMatch");
            violations.add(&path, "can only appear if all matches match a path prefix");
        }
    };
    match filter.kind {
        FilterType::RequestHeaderModifier => {
            let path = path.field("requestHeaderModifier");
            header_modifier(filter.request_header_modifier.as_ref(), &path, violations);
        }
        FilterType::ResponseHeaderModifier => {
            let path = path.field("responseHeaderModifier");
            header_modifier(filter.response_header_modifier.as_ref(), &path, violations);
        }
        FilterType::RequestRedirect => {
            let path = path.field("requestRedirect");
            let Some(redirect) = &filter.request_redirect else { return violations.add(&path, DEFINED) };
            rewrite(redirect.path.as_ref(), &path, violations);
            hostname(redirect.hostname.as_deref(), &path.field("hostname"), violations);
        }
        FilterType::UrlRewrite => {
            let path = path.field("urlRewrite");
            let Some(url) = &filter.url_rewrite else { return violations.add(&path, DEFINED) };
            rewrite(url.path.as_ref(), &path, violations);
            hostname(url.hostname.as_deref(), &path.field("hostname"), violations);
            if url.host_to_backend_hostname == Some(true) {
                let path = path.field("hostToBackendHostname");
                if top != MeshGateway {
                    violations.add(&path, "can only be set with MeshGateway");
                }
                if url.hostname.is_some() {
                    violations.add(&path, "cannot be set together with hostname");
                }
            }
        }
        FilterType::RequestMirror => {
            let path = path.field("requestMirror");
            let Some(mirror) = &filter.request_mirror else { return violations.add(&path, DEFINED) };
            let allowed = TargetRules::kinds(&[MeshService, MeshServiceSubset]);
            target_ref(&mirror.backend_ref.target_ref(), &path.field("backendRef"), &allowed, violations);
        }
    }
}

fn hostname(hostname: Option<&str>, path: &Path, violations: &mut Violations) {
    if hostname.is_some_and(is_address) {
        violations.add(path, "cannot be an IP address");
    }
}

/// True for an IP address; leading zeros count for nothing.
fn is_address(text: &str) -> bool {
    let octets: Vec<&str> = text.split('.').collect();
    let is_octet =
        |octet: &&str| !octet.is_empty() && octet.bytes().all(|c| c.is_ascii_digit()) && octet.parse::<u8>().is_ok();
    text.parse::<IpAddr>().is_ok() || (octets.len() == 4 && octets.iter().all(is_octet))
}

fn header_modifier(modifier: Option<&HeaderModifier>, path: &Path, violations: &mut Violations) {
    let Some(modifier) = modifier else { return violations.add(path, "must be defined") };
    if *modifier == HeaderModifier::default() {
        return violations.add(path, "must have at least one defined: set, add, remove");
    }
    let mut names = BTreeSet::new();
    let pairs = [("set", list(&modifier.set)), ("add", list(&modifier.add))];
    let named = pairs.iter().flat_map(|(field, headers)| {
        headers.iter().enumerate().map(move |(index, header)| (*field, index, header.name.as_str()))
    });
    let removed = list(&modifier.remove).iter().enumerate().map(|(index, name)| ("remove", index, name.as_str()));
    for (field, index, name) in named.chain(removed) {
        let path = path.field(field).index(index).field("name");
        if !names.insert(name) {
            violations.add(&path, "duplicate header name");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::{Value, json};
    use tandem_model::kind::Kind::MeshHTTPRoute;

    fn route(rule: Value) -> Value {
        json!({"to": [{"targetRef": {"kind": "MeshService", "name": "web"}, "rules": [rule]}]})
    }

    #[test]
    fn defaults_are_applied() {
        let mut spec = route(json!({
            "matches": [{"headers": [{"name": "x", "value": "y"}]}],
            "default": {
                "backendRefs": [{"kind": "MeshService", "name": "a"}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "example.com"}}]
            }
        }));
        assert_eq!(check(MeshHTTPRoute, &mut spec), "");
        let rule = &spec["to"][0]["rules"][0];
        assert_eq!(rule["matches"][0]["headers"][0]["type"], "Exact");
        assert_eq!(rule["default"]["backendRefs"][0]["weight"], 1);
        assert_eq!(rule["default"]["filters"][0]["requestRedirect"]["statusCode"], 302);
    }

    #[test]
    fn violations() {
        refused(
            MeshHTTPRoute,
            json!({"to": [{"targetRef": {"kind": "Mesh"}, "hostnames": ["a"], "rules": []}]}),
            &["spec.to[0].targetRef.kind: value 'Mesh' is not supported", "spec.to[0].hostnames: must not be defined"],
        );
        refused(
            MeshHTTPRoute,
            route(json!({
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "a/"}},
                    {"queryParams": [
                        {"type": "Exact", "name": "q", "value": "1"}, {"type": "Exact", "name": "q", "value": "2"}]},
                    {"headers": [{"type": "Present", "name": "x", "value": "y"}]}
                ],
                "default": {
                    "filters": [
                        {"type": "RequestHeaderModifier"},
                        {"type": "RequestHeaderModifier", "requestHeaderModifier":
                            {"set": [{"name": "a", "value": "1"}], "remove": ["a"]}},
                        {"type": "URLRewrite", "urlRewrite": {"hostname": "1.2.3.4", "hostToBackendHostname": true,
                            "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
                    ],
                    "backendRefs": [{"kind": "Mesh"}, {"kind": "MeshMultiZoneService", "name": "a"}]
                }
            })),
            &[
                "spec.to[0].rules[0].matches[0].path.value: does not need a trailing slash because only a \
                 `/`-separated prefix or an entire path is matched",
                "spec.to[0].rules[0].matches[0].path.value: must be an absolute path",
                "spec.to[0].rules[0].matches[1].queryParams[1].name: multiple entries for name q",
                "spec.to[0].rules[0].matches[2].headers[0].value: must not be defined",
                "spec.to[0].rules[0].default.filters[0].requestHeaderModifier: must be defined",
                "spec.to[0].rules[0].default.filters[1].requestHeaderModifier.remove[0].name: duplicate header name",
                "spec.to[0].rules[0].default.filters[2].urlRewrite.path.replacePrefixMatch: can only appear if all \
                 matches match a path prefix",
                "spec.to[0].rules[0].default.filters[2].urlRewrite.hostname: cannot be an IP address",
                "spec.to[0].rules[0].default.filters[2].urlRewrite.hostToBackendHostname: can only be set with \
                 MeshGateway",
                "spec.to[0].rules[0].default.filters[2].urlRewrite.hostToBackendHostname: cannot be set together with \
                 hostname",
                "spec.to[0].rules[0].default.backendRefs[0].kind: value 'Mesh' is not supported",
                "spec.to[0].rules[0].default.backendRefs[1].port: must be defined with kind MeshMultiZoneService",
            ],
        );
    }
}
