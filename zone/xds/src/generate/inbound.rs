//! Listeners and clusters for connections to the workload.
//!
//! Source: Kuma `pkg/xds/generator/inbound_proxy_generator.go`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails};
use tandem_model::Protocol;
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _, InboundInterface, SERVICELESS_PORT};
use tandem_policy::legacy::source_tags::TAGS_HEADER;
use tandem_policy::reporter::Reporter;
use tandem_policy::trace::{Direction, Tracing};
use tandem_policy::{InboundFacts, InboundPolicies, legacy};

use prost::Message as _;
use tandem_model::label::SERVICE_TAG;
use tandem_policy::envoy::pb::{cluster, core, http, listener};
use tandem_policy::envoy::{
    ChainDraft, ClusterDraft, DownstreamTransport, Draft, EndpointAddress, ListenerDraft, NetworkFilter, Origin,
    duration, packed_filter, sanitize_stat_prefix,
};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;

use super::collect::socket;
use super::credential::Credential;
use super::http::{everything_to, grpc_stats, manager, route_table};
use super::names::Naming;
use super::shape::{
    HttpVersion, bind_to_inbound_source, flag, inbound_listener, is_ipv6, single_endpoint, speak_http, tcp_proxy,
    tls_inspector,
};
use super::tls::{ALPN, downstream};
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};

/// Timeouts of connections to the workload that no policy changed yet.
mod timeout {
    use std::time::Duration;

    pub const CONNECT: Duration = Duration::from_secs(10);
    pub const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
    pub const STREAM_IDLE: Duration = Duration::from_secs(60 * 60);
}

/// How connections to the workload are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum InboundMode {
    /// Plain text.
    Plain,
    /// Mutual TLS only.
    Strict,
    /// Mutual TLS or anything else.
    Permissive,
}

/// What the resources of an inbound are built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InboundSource {
    /// How connections are secured.
    pub mode: InboundMode,
    /// With what they are secured; in plain text it does not matter.
    pub credential: Option<Arc<Credential>>,
    /// Addresses and ports.
    pub interface: InboundInterface,
    /// Name of the inbound, or its port.
    pub section: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Protocol.
    pub protocol: Protocol,
    /// Traffic is redirected to the proxy.
    pub redirected: bool,
    /// How resources are named.
    pub naming: Naming,
    /// Ports can be shared between workers.
    pub reuse_port: bool,
    /// The host has IPv6.
    pub ipv6: bool,
}

impl InboundSource {
    /// The inbounds of a Dataplane for which there are resources, with their indexes. `template` provides what they have in
    /// common. Of several with all addresses and ports in common, as an application has them that is part of several services,
    /// the last one stands for all: they share a listener.
    pub fn all<'a>(dataplane: &'a Dataplane, template: &'a Self) -> impl Iterator<Item = (usize, Self)> + 'a {
        let all = dataplane.inbounds();
        let is_last = |index: usize, inbound: &Inbound| {
            let mut later = all[index + 1..].iter().filter(|later| later.port == inbound.port);
            !later.any(|later| dataplane.inbound_interface(later) == dataplane.inbound_interface(inbound))
        };
        let served = all
            .iter()
            .enumerate()
            .filter(move |(index, inbound)| inbound.port != SERVICELESS_PORT && is_last(*index, inbound));
        served.map(|(index, inbound)| {
            let source = Self {
                credential: template.credential.clone(),
                interface: dataplane.inbound_interface(inbound),
                section: inbound.section_name(),
                tags: inbound.tags.clone(),
                protocol: inbound.protocol(),
                ..*template
            };
            (index, source)
        })
    }

    fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }

    /// Name of the listener.
    pub fn listener_name(&self) -> String {
        self.naming.inbound_listener(&self.interface.address, self.interface.port, &self.section)
    }

    /// Name of the cluster.
    pub fn cluster_name(&self) -> String {
        self.naming.local_cluster(self.interface.workload_port, &self.section)
    }
}

