//! The servers that proxies talk to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Validator;
use crate::config::{Tls, duration};

/// The server for proxies: bootstrap and xDS on one TLS port.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpServer {
    /// Port on all interfaces.
    pub port: u16,
    /// TLS settings.
    pub tls: Tls,
    /// How long a client may take for the header of a request.
    #[serde(deserialize_with = "duration::deserialize")]
    pub read_header_timeout: Duration,
    /// How long open streams may go on after the process was told to stop.
    #[serde(deserialize_with = "duration::deserialize")]
    pub graceful_shutdown_timeout: Duration,
    /// Proxies that connect at the same time.
    pub arrivals: Arrivals,
    /// What peers may use up.
    pub limits: DpLimits,
    /// Certificates that proxies get.
    pub certificates: Certificates,
    /// Authentication of proxies.
    pub authn: DpServerAuthn,
    /// Health discovery.
    pub hds: Hds,
}

/// Proxies that connect at the same time.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arrivals {
    /// How many may wait to be served; more are told to come again later.
    pub max_waiting: usize,
    /// How long each may wait; then it is told to come again later.
    #[serde(deserialize_with = "duration::deserialize")]
    pub max_wait: Duration,
}

/// What peers of the server for proxies may use up.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpLimits {
    /// Connections that have not asked for anything yet; when there are more, the oldest is closed.
    pub max_pending_connections: usize,
    /// How long a connection may take until it asks for something, and a stream for its first request.
    #[serde(deserialize_with = "duration::deserialize")]
    pub first_request_timeout: Duration,
    /// How long a connection may stay without a stream.
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
    /// Streams of a connection; a proxy needs two.
    pub max_streams: u32,
    /// Bytes in which a proxy may describe itself and the resource it brings.
    pub max_node_size: usize,
    /// Bytes of the names of resources that a stream may ask for.
    pub max_subscription_size: usize,
}

/// Certificates that proxies get.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificates {
    /// Of which type their keys are.
    pub key_type: KeyType,
}

/// Type of the keys of certificates that proxies get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Elliptic, P-256.
    #[default]
    Ecdsa,
    /// RSA of 2048 bits. Making one takes some hundred times as long.
    Rsa,
}

/// Health discovery: proxies probe their applications and report.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hds {
    /// Whether proxies are asked to.
    pub enabled: bool,
    /// How often a proxy reports.
    #[serde(deserialize_with = "duration::deserialize")]
    pub interval: Duration,
    /// How probes are made where a Dataplane does not say.
    pub check_defaults: HdsCheck,
}

/// How probes are made where a Dataplane does not say.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HdsCheck {
    /// Time a probe may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
    /// Time between probes.
    #[serde(deserialize_with = "duration::deserialize")]
    pub interval: Duration,
    /// Time between probes of an endpoint without traffic.
    #[serde(deserialize_with = "duration::deserialize")]
    pub no_traffic_interval: Duration,
    /// Successes that make an endpoint healthy.
    pub healthy_threshold: u32,
    /// Failures that make an endpoint unhealthy.
    pub unhealthy_threshold: u32,
}

/// Settings of the proxies themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// Settings of builtin gateways.
    pub gateway: Gateway,
}

/// Settings of builtin gateways.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// Most connections of clients.
    pub global_downstream_max_connections: u32,
}

/// Authentication of proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpServerAuthn {
    /// Proxies read their token from a file whenever they connect.
    pub enable_reloadable_tokens: bool,
    /// The resource that a proxy replaces must be covered by its credential, too.
    pub takeover_protection: bool,
    /// Of data plane proxies.
    pub dp_proxy: DpTokenAuthn,
    /// Of zone proxies.
    pub zone_proxy: ZoneProxyAuthn,
}

/// Authentication of data plane proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpTokenAuthn {
    /// What proxies must show.
    pub r#type: ProxyAuthn,
    /// Dataplane tokens.
    pub dp_token: TokenAuthn,
}

/// Authentication of zone proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneProxyAuthn {
    /// What proxies must show.
    pub r#type: ProxyAuthn,
    /// Zone tokens.
    pub zone_token: TokenAuthn,
}

/// What a proxy must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProxyAuthn {
    /// Nothing.
    #[serde(rename = "none")]
    None,
    /// A token of its kind.
    #[serde(rename = "token", alias = "dpToken", alias = "zoneToken")]
    Token,
    /// The token of its Kubernetes service account.
    #[serde(rename = "serviceAccountToken")]
    ServiceAccountToken,
}

/// Issuing and verifying of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAuthn {
    /// Whether they are issued.
    pub enable_issuer: bool,
    /// How they are verified.
    pub validator: Validator,
}

/// Envoy configuration served to proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct XdsServer {
    /// How often the insight of a proxy is written at most.
    #[serde(deserialize_with = "duration::deserialize")]
    pub dataplane_status_flush_interval: Duration,
    /// How long the Dataplane of a proxy stays after the proxy left.
    #[serde(deserialize_with = "duration::deserialize")]
    pub dataplane_deregistration_delay: Duration,
}

/// What proxies start with.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// Parameters of the Envoy bootstrap.
    pub params: BootstrapParams,
    /// Largest request, in bytes.
    pub max_request_size: usize,
    /// Most bytes of requests that are not answered yet.
    pub max_memory: usize,
}

/// Parameters of the Envoy bootstrap.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootstrapParams {
    /// Address of Envoy's administration interface.
    pub admin_address: IpAddr,
    /// Its port when the Dataplane names none.
    pub admin_port: u16,
    /// Its access log.
    pub admin_access_log_path: String,
    /// Host of the xDS server; empty is the host that kuma-dp used.
    pub xds_host: String,
    /// Port of the xDS server.
    pub xds_port: u16,
    /// Limit for connecting to it.
    #[serde(deserialize_with = "duration::deserialize")]
    pub xds_connect_timeout: Duration,
    /// File with the template for the configuration of CoreDNS; empty is the built-in one of kuma-dp.
    pub corefile_template_path: PathBuf,
}
