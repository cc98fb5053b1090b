//! The link between global and zones.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Tls, duration};

/// The link between global and zones.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Multizone {
    /// The side of global.
    pub global: GlobalKds,
    /// The side of a zone.
    pub zone: ZoneSettings,
}

/// The side of global.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GlobalKds {
    /// The synchronization server.
    pub kds: KdsServer,
}

/// The synchronization server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KdsServer {
    /// Port on all interfaces.
    pub grpc_port: u16,
    /// Whether the port speaks TLS.
    pub tls_enabled: bool,
    /// TLS settings, when enabled.
    pub tls: Tls,
    /// How often the insight of a zone is written at most.
    #[serde(deserialize_with = "duration::deserialize")]
    pub zone_insight_flush_interval: Duration,
    /// Largest message in bytes.
    pub max_msg_size: usize,
    /// Which labels are not sent.
    pub labels: KdsLabels,
    /// How silent zones are detected.
    pub zone_health_check: ZoneHealthCheck,
}

/// Which labels are not sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KdsLabels {
    /// Labels with one of these prefixes stay here.
    pub skip_prefixes: Vec<String>,
}

/// How silent zones are detected. Off when both durations are zero; else both are set.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneHealthCheck {
    /// How often zones are looked at.
    #[serde(deserialize_with = "duration::deserialize")]
    pub poll_interval: Duration,
    /// A zone without a sign of life for so long is disconnected.
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
}

/// The side of a zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneSettings {
    /// Name of the zone, at most 63 characters.
    pub name: String,
    /// `grpcs://host:port` or `grpc://host:port` of global; empty for a zone on its own.
    pub global_address: String,
    /// Accept resources without the label `kuma.io/origin: zone`.
    pub disable_origin_label_validation: bool,
    /// The synchronization client.
    pub kds: ZoneKds,
}

/// The synchronization client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneKds {
    /// File with the CA of global's certificate; empty uses the roots of the system.
    pub root_ca_file: PathBuf,
    /// Accept any certificate.
    pub tls_skip_verify: bool,
    /// Largest message in bytes.
    pub max_msg_size: usize,
    /// Which labels are not sent.
    pub labels: KdsLabels,
}
