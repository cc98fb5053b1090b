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
        cipher_suites: suites(ciphers).map(|cipher| cipher.name().to_owned()).collect(),
        ..TlsParameters::default()
    })
}

/// The ciphers, with their like for ECDSA keys where all are for RSA keys: certificates of proxies have ECDSA keys here, so up to
/// TLS 1.2 none of these would do.
fn suites(ciphers: &[TlsCipher]) -> impl Iterator<Item = TlsCipher> {
    let for_rsa_only = ciphers.iter().all(|cipher| cipher.for_ecdsa().is_some());
    let more = ciphers.iter().filter_map(move |cipher| cipher.for_ecdsa().filter(|_| for_rsa_only));
    ciphers.iter().copied().chain(more)
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
    /// The same for servers with an ECDSA key; `None` if it is for these.
    fn for_ecdsa(self) -> Option<Self> {
        match self {
            Self::EcdheRsaAes128GcmSha256 => Some(Self::EcdheEcdsaAes128GcmSha256),
            Self::EcdheRsaAes256GcmSha384 => Some(Self::EcdheEcdsaAes256GcmSha384),
            Self::EcdheRsaChacha20Poly1305 => Some(Self::EcdheEcdsaChacha20Poly1305),
            Self::EcdheEcdsaAes128GcmSha256 | Self::EcdheEcdsaAes256GcmSha384 | Self::EcdheEcdsaChacha20Poly1305 => {
                None
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::super::schema::TlsVersions;
    use super::*;

    fn conf(versions: Option<(TlsVersion, TlsVersion)>, ciphers: &[TlsCipher]) -> Conf {
        let tls_version = versions.map(|(min, max)| TlsVersions { min, max });
        Conf { tls_version, tls_ciphers: Some(ciphers.to_vec()), mode: None }
    }

    #[test]
    fn what_is_set_counts_with_or_without_the_rest() {
        assert_eq!(parameters(&conf(None, &[])), None);
        let only_min = parameters(&conf(Some((TlsVersion::Tls12, TlsVersion::Auto)), &[])).expect("a version");
        assert_eq!(only_min.tls_minimum_protocol_version, i32::from(TlsProtocol::TlSv12));
        assert_eq!(only_min.tls_maximum_protocol_version, i32::from(TlsProtocol::TlsAuto));
        let only_cipher = parameters(&conf(None, &[TlsCipher::EcdheEcdsaAes128GcmSha256])).expect("a cipher");
        assert_eq!(only_cipher.cipher_suites, ["ECDHE-ECDSA-AES128-GCM-SHA256"]);
    }

    #[test]
    fn ciphers_for_rsa_keys_alone_bring_their_like() {
        let names = |ciphers: &[TlsCipher]| parameters(&conf(None, ciphers)).expect("ciphers").cipher_suites;
        let rsa = TlsCipher::EcdheRsaAes256GcmSha384;
        assert_eq!(names(&[rsa]), ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
        let mixed = [rsa, TlsCipher::EcdheEcdsaChacha20Poly1305];
        assert_eq!(names(&mixed), ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]);
    }
}