/// The resources of one inbound, with the effects of policies of the older generation and without those of others.
pub(crate) fn drafts(
    source: &InboundSource,
    policies: &legacy::InboundPolicies,
    internal: &[core::CidrRange],
) -> (Draft<ClusterDraft>, Draft<ListenerDraft>) {
    let cluster = Draft::new(Origin::Inbound, local_cluster(source)).speaking(source.protocol);
    let mut listener = Draft::new(Origin::Inbound, listener(source, internal)).speaking(source.protocol);
    let stat_name = source.listener_name();
    for chain in &mut listener.value.chains {
        legacy::inbound_chain(policies, &stat_name, chain);
    }
    (cluster, listener)
}

/// Policies of an inbound, and whether the proxy has a certificate with which they can be enforced, and what else changes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InboundRules {
    pub policies: ByAddress<InboundPolicies>,
    /// Policies of the older generation.
    pub legacy: ByAddress<legacy::InboundPolicies>,
    /// Whether a TrafficPermission selects any inbound of the proxy.
    pub has_traffic_permission: bool,
    pub has_identity: bool,
    /// How requests are traced at a backend of the mesh; `None` when they are not.
    pub tracing: Option<Arc<Tracing>>,
    /// What logs and traces of policies say of the proxy; `None` when there are none.
    pub reporter: Option<Arc<Reporter>>,
}

/// Everything the part of an inbound's resources is built from that it has in common with the same inbound of other proxies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CommonKey {
    source: InboundSource,
    rules: InboundRules,
}

/// The encoded part of an inbound's resources that it has in common with the same inbound of other proxies of a service.
///
/// The encoding of a message is that of its members one after the other, so this part and the proxy's own, encoded apart, make
/// the whole.
#[derive(Debug)]
pub(crate) struct Common {
    /// `envoy.config.cluster.v3.Cluster` without name and endpoints.
    cluster: Vec<u8>,
    /// `envoy.config.listener.v3.Listener` without name, address and tags.
    listener: Vec<u8>,
}

impl CommonKey {
    fn new(source: &InboundSource, rules: &InboundRules) -> Self {
        let InboundInterface { workload_port, workload_address, .. } = &source.interface;
        // Statistics of the filter that permits connections are named after the listener; where requests are permitted instead, there
        // are none.
        let is_named = !source.protocol.is_http_based()
            || source.naming == Naming::Unified
            || rules.has_identity && rules.has_traffic_permission;
        let interface = InboundInterface {
            address: if is_named { source.interface.address.clone() } else { String::new() },
            advertised_address: String::new(),
            port: if is_named { source.interface.port } else { 0 },
            // Only its family matters, and whether it is that of the host itself.
            workload_address: representative(workload_address).to_owned(),
            workload_port: *workload_port,
        };
        let service = source.tags.get_key_value(SERVICE_TAG);
        let tags = service.map(|(tag, service)| (tag.clone(), service.clone())).into_iter().collect();
        let section = if source.naming == Naming::Unified { source.section.clone() } else { String::new() };
        Self { source: InboundSource { interface, section, tags, ..source.clone() }, rules: rules.clone() }
    }

    fn build(&self, internal: &[core::CidrRange]) -> Common {
        let (mut cluster, mut listener) = drafts(&self.source, &self.rules.legacy.0, internal);
        let InboundRules { policies, has_traffic_permission, has_identity, tracing, reporter, .. } = &self.rules;
        let older = &self.rules.legacy.0;
        let facts = InboundFacts {
            has_identity: *has_identity,
            has_traffic_permission: *has_traffic_permission,
            has_fault_injection: !older.fault_injections.is_empty(),
            has_rate_limit: !older.rate_limits.is_empty(),
        };
        if let Some(tracing) = tracing {
            let service = self.source.naming.inbound_host(self.source.service(), &self.source.section);
            tracing.set(&mut listener.value, &service, Direction::Inbound);
        }
        tandem_policy::inbound_cluster(&policies.0, self.source.protocol, &mut cluster);
        tandem_policy::inbound_listener(&policies.0, facts, reporter.as_deref(), &mut listener);
        let message = &mut cluster.value.message;
        (message.name, message.alt_stat_name, message.load_assignment) = Default::default();
        let draft = &mut listener.value;
        (draft.message.name, draft.message.stat_prefix, draft.message.address, draft.tags) = Default::default();
        Common { cluster: cluster.value.encode(), listener: listener.value.encode() }
    }
}

