//! Listeners and clusters for connections of the workload to services named by the tag `kuma.io/service`.
//!
//! Source: Kuma `pkg/plugins/policies/{meshhttproute,meshtcproute}`, `pkg/plugins/policies/core/xds/meshroute`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::Protocol;
use tandem_model::label::MESH;
use tandem_policy::envoy::pb::{core, http};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, Draft, ListenerDraft, NetworkFilter, Origin, UpstreamTransport};

use super::http::{everything_to, grpc_stats, manager, route_table};
use super::inbound::kafka_broker;
use super::names::{self, CATCH_ALL_ROUTE, Naming, service_sni, tagged_cluster};
use super::shape::{self, Discovery, HttpVersion, cluster, flag, speak_http, tcp_proxy};
use super::tls::{PeerName, ZONE_EGRESS, upstream};

/// An outbound to a service by tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutboundSource {
    /// Address on which the proxy listens for the workload.
    pub address: Arc<str>,
    /// Port on which it listens.
    pub port: u32,
    /// The destination.
    pub destination: Arc<Destination>,
    /// Traffic is redirected to the proxy.
    pub redirected: bool,
    /// The host has IPv6.
    pub ipv6: bool,
}

/// A service by tags, as the proxies of a mesh are to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    /// Name of the mesh.
    pub mesh: Arc<str>,
    /// Value of the tag `kuma.io/service`.
    pub service: Arc<str>,
    /// All tags.
    pub tags: BTreeMap<String, String>,
    /// What it speaks.
    pub protocol: Protocol,
    /// It stands for something outside the mesh and is reached through the ZoneEgress.
    pub through_egress: bool,
    /// Connections are secured.
    pub secured: bool,
    /// How resources are named.
    pub naming: Naming,
}

impl Destination {
    /// Name of the cluster and of its endpoints.
    pub fn cluster_name(&self) -> String {
        tagged_cluster(&self.tags)
    }
}

/// The listener of an outbound, with all requests going to the destination.
pub(crate) fn outbound_listener(source: &OutboundSource, internal: &[core::CidrRange]) -> Draft<ListenerDraft> {
    let name = names::outbound_listener(&source.address, source.port);
    let mut listener = shape::outbound_listener(name, &source.address, source.port);
    if source.redirected {
        listener.message.bind_to_port = flag(false);
    }
    let destination = &*source.destination;
    let tags = destination.tags.iter().filter(|(tag, _)| *tag != MESH);
    listener.tags = Some(tags.map(|(tag, value)| (tag.clone(), value.clone())).collect());
    listener.chains = vec![ChainDraft { filters: filters(destination, internal), ..Default::default() }];
    Draft::new(Origin::Outbound, listener).speaking(destination.protocol).for_service(destination.service.clone())
}

fn filters(destination: &Destination, internal: &[core::CidrRange]) -> Vec<NetworkFilter> {
    let tcp = || NetworkFilter::Tcp(Box::new(tcp_proxy(&destination.cluster_name(), &destination.service)));
    match destination.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
            vec![NetworkFilter::Http(Box::new(connection_manager(destination, internal)))]
        }
        Protocol::Kafka => vec![kafka_broker(&destination.service), tcp()],
        _ => vec![tcp()],
    }
}

fn connection_manager(destination: &Destination, internal: &[core::CidrRange]) -> http::HttpConnectionManager {
    let route = everything_to(CATCH_ALL_ROUTE, &destination.cluster_name(), destination.through_egress);
    let service = &*destination.service;
    let table = route_table(names::outbound_routes(service), service.to_owned(), vec![route]);
    let filters = if destination.protocol == Protocol::Grpc { vec![grpc_stats()] } else { Vec::new() };
    let mut manager = manager(service, internal.to_vec(), table, filters);
    manager.normalize_path = flag(true);
    manager
}

/// The cluster of a destination; its endpoints are asked for on the stream.
pub(crate) fn outbound_cluster(destination: &Destination) -> Draft<ClusterDraft> {
    let name = destination.cluster_name();
    let mut draft = cluster(&name, Discovery::Eds);
    let version = match destination.protocol {
        _ if !destination.through_egress => Some(HttpVersion::Two),
        Protocol::Http => Some(HttpVersion::One),
        Protocol::Http2 | Protocol::Grpc => Some(HttpVersion::Two),
        _ => None,
    };
    if let Some(version) = version {
        speak_http(&mut draft, version);
    }
    if destination.secured {
        let peer = if destination.through_egress { ZONE_EGRESS } else { &destination.service };
        let tags = destination.tags.iter().filter(|(tag, _)| *tag != MESH);
        let sni = service_sni(
            &destination.service,
            &destination.mesh,
            tags.map(|(tag, value)| (tag.as_str(), value.as_str())),
        );
        let peers = vec![PeerName::service(&destination.mesh, peer)];
        draft.transport =
            Some(UpstreamTransport::Tls(Box::new(upstream(destination.naming, &destination.mesh, peers, sni))));
    }
    Draft::new(Origin::Outbound, draft).speaking(destination.protocol).for_service(destination.service.clone())
}
