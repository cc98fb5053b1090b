//! Listeners and clusters for redirected traffic that no other listener takes.
//!
//! Source: Kuma `pkg/xds/generator/transparent_proxy_generator.go`, `api/mesh/v1alpha1/dataplane_helpers.go`.

use std::net::Ipv4Addr;

use tandem_model::dataplane::{DataplaneExt as _, SERVICELESS_PORT};
use tandem_policy::access_log::AccessLog;
use tandem_policy::envoy::pb::{UInt32Value, core, listener};
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, Origin, sanitize_stat_prefix};
use tandem_policy::passthrough::Matcher;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::IpFamilyMode as Family;

use super::matched::{self, Clusters, match_listener};
use super::names::{NO_DESTINATION, Naming};
use super::shape::{Discovery, bind_to_inbound_source, cluster, flag, inbound_listener, outbound_listener, tcp_filter};
use crate::metadata::{IpFamilyMode, ProxyMetadata, Redirect};

/// How the traffic of a proxy's host is redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Redirection {
    /// Traffic to the workload.
    pub inbound: Redirect,
    /// Traffic of the workload.
    pub outbound: Redirect,
    /// IPv6 is redirected too.
    pub ipv6: bool,
    /// Redirection is in effect.
    pub enabled: bool,
}

impl Redirection {
    /// What the proxy's metadata or, for older ones, its Dataplane says.
    pub fn of(dataplane: &Dataplane, metadata: &ProxyMetadata) -> Self {
        let networking = dataplane.networking.as_ref();
        let (inbound, outbound, mode) = if metadata.features.transparent_proxy_in_metadata {
            let config = metadata.transparent_proxy.unwrap_or_default();
            (config.inbound, config.outbound, config.ip_family_mode)
        } else if let Some(config) = networking.and_then(|networking| networking.transparent_proxying.as_ref()) {
            let redirect = |port| Redirect { enabled: port > 0, port };
            let mode = match config.ip_family_mode() {
                Family::IPv4 => IpFamilyMode::Ipv4,
                _ => IpFamilyMode::DualStack,
            };
            (redirect(config.redirect_port_inbound), redirect(config.redirect_port_outbound), mode)
        } else {
            return Self::default();
        };
        let ipv6 = mode != IpFamilyMode::Ipv4;
        let is_ipv4 = networking.is_some_and(|networking| networking.address.parse::<Ipv4Addr>().is_ok());
        Self { inbound, outbound, ipv6, enabled: (inbound.enabled || outbound.enabled) && (ipv6 || is_ipv4) }
    }
}

/// True when the traffic of a proxy's host is redirected, as the proxy's metadata or, for older ones, its Dataplane says.
pub fn is_redirected(dataplane: &Dataplane, metadata: &ProxyMetadata) -> bool {
    Redirection::of(dataplane, metadata).enabled
}

/// Which traffic of the workload to unknown destinations passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outbound<'a> {
    /// All of it.
    All,
    /// None of it.
    None,
    /// What matches.
    Matched(&'a [Matcher]),
}

/// What the listeners depend on besides the redirection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Passthrough<'a> {
    /// Which traffic of the workload to unknown destinations passes.
    pub outbound: Outbound<'a>,
    /// Whose requests count as internal.
    pub internal: Vec<core::CidrRange>,
    /// Traffic to the workload may go to these ports only; `None` for any port.
    pub strict_ports: Option<Vec<u32>>,
    /// How resources are named.
    pub naming: Naming,
    /// Ports can be shared between workers.
    pub reuse_port: bool,
    /// Where traffic of the workload to unknown destinations is logged.
    pub logs: Vec<AccessLog>,
}

/// The ports on which a workload takes connections, each once, in the order of its inbounds.
pub(crate) fn workload_ports(dataplane: &Dataplane) -> Vec<u32> {
    let mut ports = Vec::new();
    for inbound in dataplane.inbounds() {
        if !ports.contains(&inbound.port) {
            ports.push(inbound.port);
        }
    }
    ports
}