/// An address that is treated like this one.
fn representative(workload_address: &str) -> &str {
    match workload_address {
        "127.0.0.1" | "::1" => "127.0.0.1",
        address if is_ipv6(address) => "::",
        _ => "0.0.0.0",
    }
}

/// Parts of inbounds that proxies have in common.
pub(crate) type CommonCache = Shared<CommonKey, Common>;

/// The encoded resources of one inbound, and what they have in common with those of other proxies: to be kept with them, so that the
/// others find it.
pub(crate) fn encoded(
    source: &InboundSource,
    internal: impl FnOnce() -> Vec<core::CidrRange>,
    rules: &InboundRules,
    cache: &CommonCache,
) -> ([(ResourceType, Arc<Encoded>); 2], Arc<Common>) {
    let key = CommonKey::new(source, rules);
    let common = cache
        .get_or_build(key.clone(), || Ok::<_, Infallible>(Arc::new(key.build(&internal()))))
        .unwrap_or_else(|never| match never {});
    let own = own_cluster(source).message;
    let message = [own.encode_to_vec(), common.cluster.clone()].concat();
    let cluster = Arc::new(Encoded::new(ResourceType::Cluster, own.name, &message).from_origin(Origin::Inbound));
    let own = own_listener(source);
    let message = [own.encode(), common.listener.clone()].concat();
    let socket = own.message.address.as_ref().and_then(socket);
    let listener = Encoded::listener(own.message.name, socket, &message).from_origin(Origin::Inbound);
    let listener = Arc::new(listener);
    ([(ResourceType::Cluster, cluster), (ResourceType::Listener, listener)], common)
}

/// Name and endpoint of the cluster.
fn own_cluster(source: &InboundSource) -> ClusterDraft {
    let InboundInterface { workload_address, workload_port, .. } = &source.interface;
    let address = EndpointAddress::Socket(workload_address.clone(), *workload_port);
    let whole = single_endpoint(&source.cluster_name(), address).message;
    let message = cluster::Cluster {
        name: whole.name,
        alt_stat_name: whole.alt_stat_name,
        load_assignment: whole.load_assignment,
        ..Default::default()
    };
    ClusterDraft { message, ..Default::default() }
}

/// Name, address and tags of the listener.
fn own_listener(source: &InboundSource) -> ListenerDraft {
    let InboundInterface { address, port, .. } = &source.interface;
    let whole = inbound_listener(source.listener_name(), address, *port, source.reuse_port).message;
    let stat_prefix = if source.naming == Naming::Unified { whole.name.clone() } else { String::new() };
    let message = listener::Listener { name: whole.name, address: whole.address, stat_prefix, ..Default::default() };
    ListenerDraft { message, tags: Some(listener_tags(source)), chains: Vec::new() }
}

/// Tags of the inbound, or what else identifies it.
fn listener_tags(source: &InboundSource) -> BTreeMap<String, String> {
    if source.tags.is_empty() {
        return [("kuma.io/unified-name".to_owned(), format!("self_inbound_dp_{}", source.section))].into();
    }
    source.tags.clone()
}

fn local_cluster(source: &InboundSource) -> ClusterDraft {
    let InboundInterface { workload_address, workload_port, .. } = &source.interface;
    let address = EndpointAddress::Socket(workload_address.clone(), *workload_port);
    let mut cluster = single_endpoint(&source.cluster_name(), address);
    cluster.message.connect_timeout = Some(duration(timeout::CONNECT));
    let version = match source.protocol {
        Protocol::Http => Some(HttpVersion::One),
        Protocol::Http2 | Protocol::Grpc => Some(HttpVersion::Two),
        _ => None,
    };
    if let Some(version) = version {
        cluster.http_mut().common_http_protocol_options = Some(idle(timeout::IDLE));
        speak_http(&mut cluster, version);
    }
    let loopback = matches!(workload_address.as_str(), "127.0.0.1" | "::1");
    if source.redirected && !loopback {
        bind_to_inbound_source(&mut cluster, is_ipv6(workload_address));
    }
    cluster
}

