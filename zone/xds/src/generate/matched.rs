//! Redirected traffic of a workload to what a MeshPassthrough lists, and to nothing else outside of the mesh.
//!
//! Source: Kuma `pkg/plugins/policies/meshpassthrough/plugin/xds`.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use tandem_policy::envoy::pb::{UInt32Value, core, listener, route};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, ListenerDraft, NetworkFilter, pack};
use tandem_policy::passthrough::{MatchProtocol, Matcher, MatcherKind};

use super::dynconf::answer;
use super::http::{manager, prefix, to_cluster};
use super::shape::{Discovery, HttpVersion, cluster, speak_http, tcp_filter, tls_inspector};

/// Answer to a request for a name that is not listed; clients of Kuma know the text.
const NO_MATCH: &str = "This response comes from Kuma Sidecar. No routes matched this domain - check configuration of your \
                        MeshPassthrough policy.\n";

/// Clusters by name, with the version of HTTP that is spoken to them.
pub(crate) type Clusters = BTreeMap<String, Option<HttpVersion>>;

/// Replaces the chains of a listener by one for each matcher, and adds the names of the clusters that these use. A listener for a
/// family of addresses that no matcher is about stays as it is.
pub(crate) fn match_listener(
    listener: &mut ListenerDraft,
    matchers: &[Matcher],
    is_ipv6: bool,
    internal: &[core::CidrRange],
    clusters: &mut Clusters,
) {
    if !matchers.iter().any(|matcher| matcher.kind.is_of(is_ipv6)) {
        return;
    }
    let of_family = matchers.iter().filter(|matcher| matcher.kind.is_of(is_ipv6));
    listener.chains = of_family.map(|matcher| chain(matcher, internal, clusters)).collect();
    // MySQL's server speaks first, so waiting for what the client says would be in vain.
    let is_silent = |matcher: &&Matcher| matcher.protocol == MatchProtocol::Mysql;
    let silent: Vec<u32> = matchers.iter().filter(is_silent).filter_map(|matcher| matcher.port).collect();
    listener.message.listener_filters.extend([
        inspector("envoy.filters.listener.original_dst", pack(&OriginalDst::default())),
        listener::ListenerFilter { filter_disabled: on_ports(&silent), ..tls_inspector() },
        listener::ListenerFilter {
            filter_disabled: on_ports(&silent),
            ..inspector("envoy.filters.listener.http_inspector", pack(&HttpInspector::default()))
        },
    ]);
}

/// The clusters that chains use: connections go where they were going.
pub(crate) fn clusters(clusters: Clusters) -> impl Iterator<Item = ClusterDraft> {
    clusters.into_iter().map(|(name, version)| {
        let mut draft = cluster(&name, Discovery::OriginalDestination);
        if let Some(version) = version {
            speak_http(&mut draft, version);
        }
        draft
    })
}

fn inspector(name: &str, config: tandem_policy::envoy::pb::Any) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// Matches connections to some ports; `None` without any.
fn on_ports(ports: &[u32]) -> Option<listener::ListenerFilterChainMatchPredicate> {
    let predicate = |rule| listener::ListenerFilterChainMatchPredicate { rule: Some(rule) };
    // Ports are at most 65535.
    let number = |port: u32| i32::try_from(port).unwrap_or(i32::MAX);
    let one = |port: &u32| {
        let range = Int32Range { start: number(*port), end: number(*port).saturating_add(1) };
        predicate(Rule::DestinationPortRange(range))
    };
    match ports {
        [] => None,
        [port] => Some(one(port)),
        ports => Some(predicate(Rule::OrMatch(MatchSet { rules: ports.iter().map(one).collect() }))),
    }
}

/// Name of a cluster, and of a chain, for a destination.
fn name(protocol: MatchProtocol, destination: &str, port: Option<u32>) -> String {
    // MySQL goes the way of everything else over TCP.
    let protocol = if protocol == MatchProtocol::Mysql { MatchProtocol::Tcp } else { protocol };
    let port = port.map_or_else(|| "*".to_owned(), |port| port.to_string());
    match destination {
        "" => format!("meshpassthrough_{}_{port}", protocol.name()),
        destination => format!("meshpassthrough_{}_{destination}_{port}", protocol.name()),
    }
}

fn chain(matcher: &Matcher, internal: &[core::CidrRange], clusters: &mut Clusters) -> ChainDraft {
    let Matcher { protocol, port, value, range, .. } = matcher;
    let name = name(*protocol, value, *port);
    let (transport, application, filter) = match protocol {
        MatchProtocol::Tcp | MatchProtocol::Mysql | MatchProtocol::Tls => {
            clusters.insert(name.clone(), None);
            let transport = if *protocol == MatchProtocol::Tls { "tls" } else { "raw_buffer" };
            (transport, Vec::new(), tcp_filter(&name))
        }
        MatchProtocol::Http | MatchProtocol::Http2 | MatchProtocol::Grpc => {
            let table = route::RouteConfiguration {
                name: name.clone(),
                virtual_hosts: hosts(matcher, &name, clusters),
                ..Default::default()
            };
            let manager = manager(&name, internal.to_vec(), table, Vec::new());
            let spoken = ["http/1.1", "h2c"].map(str::to_owned).into();
            ("raw_buffer", spoken, NetworkFilter::Http(Box::new(manager)))
        }
    };
    let range = range.map(|range| core::CidrRange {
        address_prefix: range.address.to_string(),
        prefix_len: Some(UInt32Value { value: range.length.into() }),
    });
    ChainDraft {
        name,
        matches: Some(listener::FilterChainMatch {
            destination_port: port.map(|value| UInt32Value { value }),
            prefix_ranges: range.into_iter().collect(),
            server_names: matcher.server_name().into_iter().collect(),
            transport_protocol: transport.to_owned(),
            application_protocols: application,
            ..Default::default()
        }),
        filters: vec![filter],
        ..Default::default()
    }
}

/// The virtual hosts of a chain over HTTP.
fn hosts(matcher: &Matcher, chain: &str, clusters: &mut Clusters) -> Vec<route::VirtualHost> {
    let Matcher { protocol, port, .. } = matcher;
    let version = match protocol {
        MatchProtocol::Http2 | MatchProtocol::Grpc => Some(HttpVersion::Two),
        _ => None,
    };
    let mut to = |cluster: String, domains: Vec<String>, host: &str| {
        let action = route::route::Action::Route(to_cluster(&cluster));
        clusters.insert(cluster, version);
        host_of(host, domains, action)
    };
    let everything = || vec!["*".to_owned()];
    if matcher.range.is_some() {
        return vec![to(chain.to_owned(), everything(), &matcher.value)];
    }
    let mut hosts = Vec::new();
    let mut takes_everything = false;
    for host in &matcher.hosts {
        let mut domains = vec![host.value.clone()];
        if host.value == "*" {
            takes_everything = true;
        } else if let Some(port) = port {
            // The header may tell the port.
            domains.push(format!("{}:{port}", host.value));
        } else if host.kind == MatcherKind::Domain {
            domains.push(format!("{}:*", host.value));
        }
        hosts.push(to(name(*protocol, &host.value, *port), domains, &host.value));
    }
    if !takes_everything {
        hosts.push(host_of("no_match", everything(), answer(503, Some(NO_MATCH))));
    }
    hosts
}

fn host_of(name: &str, domains: Vec<String>, action: route::route::Action) -> route::VirtualHost {
    let route = route::Route { r#match: prefix("/"), action: Some(action), ..Default::default() };
    route::VirtualHost { name: name.to_owned(), domains, routes: vec![route], ..Default::default() }
}
