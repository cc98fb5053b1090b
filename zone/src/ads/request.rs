//! Discovery requests as this server reads them.
//!
//! An Envoy describes itself with some 60 KB in the node of a request, the delta variant in every request; so the node stays
//! encoded until somebody wants it. Field numbers: `envoy/service/discovery/v3/discovery.proto`.

use std::collections::BTreeMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message;
use tonic::Status;

/// A `DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct SotwRequest {
    /// Version the client has.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// The encoded node; empty when left out.
    #[prost(bytes = "bytes", tag = "2")]
    pub node: Bytes,
    /// Names asked for; none for all.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// Type asked for.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response that is answered; empty in the first request of a type.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why that response was refused.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Refusal>,
}

/// A `DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaRequest {
    /// The encoded node; empty when left out.
    #[prost(bytes = "bytes", tag = "1")]
    pub node: Bytes,
    /// Type asked for.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names to add to the subscription.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names to remove from the subscription.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client has from an earlier stream: versions by name.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The response that is answered; empty when none is.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why that response was refused.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Refusal>,
}

/// A `google.rpc.Status`, as far as it tells a person something.
#[derive(Clone, PartialEq, Message)]
pub struct Refusal {
    /// Text of the client.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The part of a node that says who it is.
#[derive(Clone, PartialEq, Message)]
struct NodeName {
    #[prost(string, tag = "1")]
    id: String,
}

/// Decodes a whole node.
///
/// # Errors
/// When it is no node.
pub fn node(encoded: Bytes) -> Result<Node, Status> {
    Node::decode(encoded).map_err(|error| Status::invalid_argument(format!("undecodable node: {error}")))
}

/// The id of a node, without decoding the rest; empty when it has none.
///
/// # Errors
/// When it is no node.
pub fn node_id(encoded: Bytes) -> Result<String, Status> {
    let name =
        NodeName::decode(encoded).map_err(|error| Status::invalid_argument(format!("undecodable node: {error}")))?;
    Ok(name.id)
}
