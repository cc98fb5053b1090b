//! Schema of MeshTLS.
//!
//! Source: Kuma `pkg/plugins/policies/meshtls/api/v1alpha1/meshtls.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{FromItem, RuleItem};
use crate::target_ref::TargetRef;

/// Specification of MeshTLS.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Settings of incoming traffic, older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<FromItem<Conf>>>,
    /// Settings of incoming traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleItem<Conf>>>,
}

/// How connections within the mesh are secured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// Versions of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<TlsVersions>,
    /// Ciphers; absent for the default of Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<Vec<TlsCipher>>,
    /// Whether plain text is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Versions of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsVersions {
    /// The oldest.
    #[serde(default)]
    pub min: TlsVersion,
    /// The newest.
    #[serde(default)]
    pub max: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// What Envoy chooses.
    #[default]
    #[serde(rename = "TLSAuto")]
    Auto,
    /// TLS 1.0.
    #[serde(rename = "TLS10")]
    Tls10,
    /// TLS 1.1.
    #[serde(rename = "TLS11")]
    Tls11,
    /// TLS 1.2.
    #[serde(rename = "TLS12")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "TLS13")]
    Tls13,
}

/// A cipher suite, by OpenSSL name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsCipher {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`.
    #[serde(rename = "ECDHE-ECDSA-AES128-GCM-SHA256")]
    EcdheEcdsaAes128GcmSha256,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`.
    #[serde(rename = "ECDHE-ECDSA-AES256-GCM-SHA384")]
    EcdheEcdsaAes256GcmSha384,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`.
    #[serde(rename = "ECDHE-ECDSA-CHACHA20-POLY1305")]
    EcdheEcdsaChacha20Poly1305,
    /// `ECDHE-RSA-AES128-GCM-SHA256`.
    #[serde(rename = "ECDHE-RSA-AES128-GCM-SHA256")]
    EcdheRsaAes128GcmSha256,
    /// `ECDHE-RSA-AES256-GCM-SHA384`.
    #[serde(rename = "ECDHE-RSA-AES256-GCM-SHA384")]
    EcdheRsaAes256GcmSha384,
    /// `ECDHE-RSA-CHACHA20-POLY1305`.
    #[serde(rename = "ECDHE-RSA-CHACHA20-POLY1305")]
    EcdheRsaChacha20Poly1305,
}

/// Whether plain text is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is.
    Permissive,
    /// It is not.
    Strict,
}
