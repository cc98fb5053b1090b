//! What MeshTLS does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshtls/plugin/v1alpha1/plugin.go`.

use super::schema::{Conf, TlsCipher, TlsVersion};
use crate::envoy::pb::tls::{CommonTlsContext, TlsParameters, tls_parameters::TlsProtocol};
use crate::envoy::{ClusterDraft, DownstreamTransport, ListenerDraft, UpstreamTransport};

/// Sets versions and ciphers wherever a listener ends TLS.
pub(crate) fn listener(conf: &Conf, listener: &mut ListenerDraft) {
    let Some(parameters) = parameters(conf) else { return };
    for chain in &mut listener.chains {
        if let Some(DownstreamTransport::Tls(context)) = &mut chain.transport {
            set(context.common_tls_context.get_or_insert_default(), parameters.clone());
        }
    }
}

/// Sets versions and ciphers of connections to a cluster, if they are secured.
pub(crate) fn cluster(conf: &Conf, cluster: &mut ClusterDraft) {
    if let (Some(parameters), Some(UpstreamTransport::Tls(context))) = (parameters(conf), &mut cluster.transport) {
        set(context.common_tls_context.get_or_insert_default(), parameters);
    }
}

fn set(context: &mut CommonTlsContext, parameters: TlsParameters) {
    context.tls_params = Some(parameters);
}

/// `None` when nothing is said about versions and ciphers.
fn parameters(conf: &Conf) -> Option<TlsParameters> {
    let ciphers = conf.tls_ciphers.as_deref().unwrap_or_default();
    if conf.tls_version.is_none() && ciphers.is_empty() {
        return None;
    }
    let versions = conf.tls_version.clone().unwrap_or_default();
    Some(TlsParameters {
        tls_minimum_protocol_version: version(versions.min).into(),
        tls_maximum_protocol_version: version(versions.max).into(),
        cipher_suites: ciphers.iter().map(|cipher| cipher.name().to_owned()).collect(),
        ..TlsParameters::default()
    })
}

fn version(version: TlsVersion) -> TlsProtocol {
    match version {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::Tls10 => TlsProtocol::TlSv10,
        TlsVersion::Tls11 => TlsProtocol::TlSv11,
        TlsVersion::Tls12 => TlsProtocol::TlSv12,
        TlsVersion::Tls13 => TlsProtocol::TlSv13,
    }
}

impl TlsCipher {
    /// OpenSSL's name of the suite.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdheEcdsaAes128GcmSha256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::EcdheEcdsaAes256GcmSha384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::EcdheEcdsaChacha20Poly1305 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::EcdheRsaAes128GcmSha256 => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::EcdheRsaAes256GcmSha384 => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::EcdheRsaChacha20Poly1305 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }
}
