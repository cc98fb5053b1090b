//! What kuma-dp posts to `/bootstrap`.
//!
//! Source of the format: Kuma `pkg/xds/bootstrap/types/bootstrap_request.go`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body of the request. Unknown members are ignored and absent ones empty, so that other versions of kuma-dp are served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootstrapRequest {
    /// Mesh of the proxy; empty for zone proxies.
    pub mesh: String,
    /// Name of the proxy.
    pub name: String,
    /// `dataplane`, `ingress`, `egress`, or empty for `dataplane`.
    pub proxy_type: String,
    /// Token (a JWT without `Bearer`).
    pub dataplane_token: String,
    /// File on the proxy's host that holds the token.
    pub dataplane_token_path: String,
    /// The proxy's own resource as YAML or JSON text.
    pub dataplane_resource: String,
    /// Versions of kuma-dp and Envoy.
    pub version: ProxyVersions,
    /// PEM the proxy verifies the control plane with; empty: use the control plane's certificate.
    pub ca_cert: String,
    /// User-defined metadata.
    pub dynamic_metadata: BTreeMap<String, String>,
    /// Port of the DNS filter; 0 for none.
    pub dns_port: u32,
    /// Port of kuma-dp's readiness reporter; 0 for none.
    pub readiness_port: u32,
    /// True when the application probe proxy is *enabled*: the wire name says the opposite of what it means.
    #[serde(rename = "appProbeProxyDisabled")]
    pub app_probe_proxy_enabled: bool,
    /// Feature flags of kuma-dp.
    pub features: Vec<String>,
    /// Limits of the proxy's container.
    pub resources: ProxyResources,
    /// Directory of the proxy's sockets.
    pub workdir: String,
    /// TLS material for metrics.
    pub metrics_resources: MetricsResources,
    /// CA bundle of the proxy's host.
    pub system_ca_path: String,
    /// Transparent proxy settings.
    pub dataplane_config: Option<Value>,
    /// Whether the proxy's host has IPv6.
    pub ipv6_enabled: bool,
    /// SPIRE agent of the proxy's host.
    pub spire_resources: SpireResources,
}

/// Versions of the programs that make up a proxy. What is empty is left out when they are passed on.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyVersions {
    /// Version of kuma-dp.
    pub kuma_dp: KumaDpVersion,
    /// Version of Envoy.
    pub envoy: EnvoyVersion,
}

/// Version of kuma-dp.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KumaDpVersion {
    /// Version number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Tag of the source it was built from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_tag: String,
    /// Commit of the source it was built from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    /// When it was built.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_date: String,
}

/// Version of Envoy.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyVersion {
    /// Version number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Full text of `envoy --version`: commit, version, state of the source, kind of build, TLS library.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// kuma-dp was made for this version of Envoy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kuma_dp_compatible: bool,
}

/// Limits of the proxy's container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyResources {
    /// Heap limit in bytes; 0 for unlimited.
    pub max_heap_size_bytes: u64,
}

/// TLS material for metrics on the proxy's host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsResources {
    /// Certificate file.
    pub cert_path: String,
    /// Key file.
    pub key_path: String,
}

/// SPIRE agent of the proxy's host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpireResources {
    /// Unix socket of the agent.
    pub socket_path: String,
}

impl BootstrapRequest {
    /// True when kuma-dp announced `feature`.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }

    /// True when the request names a token, inline or by file.
    pub fn names_token(&self) -> bool {
        !self.dataplane_token.is_empty() || !self.dataplane_token_path.is_empty()
    }
}
