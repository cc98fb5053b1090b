//! Envoy's discovery messages and resources, reduced to the fields that a simulated proxy needs. Decoding skips the rest
//! and does not copy the bodies of resources.
//!
//! Field numbers: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/cluster/v3/cluster.proto`,
//! `envoy/config/listener/v3/listener.proto`, `envoy/extensions/transport_sockets/tls/v3/*.proto`,
//! `envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto`.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message, Oneof};

/// `type` of a cluster whose endpoints come by EDS.
pub(super) const EDS: i32 = 3;

/// An encoded `Node`: what is the sender's own, and behind it what many have in common and share in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EncodedNode {
    own: Bytes,
    common: Bytes,
}

impl EncodedNode {
    pub(super) fn new(own: Bytes, common: Bytes) -> Self {
        Self { own, common }
    }
}

/// Only sent: what is decoded has no node.
impl Message for EncodedNode {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.own);
        buf.put_slice(&self.common);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.own.len() + self.common.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<EncodedNode>,
    #[prost(string, tag = "2")]
    pub(super) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) unsubscribe: Vec<String>,
    /// Versions by name that the client has from earlier streams.
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) versions: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub(super) nonce: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) removed: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) body: Option<Any>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    /// Absent after the first request of a stream.
    #[prost(message, optional, tag = "2")]
    pub(super) node: Option<EncodedNode>,
    #[prost(string, repeated, tag = "3")]
    pub(super) names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// The first field of endpoints, routes and secrets: their name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Cluster {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) discovery_type: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) eds: Option<EdsConfig>,
    #[prost(message, optional, tag = "4")]
    pub(super) connect_timeout: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "10")]
    pub(super) circuit_breakers: Option<CircuitBreakers>,
    #[prost(message, optional, tag = "24")]
    pub(super) transport_socket: Option<TransportSocket>,
    #[prost(message, repeated, tag = "43")]
    pub(super) transport_socket_matches: Vec<TransportSocketMatch>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EdsConfig {
    #[prost(string, tag = "2")]
    pub(super) service_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CircuitBreakers {
    #[prost(message, repeated, tag = "1")]
    pub(super) thresholds: Vec<Thresholds>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Thresholds {
    #[prost(message, optional, tag = "2")]
    pub(super) max_connections: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransportSocketMatch {
    #[prost(message, optional, tag = "3")]
    pub(super) transport_socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransportSocket {
    #[prost(message, optional, tag = "3")]
    pub(super) typed_config: Option<TypedConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedConfig {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// Upstream and downstream TLS contexts share this field.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TlsContext {
    #[prost(message, optional, tag = "1")]
    pub(super) common: Option<CommonTlsContext>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CommonTlsContext {
    #[prost(message, repeated, tag = "6")]
    pub(super) certificates: Vec<SecretConfig>,
    #[prost(message, optional, tag = "7")]
    pub(super) validation: Option<SecretConfig>,
    #[prost(message, optional, tag = "8")]
    pub(super) combined_validation: Option<CombinedValidation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CombinedValidation {
    #[prost(message, optional, tag = "2")]
    pub(super) validation: Option<SecretConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SecretConfig {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Absent for secrets that are part of the bootstrap configuration.
    #[prost(message, optional, tag = "2")]
    pub(super) source: Option<Empty>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Listener {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) filter_chains: Vec<FilterChain>,
    #[prost(message, optional, tag = "25")]
    pub(super) default_filter_chain: Option<FilterChain>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    pub(super) filters: Vec<Filter>,
    #[prost(message, optional, tag = "6")]
    pub(super) transport_socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Filter {
    #[prost(message, optional, tag = "4")]
    pub(super) typed_config: Option<TypedConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpConnectionManager {
    #[prost(oneof = "RouteSpecifier", tags = "3")]
    pub(super) routes: Option<RouteSpecifier>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum RouteSpecifier {
    #[prost(message, tag = "3")]
    Rds(Rds),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Rds {
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// What a proxy says of itself, without the extensions.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) cluster: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<prost_types::Struct>,
    #[prost(string, tag = "6")]
    pub(super) user_agent_name: String,
}

/// The extensions of a `Node`. Their encoding follows that of [`Node`] to make a whole one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeExtensions {
    #[prost(message, repeated, tag = "9")]
    pub(super) extensions: Vec<Extension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Extension {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) category: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) type_urls: Vec<String>,
}
