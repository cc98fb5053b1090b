//! The listener on which the probes of a workload are asked for in plain text, while its own ports ask for certificates.
//!
//! Source: Kuma `pkg/xds/generator/probe_generator.go`.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _};
use tandem_policy::envoy::pb::route;
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, NetworkFilter, Origin};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::Probes;

use super::http::{host_itself, manager, route_table, to_cluster};
use super::names::Naming;
use super::shape::{flag, inbound_listener};

/// The listener.
const LISTENER: &str = "probe:listener";

/// Its route table.
const ROUTES: &str = "probe:route_configuration";

/// The virtual host of the table.
const HOST: &str = "probe";

/// Everything the listener is built from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProbeSource<'a> {
    /// The Dataplane, which has probes.
    pub dataplane: &'a Dataplane,
    /// They.
    pub probes: &'a Probes,
    /// How resources are named.
    pub naming: Naming,
    /// Traffic is redirected to the proxy.
    pub redirected: bool,
    /// Ports can be shared between workers.
    pub reuse_port: bool,
    /// The host has IPv6.
    pub ipv6: bool,
}

impl std::hash::Hash for ProbeSource<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Self { dataplane, probes, naming, redirected, reuse_port, ipv6 } = self;
        (address(dataplane), naming, redirected, reuse_port, ipv6, probes.port, clusters(dataplane, *naming))
            .hash(state);
        for endpoint in &probes.endpoints {
            (endpoint.inbound_port, &endpoint.inbound_path, &endpoint.path).hash(state);
        }
    }
}

fn address(dataplane: &Dataplane) -> &str {
    dataplane.networking.as_ref().map_or("", |networking| &networking.address)
}

/// The clusters of the workload, by its ports.
fn clusters(dataplane: &Dataplane, naming: Naming) -> BTreeMap<u32, String> {
    let inbounds = dataplane.inbounds().iter().map(|inbound| {
        let port = dataplane.inbound_interface(inbound).workload_port;
        (port, naming.local_cluster(port, &inbound.section_name()))
    });
    inbounds.collect()
}

/// Adds the listener.
pub(crate) fn probes(set: &mut DraftSet, source: &ProbeSource<'_>) {
    let clusters = clusters(source.dataplane, source.naming);
    let routes = source.probes.endpoints.iter().map(|endpoint| {
        let action = match clusters.get(&endpoint.inbound_port) {
            Some(cluster) => to_workload(cluster, &endpoint.inbound_path),
            None => to_port(endpoint.inbound_port, &endpoint.inbound_path),
        };
        route::Route { r#match: Some(get(&endpoint.path)), action: Some(action), ..Default::default() }
    });
    let mut table = route_table(ROUTES.to_owned(), HOST.to_owned(), routes.collect());
    table.validate_clusters = None;
    let manager = manager(LISTENER, host_itself(source.ipv6), table, Vec::new());
    let mut listener =
        inbound_listener(LISTENER.to_owned(), address(source.dataplane), source.probes.port, source.reuse_port);
    if source.redirected {
        listener.message.bind_to_port = flag(false);
    }
    listener.chains.push(ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() });
    set.add_listener(Draft::new(Origin::Probe, listener));
}

/// The path of a reference, without host, query and fragment.
fn path(reference: &str) -> &str {
    let end = reference.find(['?', '#']).unwrap_or(reference.len());
    let whole = &reference[..end];
    match whole.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |start| &rest[start..]),
        None => whole,
    }
}

/// Matches requests for a path that change nothing.
fn get(reference: &str) -> route::RouteMatch {
    let method = matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact("GET".to_owned())),
        ..Default::default()
    };
    let method = route::HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(method)),
        ..Default::default()
    };
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Path(path(reference).to_owned())),
        headers: vec![method],
        ..Default::default()
    }
}

/// Asks the workload behind an inbound.
fn to_workload(cluster: &str, reference: &str) -> route::route::Action {
    let mut action = to_cluster(cluster);
    action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
        pattern: Some(matcher::RegexMatcher { regex: ".*".to_owned(), ..Default::default() }),
        // A backslash means a group of the pattern, which has none.
        substitution: path(reference).replace('\\', r"\\"),
    });
    route::route::Action::Route(action)
}

/// Has the asker ask a port of the workload that is no inbound.
fn to_port(port: u32, reference: &str) -> route::route::Action {
    use route::redirect_action::PathRewriteSpecifier;
    route::route::Action::Redirect(route::RedirectAction {
        port_redirect: port,
        path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect(path(reference).to_owned())),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_are_what_a_request_line_has_without_its_query() {
        assert_eq!(path("/8080/healthz?a=b#c"), "/8080/healthz");
        assert_eq!(path("http://host:80/ready?x"), "/ready");
        assert_eq!(path("http://host"), "");
        assert_eq!(path(""), "");
    }
}
