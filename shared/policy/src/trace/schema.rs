//! Schema of MeshTrace.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrace/api/v1alpha1/meshtrace.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::IntOrString;
use crate::target_ref::TargetRef;

/// Specification of MeshTrace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The configuration.
    #[serde(default)]
    pub default: Conf,
}

/// Which requests are traced and where traces go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// The destination; at most one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1))]
    pub backends: Option<Vec<Backend>>,
    /// Which requests are traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Tags added to every span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

/// A destination of traces; of the objects, the one for the type is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Type of the destination.
    #[serde(rename = "type")]
    pub kind: BackendType,
    /// A Zipkin collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zipkin: Option<Zipkin>,
    /// A Datadog agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datadog: Option<Datadog>,
    /// An OpenTelemetry collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetry>,
}

/// Type of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendType {
    /// Zipkin collector.
    Zipkin,
    /// Datadog agent.
    Datadog,
    /// OpenTelemetry collector.
    OpenTelemetry,
}

/// An OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenTelemetry {
    /// Host and, unless it is 4317, port.
    #[schemars(length(min = 1))]
    pub endpoint: String,
}

/// A Zipkin collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zipkin {
    /// URL of the collector.
    pub url: String,
    /// Whether trace identifiers have 128 bits.
    #[serde(default, rename = "traceId128bit")]
    pub trace_id_128bit: bool,
    /// Version of the API.
    #[serde(default)]
    pub api_version: ZipkinApi,
    /// Whether client and server share a span.
    #[serde(default = "default_shared_span_context")]
    pub shared_span_context: bool,
}

fn default_shared_span_context() -> bool {
    true
}

/// Version of the API of a Zipkin collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ZipkinApi {
    /// JSON over HTTP.
    #[default]
    HttpJson,
    /// Protobuf over HTTP.
    HttpProto,
}

/// A Datadog agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Datadog {
    /// URL of the agent.
    pub url: String,
    /// Whether the name of the service tells direction and destination.
    #[serde(default)]
    pub split_service: bool,
}

/// Shares of requests, in percent; absent for all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    /// Upper limit of all traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overall: Option<IntOrString>,
    /// Of requests whose client asks for a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IntOrString>,
    /// Of other requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<IntOrString>,
}

/// A tag of a span, with either a fixed value or one from the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// Name of the tag.
    pub name: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// Where the value is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderTag>,
}

/// A header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderTag {
    /// Name of the header.
    pub name: String,
    /// Value for requests without the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}
