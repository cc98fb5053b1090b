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
    /// Authentication of proxies.
    pub authn: DpServerAuthn,
}

/// Authentication of proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpServerAuthn {
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
