//! Messages of the synchronization streams.
//!
//! They are encoded as `envoy.service.discovery.v3.DeltaDiscovery{Request,Response}` and
//! `kuma.mesh.v1alpha1.KumaResource`, reduced to the fields that control planes use, and with [`Bytes`] where a part is
//! carried in encoded form: a resource is encoded once and its bytes are shared by all streams.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// Type URL of a resource inside of a [`DeltaResponse`].
pub const RESOURCE_TYPE_URL: &str = "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource";
/// What precedes the full name of a message in a type URL.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";
/// Name that subscribes to all resources of a type.
pub const WILDCARD: &str = "*";
/// Largest message, in bytes before compression, that either side sends or accepts by default.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`: subscribes to a type, or confirms or rejects a response.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaRequest {
    /// Who asks. Kuma expects the id on every request.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// Name of the resource type.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names to subscribe to; only [`WILDCARD`] is in use.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Versions the peer has already, by resource name.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// Nonce of the response that this confirms or rejects; empty in the first request.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Set when the response is rejected.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<ErrorDetail>,
}

/// `envoy.config.core.v3.Node`: name and properties of a control plane.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Name of the zone, in both directions.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Version, configuration, instance and features.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<prost_types::Struct>,
}

/// `google.rpc.Status`: why a response is rejected.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorDetail {
    /// Always 0.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text for people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`: what changed of one type.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaResponse {
    /// What the resources reflect: an [`Origin`](crate::origin::Origin), or nothing.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// Added and changed resources, each an encoded [`DeltaResource`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// Name of the resource type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Number of this response in its stream.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Removed resources, each `<name>.<mesh>`.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
}

/// `envoy.config.core.v3.ControlPlane`.
#[derive(Clone, PartialEq, Message)]
pub struct ControlPlane {
    /// `global` or the name of the zone.
    #[prost(string, tag = "1")]
    pub identifier: String,
}

/// `envoy.service.discovery.v3.Resource`: one resource of a response.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaResource {
    /// Digest of the content; peers compare it only for equality.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The [`KumaResource`].
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// `<name>.<mesh>`.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `google.protobuf.Any` that shares its content.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// [`TYPE_URL_PREFIX`] and the name of the message; empty when the value is JSON text.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message or JSON text.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `kuma.mesh.v1alpha1.KumaResource`: a resource as it travels.
#[derive(Clone, PartialEq, Message)]
pub struct KumaResource {
    /// Name, mesh and labels.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Specification.
    #[prost(message, optional, tag = "2")]
    pub spec: Option<Any>,
    /// Status; present for types that have one.
    #[prost(message, optional, tag = "3")]
    pub status: Option<Any>,
}

/// `kuma.mesh.v1alpha1.KumaResource.Meta`.
#[derive(Clone, PartialEq, Message)]
pub struct Meta {
    /// Name of the resource.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Mesh; empty for types of global scope.
    #[prost(string, tag = "2")]
    pub mesh: String,
    /// Empty on the wire.
    #[prost(string, tag = "5")]
    pub version: String,
    /// Labels, sorted so that equal resources have equal encodings.
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
}

/// Name of a resource in a response: `<name>.<mesh>`.
pub fn resource_name(name: &str, mesh: &str) -> String {
    format!("{name}.{mesh}")
}

/// Name and mesh of a resource named in a response: split at the last dot.
pub fn split_resource_name(resource: &str) -> (&str, &str) {
    resource.rsplit_once('.').unwrap_or((resource, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_last_dot() {
        assert_eq!(split_resource_name("a.b.default"), ("a.b", "default"));
        assert_eq!(split_resource_name("default."), ("default", ""));
        assert_eq!(split_resource_name("odd"), ("odd", ""));
        assert_eq!(resource_name("default", ""), "default.");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        // Field 9 of the request and field 8 of the response are of newer Envoy messages.
        let request = DeltaRequest::decode([0x4a, 0x01, 0x61, 0x12, 0x01, 0x4d].as_slice()).expect("a valid message");
        assert_eq!(request.type_url, "M");
        let response = DeltaResponse::decode([0x42, 0x01, 0x61, 0x22, 0x01, 0x4d].as_slice()).expect("a valid message");
        assert_eq!(response.type_url, "M");
    }
}
