//! Shapes that listeners and clusters of all generators have in common.
//!
//! Source: Kuma `pkg/xds/envoy/{listeners,clusters}/v3`.

use std::net::Ipv6Addr;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use tandem_policy::envoy::pb::{BoolValue, cluster, core, endpoint, listener, tcp, upstream_http};
use tandem_policy::envoy::{
    ClusterDraft, EndpointAddress, ListenerDraft, NetworkFilter, duration, pack, sanitize_stat_prefix,
};
use upstream_http::http_protocol_options::{self as options, ExplicitHttpConfig, UpstreamProtocolOptions};

use super::tls::ads;

/// Connect timeout of clusters that no policy sets one for.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The form of a boolean whose absence means something.
pub(crate) fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// Address of a socket.
pub(crate) fn socket_address(address: &str, port: u32) -> core::SocketAddress {
    core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    }
}

fn tcp_address(address: &str, port: u32) -> core::Address {
    core::Address { address: Some(core::address::Address::SocketAddress(socket_address(address, port))) }
}

/// Address of a Unix socket.
pub(crate) fn pipe_address(path: String) -> core::Address {
    core::Address { address: Some(core::address::Address::Pipe(core::Pipe { path, ..Default::default() })) }
}

/// A listener that takes connections for the workload. The port is shared between workers when the proxy can; told either
/// way, as Envoy does not allow a change.
pub(crate) fn inbound_listener(name: String, address: &str, port: u32, reuse_port: bool) -> ListenerDraft {
    ListenerDraft {
        message: listener::Listener {
            name,
            address: Some(tcp_address(address, port)),
            traffic_direction: core::TrafficDirection::Inbound.into(),
            enable_reuse_port: flag(reuse_port),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// A listener that takes connections from the workload.
pub(crate) fn outbound_listener(name: String, address: &str, port: u32) -> ListenerDraft {
    ListenerDraft {
        message: listener::Listener {
            name,
            address: Some(tcp_address(address, port)),
            traffic_direction: core::TrafficDirection::Outbound.into(),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Listener filter that finds out whether a connection speaks TLS, and to whom.
pub(crate) fn tls_inspector() -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pack(&TlsInspector::default()))),
        ..Default::default()
    }
}

/// Forwards connections to a cluster.
pub(crate) fn tcp_proxy(cluster: &str, stat_name: &str) -> tcp::TcpProxy {
    tcp::TcpProxy {
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        stat_prefix: sanitize_stat_prefix(stat_name),
        ..Default::default()
    }
}

/// A filter that forwards connections to a cluster, with statistics under its name.
pub(crate) fn tcp_filter(cluster: &str) -> NetworkFilter {
    NetworkFilter::Tcp(Box::new(tcp_proxy(cluster, cluster)))
}

/// Which kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// Endpoints are part of the cluster.
    Static,
    /// Endpoints are asked for on the stream.
    Eds,
    /// The endpoint is where the connection was going.
    OriginalDestination,
}

/// A cluster with the connect timeout that no policy changed yet, and a name for statistics if its own has characters that
/// these cannot have.
pub(crate) fn cluster(name: &str, discovery: Discovery) -> ClusterDraft {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
    let stat_name = sanitize_stat_prefix(name);
    let mut message = cluster::Cluster {
        name: name.to_owned(),
        alt_stat_name: if stat_name == name { String::new() } else { stat_name },
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        ..Default::default()
    };
    let kind = match discovery {
        Discovery::Static => DiscoveryType::Static,
        Discovery::Eds => {
            message.eds_cluster_config =
                Some(cluster::cluster::EdsClusterConfig { eds_config: Some(ads()), ..Default::default() });
            DiscoveryType::Eds
        }
        Discovery::OriginalDestination => {
            message.lb_policy = LbPolicy::ClusterProvided.into();
            DiscoveryType::OriginalDst
        }
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    ClusterDraft { message, ..Default::default() }
}

/// A cluster of one endpoint.
pub(crate) fn single_endpoint(name: &str, address: EndpointAddress) -> ClusterDraft {
    use endpoint::lb_endpoint::HostIdentifier;
    let address = match address {
        EndpointAddress::Socket(address, port) => tcp_address(&address, port),
        EndpointAddress::Pipe(path) => pipe_address(path),
    };
    let host = endpoint::Endpoint { address: Some(address), ..Default::default() };
    let host = endpoint::LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(host)), ..Default::default() };
    let mut draft = cluster(name, Discovery::Static);
    draft.message.load_assignment = Some(endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }],
        ..Default::default()
    });
    draft
}

/// Has the host name of a cluster's endpoint looked up, of the other address family too unless `prefer_ipv4`.
pub(crate) fn look_up(draft: &mut ClusterDraft, prefer_ipv4: bool) {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily};
    draft.message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
    if prefer_ipv4 {
        draft.message.dns_lookup_family = DnsLookupFamily::V4Only.into();
    }
}

/// The source address by which the redirection rules on the host know connections of the proxy to its workload.
pub(crate) fn bind_to_inbound_source(draft: &mut ClusterDraft, ipv6: bool) {
    let address = if ipv6 { "::6" } else { "127.0.0.6" };
    draft.message.upstream_bind_config =
        Some(core::BindConfig { source_address: Some(socket_address(address, 0)), ..Default::default() });
}

/// Version of HTTP spoken to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Sets the version of HTTP spoken to a cluster.
pub(crate) fn speak_http(draft: &mut ClusterDraft, version: HttpVersion) {
    use options::explicit_http_config::ProtocolConfig;
    let protocol_config = match version {
        HttpVersion::One => ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default()),
        HttpVersion::Two => ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default()),
    };
    draft.http_mut().upstream_protocol_options =
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol_config),
        }));
}

/// True for the text of an IPv6 address.
pub(crate) fn is_ipv6(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok()
}