fn idle(timeout: Duration) -> core::HttpProtocolOptions {
    core::HttpProtocolOptions { idle_timeout: Some(duration(timeout)), ..Default::default() }
}

fn listener(source: &InboundSource, internal: &[core::CidrRange]) -> ListenerDraft {
    let InboundInterface { address, port, .. } = &source.interface;
    let mut listener = inbound_listener(source.listener_name(), address, *port, source.reuse_port);
    if source.naming == Naming::Unified {
        listener.message.stat_prefix = source.listener_name();
    }
    if source.redirected {
        listener.message.bind_to_port = flag(false);
    }
    listener.tags = Some(listener_tags(source));
    let plain = || ChainDraft { filters: filters(source, internal), ..Default::default() };
    let matching = |transport: &str, protocols: &[&str]| {
        Some(listener::FilterChainMatch {
            transport_protocol: transport.to_owned(),
            application_protocols: protocols.iter().map(|&protocol| protocol.to_owned()).collect(),
            ..Default::default()
        })
    };
    listener.chains = match source.mode {
        InboundMode::Plain => vec![plain()],
        InboundMode::Strict => vec![secured(plain(), source)],
        InboundMode::Permissive => {
            listener.message.listener_filters.push(tls_inspector());
            vec![
                ChainDraft { matches: matching("raw_buffer", &[]), ..plain() },
                // TLS of the workload itself.
                ChainDraft { matches: matching("tls", &[]), ..plain() },
                ChainDraft { matches: matching("tls", &[ALPN]), ..secured(plain(), source) },
            ]
        }
    };
    listener
}

/// The chain with mutual TLS.
fn secured(mut chain: ChainDraft, source: &InboundSource) -> ChainDraft {
    let context = source.credential.as_deref().map(downstream);
    chain.transport = context.map(|context| DownstreamTransport::Tls(Box::new(context)));
    chain
}

fn filters(source: &InboundSource, internal: &[core::CidrRange]) -> Vec<NetworkFilter> {
    let cluster = source.cluster_name();
    let tcp = || {
        let mut proxy = tcp_proxy(&cluster, &cluster);
        proxy.idle_timeout = Some(duration(timeout::IDLE));
        NetworkFilter::Tcp(Box::new(proxy))
    };
    match source.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
            vec![NetworkFilter::Http(Box::new(connection_manager(source, internal)))]
        }
        Protocol::Kafka => vec![kafka_broker(&cluster), tcp()],
        _ => vec![tcp()],
    }
}

/// `envoy.extensions.filters.network.kafka_broker.v3.KafkaBroker`, which is not among the generated types.
#[derive(Clone, PartialEq, prost::Message)]
struct KafkaBroker {
    #[prost(string, tag = "1")]
    stat_prefix: String,
}

impl prost::Name for KafkaBroker {
    const NAME: &'static str = "KafkaBroker";
    const PACKAGE: &'static str = "envoy.extensions.filters.network.kafka_broker.v3";
}

/// Counts Kafka messages.
pub(crate) fn kafka_broker(stat_name: &str) -> NetworkFilter {
    let config = KafkaBroker { stat_prefix: sanitize_stat_prefix(stat_name) };
    NetworkFilter::Packed(packed_filter("envoy.filters.network.kafka_broker", &config))
}

fn connection_manager(source: &InboundSource, internal: &[core::CidrRange]) -> http::HttpConnectionManager {
    let cluster = source.cluster_name();
    let service = source.service();
    let mut table = route_table(
        source.naming.inbound_routes(service, &source.section),
        source.naming.inbound_host(service, &source.section),
        vec![everything_to("", &cluster, false)],
    );
    // It tells the tags of the caller, which is not for the workload.
    table.request_headers_to_remove.push(TAGS_HEADER.to_owned());
    let filters = if source.protocol == Protocol::Grpc { vec![grpc_stats()] } else { Vec::new() };
    let mut manager = manager(&cluster, internal.to_vec(), table, filters);
    manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet.into();
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails { uri: true, ..Default::default() });
    manager.common_http_protocol_options = Some(idle(timeout::IDLE));
    manager.stream_idle_timeout = Some(duration(timeout::STREAM_IDLE));
    manager
}
