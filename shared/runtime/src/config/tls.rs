//! TLS settings that every server has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// TLS settings of a server; certificate and key are filled in from the general ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// File with the PEM certificate chain.
    pub cert_file: PathBuf,
    /// File with the PEM private key.
    pub key_file: PathBuf,
    /// Lowest version offered.
    #[serde(deserialize_with = "version")]
    pub min_version: Option<TlsVersion>,
    /// Highest version offered; `None` is no limit.
    #[serde(deserialize_with = "version")]
    pub max_version: Option<TlsVersion>,
    /// Names out of [`CIPHER_SUITES`]; empty offers all.
    pub cipher_suites: Vec<String>,
}

/// A TLS version that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLSv1_2",
            Self::V1_3 => "TLSv1_3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "TLSv1_2" => Ok(Self::V1_2),
            "TLSv1_3" => Ok(Self::V1_3),
            _ => Err(format!("unsupported tls version: {text}")),
        }
    }
}

/// Cipher suites that can be configured, in the names of Go's `crypto/tls`.
pub const CIPHER_SUITES: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TlsVersion>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}
