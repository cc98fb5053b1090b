//! Listeners and clusters for connections of the workload to destinations.
//!
//! Source: Kuma `pkg/plugins/policies/{meshhttproute,meshtcproute}`, `pkg/plugins/policies/core/xds/meshroute`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::{Kri, Protocol};
use tandem_policy::ByDestination;
use tandem_policy::envoy::pb::{core, http};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, Draft, ListenerDraft, NetworkFilter, Origin, UpstreamTransport};
use tandem_policy::http_route::RouteTable;

use super::credential::Credential;
use super::http::{everything_to, grpc_stats, manager, route_table};
use super::inbound::kafka_broker;
use super::names::{self, CATCH_ALL_ROUTE, Naming};
use super::routes::{self, Way};
use super::shape::{self, Discovery, HttpVersion, cluster, flag, speak_http, tcp_proxy};
use super::tls::{PeerName, upstream};
use super::traffic_route::tags_header;

/// An outbound to a service by tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutboundSource {
    /// Address on which the proxy listens for the workload.
    pub address: Arc<str>,
    /// Port on which it listens.
    pub port: u32,
    /// The destination.
    pub destination: Arc<Destination>,
    /// Where what is sent there goes.
    pub way: Way,
    /// Tags of the proxy, told in each request; `None` when nobody wants to know.
    pub tags_header: Option<Arc<str>>,
    /// Traffic is redirected to the proxy.
    pub redirected: bool,
    /// The host has IPv6.
    pub ipv6: bool,
}

/// A destination, as the proxies of a mesh are to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    /// Name of the mesh.
    pub mesh: Arc<str>,
    /// What policies know it by.
    pub reference: Reference,
    /// What traces call it; `None` for its service.
    pub alias: Option<Arc<str>>,
    /// Name of the cluster and of its endpoints.
    pub cluster: String,
    /// Name of the route table.
    pub routes: String,
    /// Name of the virtual host, also in statistics.
    pub host: String,
    /// Name of the listener; `None` when it is named by its address.
    pub listener: Option<String>,
    /// Tags published with the listener.
    pub tags: BTreeMap<String, String>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Version of HTTP spoken on the way; `None` when it is not told.
    pub http: Option<HttpVersion>,
    /// It stands for something outside the mesh, which wants its own name as host.
    pub rewrite_host: bool,
    /// It is outside the mesh and reached without a ZoneEgress.
    pub direct: bool,
    /// How connections are secured; `None` for plain text, and for destinations outside, whose endpoints tell themselves.
    pub tls: Option<DestinationTls>,
    /// How resources are named.
    pub naming: Naming,
}

/// What policies know a destination by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    /// A value of the tag `kuma.io/service`.
    Service(Arc<str>),
    /// A port of a resource.
    Port(Arc<Kri>),
}

/// Whom to ask for and whom to expect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DestinationTls {
    /// Name to ask for.
    pub sni: String,
    /// Names one of which the other side is expected to have.
    pub peers: Vec<PeerName>,
    /// What to show, and whom to trust.
    pub credential: Arc<Credential>,
}

impl Destination {
    /// What policies of a kind say about it.
    pub fn conf<'a, C>(&self, confs: &'a ByDestination<C>) -> Option<&'a C> {
        match &self.reference {
            Reference::Service(service) => confs.of_service(service),
            Reference::Port(kri) => confs.of_resource(kri),
        }
    }

    /// True when a proxy of the mesh is at its other end, and no ZoneEgress.
    pub fn is_in_mesh(&self) -> bool {
        !self.rewrite_host
    }

    fn draft<T>(&self, value: T) -> Draft<T> {
        let draft = Draft::new(Origin::Outbound, value).speaking(self.protocol);
        match &self.reference {
            Reference::Service(service) => draft.for_service(service.clone()),
            Reference::Port(kri) => Draft { alias: self.alias.clone(), ..draft.serving(kri.clone()) },
        }
    }
}

/// The listener of an outbound. `table` has the routes of requests.
pub(crate) fn outbound_listener(
    source: &OutboundSource,
    table: Option<&RouteTable>,
    internal: &[core::CidrRange],
) -> Draft<ListenerDraft> {
    let destination = &*source.destination;
    let by_address = || names::outbound_listener(&source.address, source.port);
    let name = destination.listener.clone().unwrap_or_else(by_address);
    let mut listener = shape::outbound_listener(name, &source.address, source.port);
    if let Some(name) = &destination.listener {
        listener.message.stat_prefix.clone_from(name);
    }
    if source.redirected {
        listener.message.bind_to_port = flag(false);
    }
    listener.tags = Some(destination.tags.clone());
    listener.chains = vec![ChainDraft { filters: filters(source, table, internal), ..Default::default() }];
    destination.draft(listener)
}

fn filters(source: &OutboundSource, table: Option<&RouteTable>, internal: &[core::CidrRange]) -> Vec<NetworkFilter> {
    let destination = &*source.destination;
    let proxy = match &source.way {
        Way::Connections(shares) => shares.of_connections(&destination.host),
        Way::Requests(_) | Way::Destination if destination.protocol.is_http_based() => {
            return vec![NetworkFilter::Http(Box::new(connection_manager(source, table, internal)))];
        }
        Way::Requests(_) | Way::Destination => Some(tcp_proxy(&destination.cluster, &destination.host)),
    };
    let broker = (destination.protocol == Protocol::Kafka).then(|| kafka_broker(&destination.host));
    broker.into_iter().chain(proxy.map(|proxy| NetworkFilter::Tcp(Box::new(proxy)))).collect()
}

fn connection_manager(
    source: &OutboundSource,
    table: Option<&RouteTable>,
    internal: &[core::CidrRange],
) -> http::HttpConnectionManager {
    let destination = &*source.destination;
    let Destination { cluster, host, routes, rewrite_host, .. } = destination;
    let way = match (&source.way, table) {
        (Way::Requests(ways), Some(table)) => routes::of_requests(ways, table),
        _ => vec![everything_to(CATCH_ALL_ROUTE, cluster, *rewrite_host)],
    };
    let mut table = route_table(routes.clone(), host.clone(), way);
    table.request_headers_to_add = source.tags_header.iter().map(|value| tags_header(value)).collect();
    let filters = if destination.protocol == Protocol::Grpc { vec![grpc_stats()] } else { Vec::new() };
    let mut manager = manager(host, internal.to_vec(), table, filters);
    manager.normalize_path = flag(true);
    manager
}

/// A cluster made elsewhere as that of a destination.
pub(crate) fn direct_cluster(destination: &Destination, cluster: ClusterDraft) -> Draft<ClusterDraft> {
    destination.draft(cluster)
}

/// The cluster of a destination; its endpoints are asked for on the stream.
pub(crate) fn outbound_cluster(destination: &Destination) -> Draft<ClusterDraft> {
    let mut draft = cluster(&destination.cluster, Discovery::Eds);
    if let Some(version) = destination.http {
        speak_http(&mut draft, version);
    }
    if let Some(DestinationTls { sni, peers, credential }) = &destination.tls {
        let context = upstream(credential, peers.clone(), sni.clone());
        draft.transport = Some(UpstreamTransport::Tls(Box::new(context)));
    }
    destination.draft(draft)
}
