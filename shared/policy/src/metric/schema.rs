//! Schema of MeshMetric.
//!
//! Source: Kuma `pkg/plugins/policies/meshmetric/api/v1alpha1/meshmetric.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::GoDuration;
use crate::target_ref::TargetRef;

/// Specification of MeshMetric.
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

/// Which metrics are published and where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// Metrics of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Metrics of workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<Application>>,
    /// Where metrics go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
}

/// Metrics of the proxy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Which metrics are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Profiles>,
    /// Whether metrics that were never updated are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_unused: Option<bool>,
}

/// Which metrics are published: a profile, less what is excluded, and what is included.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profiles {
    /// Profiles; the broadest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_profiles: Option<Vec<Profile>>,
    /// Metrics that are not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<Selector>>,
    /// Metrics that are published nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<Selector>>,
}

/// A set of metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Name of the set.
    pub name: ProfileName,
}

/// Name of a set of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProfileName {
    /// All metrics.
    All,
    /// Metrics for dashboards and alerts.
    Basic,
    /// No metrics.
    None,
}

/// Selects metrics by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// How names are compared.
    #[serde(rename = "type")]
    pub kind: SelectorType,
    /// What names are compared with.
    #[serde(rename = "match")]
    pub matches: String,
}

/// How names of metrics are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SelectorType {
    /// The name begins with the text.
    Prefix,
    /// The name matches a regular expression.
    Regex,
    /// The name is the text.
    Exact,
    /// The name contains the text.
    Contains,
}

/// Metrics of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Name that tells workloads apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path of the metrics.
    #[serde(default = "default_path")]
    pub path: String,
    /// Address of the workload; absent for that of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of the metrics.
    pub port: u32,
}

fn default_path() -> String {
    "/metrics".to_owned()
}

/// A destination of metrics; of the objects, the one for the type is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Type of the destination.
    #[serde(rename = "type")]
    pub kind: BackendType,
    /// An endpoint for Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// An OpenTelemetry collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetry>,
}

/// Type of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendType {
    /// Endpoint for Prometheus.
    Prometheus,
    /// OpenTelemetry collector.
    OpenTelemetry,
}

/// An endpoint for Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prometheus {
    /// Prometheus server that the endpoint is for; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Port of the endpoint.
    #[serde(default = "default_port")]
    pub port: u32,
    /// Path of the endpoint.
    #[serde(default = "default_path")]
    pub path: String,
    /// How connections to the endpoint are secured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PrometheusTls>,
}

fn default_port() -> u32 {
    5670
}

/// How connections to the endpoint are secured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusTls {
    /// What secures them.
    #[serde(default)]
    pub mode: TlsMode,
}

/// What secures connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Nothing.
    #[default]
    Disabled,
    /// A certificate that the proxy was started with.
    ProvidedTLS,
    /// A certificate of the mesh.
    ActiveMTLSBackend,
}

/// An OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenTelemetry {
    /// Host and port.
    pub endpoint: String,
    /// Time between two deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<GoDuration>,
}
