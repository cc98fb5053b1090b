//! Certificates and keys that Envoy asks for by name.
//!
//! Source: Kuma `pkg/xds/envoy/secrets.go`, `pkg/xds/generator/secrets`.

use tandem_policy::envoy::pb::tls;

use super::tls::inline;
use crate::input::Identity;

/// The certificate of the proxy.
pub(crate) fn identity(name: String, identity: &Identity) -> tls::Secret {
    tls::Secret {
        name,
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(&identity.certificate_chain)),
            private_key: Some(inline(&identity.private_key)),
            ..Default::default()
        })),
    }
}

/// The root certificates of a mesh.
pub(crate) fn authority(name: String, root: &[u8]) -> tls::Secret {
    tls::Secret {
        name,
        r#type: Some(tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(inline(root)),
            ..Default::default()
        })),
    }
}
