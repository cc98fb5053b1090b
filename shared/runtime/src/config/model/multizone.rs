//! The link between global and zones.

use std::fmt;
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
    /// What happens to the synchronization of a zone that is disabled.
    pub disabled_zones: DisabledZones,
    /// How zones prove who they are.
    pub auth: KdsServerAuth,
    /// Pause before a response of a zone is confirmed.
    #[serde(deserialize_with = "duration::deserialize")]
    pub response_backoff: Duration,
    /// Which deletions are held back.
    pub deletion_guard: DeletionGuard,
}

/// Which deletions are held back: those of resources that the full state of a type does not list, when they are many.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionGuard {
    /// Part of the resources of a type, from 0 to 1, above which they are; 1 for never.
    pub share: f64,
    /// Fewer deletions are not held back.
    pub minimum: usize,
    /// Time after which they are carried out; zero for when somebody releases them.
    #[serde(deserialize_with = "duration::deserialize")]
    pub hold: Duration,
}

/// How zones prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KdsServerAuth {
    /// The kind of proof.
    pub r#type: ZoneAuthn,
    /// File with the CAs of the certificates of zones; set for [`ZoneAuthn::ClientCertificate`].
    pub client_ca_file: PathBuf,
}

/// The kind of proof that zones bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZoneAuthn {
    /// None: a zone is who it says it is, as in Kuma.
    None,
    /// A zone token with the scope `cp`.
    CpToken,
    /// A TLS client certificate.
    ClientCertificate,
}

/// Which labels are not sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KdsLabels {
    /// Labels with one of these prefixes stay here.
    pub skip_prefixes: Vec<String>,
}

/// What happens to the synchronization of a zone that is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DisabledZones {
    /// It rests until the zone is enabled.
    Pause,
    /// It goes on, as in Kuma.
    Sync,
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
    /// How this zone proves who it is.
    pub auth: ZoneKdsAuth,
    /// Largest message in bytes.
    pub max_msg_size: usize,
    /// Which labels are not sent.
    pub labels: KdsLabels,
    /// Pause before a response of global is confirmed.
    #[serde(deserialize_with = "duration::deserialize")]
    pub response_backoff: Duration,
    /// Which deletions are held back.
    pub deletion_guard: DeletionGuard,
}

/// How a zone proves who it is; empty members bring no such proof.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneKdsAuth {
    /// Zone token with the scope `cp`.
    pub cp_token_inline: String,
    /// File with such a token.
    pub cp_token_path: PathBuf,
    /// File with the PEM certificate chain for TLS.
    pub client_cert_file: PathBuf,
    /// File with its PEM private key.
    pub client_key_file: PathBuf,
}

/// Does not show the token.
impl fmt::Debug for ZoneKdsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cp_token_inline, cp_token_path, client_cert_file, client_key_file } = self;
        f.debug_struct("ZoneKdsAuth")
            .field("cp_token_inline", &if cp_token_inline.is_empty() { "" } else { "*****" })
            .field("cp_token_path", cp_token_path)
            .field("client_cert_file", client_cert_file)
            .field("client_key_file", client_key_file)
            .finish()
    }
}