/// The resources of the directions that are redirected. They do not ask for [`Redirection::enabled`]: where the proxy has an IPv6
/// address only IPv4 may be redirected all the same, and somebody has to take it.
///
/// Kuma has both directions or none, as outbound traffic is redirected or not. With one of them that leaves connections that
/// nobody takes, or a listener that, as nothing is redirected to it, would connect to itself.
pub(crate) fn transparent(set: &mut DraftSet, redirection: &Redirection, passthrough: &Passthrough<'_>) {
    let mut clusters = Clusters::new();
    family(set, 4, "0.0.0.0", redirection, passthrough, &mut clusters);
    if redirection.ipv6 {
        family(set, 6, "::", redirection, passthrough, &mut clusters);
    }
    matched::clusters(clusters).for_each(|draft| set.add_cluster(Draft::new(Origin::MeshPassthrough, draft)));
}

fn family(
    set: &mut DraftSet,
    version: u8,
    any: &str,
    redirection: &Redirection,
    passthrough: &Passthrough<'_>,
    clusters: &mut Clusters,
) {
    if redirection.outbound.enabled {
        outbound(set, version, any, redirection.outbound.port, passthrough, clusters);
    }
    if redirection.inbound.enabled {
        inbound(set, version, any, redirection.inbound.port, passthrough);
    }
}

fn outbound(
    set: &mut DraftSet,
    version: u8,
    any: &str,
    port: u32,
    passthrough: &Passthrough<'_>,
    clusters: &mut Clusters,
) {
    let name = passthrough.naming.passthrough("outbound", version);
    // Without the cluster connections to it are closed.
    if passthrough.outbound == Outbound::All {
        set.add_cluster(Draft::new(Origin::Transparent, cluster(&name, Discovery::OriginalDestination)));
    }
    let mut listener = outbound_listener(name.clone(), any, port);
    listener.message.use_original_dst = flag(true);
    listener.chains.push(ChainDraft { filters: vec![tcp_filter(&name)], ..Default::default() });
    passthrough.logs.iter().for_each(|log| log.add(&mut listener));
    if let Outbound::Matched(matchers) = passthrough.outbound {
        match_listener(&mut listener, matchers, version == 6, &passthrough.internal, clusters);
    }
    set.add_listener(Draft::new(Origin::Transparent, listener));
}

fn inbound(set: &mut DraftSet, version: u8, any: &str, port: u32, passthrough: &Passthrough<'_>) {
    let mut nowhere = cluster(NO_DESTINATION, Discovery::Static);
    nowhere.message.alt_stat_name = sanitize_stat_prefix(NO_DESTINATION);
    set.add_cluster(Draft::new(Origin::Transparent, nowhere));
    let name = passthrough.naming.passthrough("inbound", version);
    let mut to_workload = cluster(&name, Discovery::OriginalDestination);
    bind_to_inbound_source(&mut to_workload, version == 6);
    set.add_cluster(Draft::new(Origin::Transparent, to_workload));
    let mut listener = inbound_listener(name.clone(), any, port, passthrough.reuse_port);
    listener.message.use_original_dst = flag(true);
    listener.chains = match &passthrough.strict_ports {
        None => vec![ChainDraft { filters: vec![tcp_filter(&name)], ..Default::default() }],
        Some(ports) => ports.iter().map(|port| port_chain(*port, &name)).collect(),
    };
    set.add_listener(Draft::new(Origin::Transparent, listener));
}

/// Passes connections to one port.
fn port_chain(port: u32, passthrough: &str) -> ChainDraft {
    let cluster = if port == SERVICELESS_PORT { NO_DESTINATION } else { passthrough };
    ChainDraft {
        matches: Some(listener::FilterChainMatch {
            destination_port: Some(UInt32Value { value: port }),
            ..Default::default()
        }),
        filters: vec![tcp_filter(cluster)],
        ..Default::default()
    }
}
