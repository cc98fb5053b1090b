//! The cluster of the collector to which a proxy sends its spans.
//!
//! Source: Kuma `pkg/xds/generator/tracing_proxy_generator.go`.

use std::net::IpAddr;

use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, TransportSocketMatch};
use tandem_policy::envoy::pb::{cluster, core, tls};
use tandem_policy::envoy::{Draft, DraftSet, EndpointAddress, Origin, names, pack};
use tandem_policy::legacy::traffic_trace::{Collector, Tracing};

use super::shape::single_endpoint;

/// Adds the cluster. `prefer_ipv4` leaves out the other family when a host name is looked up.
pub(crate) fn tracing(set: &mut DraftSet, tracing: &Tracing, prefer_ipv4: bool) {
    let Collector { host, port, tls } = &tracing.collector;
    let mut draft = single_endpoint(&tracing.cluster, EndpointAddress::Socket(host.clone(), *port));
    let is_name = host.parse::<IpAddr>().is_err();
    if is_name {
        draft.message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
        if prefer_ipv4 {
            draft.message.dns_lookup_family = DnsLookupFamily::V4Only.into();
        }
    }
    if *tls {
        let context = tls::UpstreamTlsContext {
            sni: if is_name { host.clone() } else { String::new() },
            allow_renegotiation: true,
            ..Default::default()
        };
        draft.message.transport_socket_matches.push(TransportSocketMatch {
            name: host.clone(),
            r#match: Some(Default::default()),
            transport_socket: Some(core::TransportSocket {
                name: names::TLS_TRANSPORT_SOCKET.to_owned(),
                config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&context))),
            }),
        });
    }
    set.add_cluster(Draft::new(Origin::Tracing, draft));
}
