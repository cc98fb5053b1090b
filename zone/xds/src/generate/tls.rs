//! TLS contexts between proxies of a mesh.
//!
//! Source: Kuma `pkg/xds/envoy/tls/v3`.

use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use tandem_policy::envoy::pb::{core, tls};
use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use tls::subject_alt_name_matcher::SanType;

use super::credential::Credential;
use super::shape::flag;

/// Protocol offered on every connection between proxies of a mesh, so that an inbound that also takes plain text can tell them.
pub(crate) const ALPN: &str = "kuma";

/// Service of every ZoneEgress.
pub(crate) const ZONE_EGRESS: &str = "zone-egress";

/// A name a peer's certificate may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PeerName {
    /// Exactly this URI.
    Exact(String),
    /// A URI that starts like this.
    Prefix(String),
}

impl PeerName {
    /// Identity of a service: `spiffe://{mesh}/{service}`.
    pub fn service(mesh: &str, service: &str) -> Self {
        Self::Exact(format!("spiffe://{mesh}/{service}"))
    }

    /// Any identity of a trust domain.
    pub fn in_domain(domain: &str) -> Self {
        Self::Prefix(format!("spiffe://{domain}"))
    }

    /// Any identity of a mesh.
    pub fn any_of(mesh: &str) -> Self {
        Self::Prefix(format!("spiffe://{mesh}/"))
    }

    fn matcher(self) -> tls::SubjectAltNameMatcher {
        use matcher::string_matcher::MatchPattern;
        let pattern = match self {
            Self::Exact(name) => MatchPattern::Exact(name),
            Self::Prefix(prefix) => MatchPattern::Prefix(prefix),
        };
        san(SanType::Uri, pattern)
    }
}

/// Matches a certificate by one of its names.
pub(crate) fn san(san_type: SanType, pattern: matcher::string_matcher::MatchPattern) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }),
        ..Default::default()
    }
}

/// A secret that Envoy asks for on its stream.
fn secret(name: String) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name, sds_config: Some(ads()) }
}

/// "Ask on the stream this came from".
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    }
}

fn context(credential: &Credential, peers: Vec<PeerName>, alpn: &[&str]) -> tls::CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: peers.into_iter().map(PeerName::matcher).collect(),
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret(credential.authority.to_string())),
        ..Default::default()
    };
    tls::CommonTlsContext {
        alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
        tls_certificate_sds_secret_configs: vec![secret(credential.identity.to_string())],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

/// For connections to proxies of the mesh, which are expected to have one of the names `peers`; `sni` is empty when none is to be
/// sent.
pub(crate) fn upstream(credential: &Credential, peers: Vec<PeerName>, sni: String) -> tls::UpstreamTlsContext {
    tls::UpstreamTlsContext {
        common_tls_context: Some(context(credential, credential.servers(peers), &[ALPN])),
        sni,
        ..Default::default()
    }
}

/// For connections from proxies of the mesh.
pub(crate) fn downstream(credential: &Credential) -> tls::DownstreamTlsContext {
    tls::DownstreamTlsContext {
        common_tls_context: Some(context(credential, credential.clients(), &[])),
        require_client_certificate: flag(true),
        ..Default::default()
    }
}

/// Data in the configuration itself.
pub(crate) fn inline(bytes: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
