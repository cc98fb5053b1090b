//! The authority by which the instances of a control plane trust each other.
//!
//! Its certificate and key are in a GlobalSecret of their store, which stays there. Each instance issues itself a
//! certificate for its address; both ends of a connection have to present one.
//!
//! Source of names and subjects: Kuma `pkg/intercp/tls`.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::ca::CaError;
use crate::envoy_admin::{self, CertificatePair};

/// Name of the GlobalSecret that holds the authority: its certificate followed by its key, both PEM.
pub const SECRET_NAME: &str = "inter-cp-ca";

/// TLS of one instance, towards the others.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// For the connections that others open.
    pub server: Arc<ServerConfig>,
    /// For the connections that it opens.
    pub client: Arc<ClientConfig>,
}

/// Makes a new authority, as stored in the secret.
///
/// # Errors
/// When the operating system has no randomness.
pub fn generate() -> Result<String, CaError> {
    envoy_admin::authority("Control Plane Intercommunication CA")
}

/// Issues the certificates of the instance at `address`, by the authority in the secret.
///
/// # Errors
/// When the secret does not hold a certificate and its key, or they cannot be used.
pub fn credentials(secret: &[u8], address: &str) -> Result<Credentials, CaError> {
    let authority = envoy_admin::read(secret, SECRET_NAME)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.root_pem().as_bytes()) {
        let certificate = certificate.map_err(|error| CaError::Certificate(error.to_string()))?;
        roots.add(certificate).map_err(|error| CaError::Certificate(error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| CaError::Certificate(error.to_string());

    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let verifier = verifier.map_err(|error| CaError::Certificate(error.to_string()))?;
    let (chain, key) = der(&envoy_admin::server_certificate(&authority, &[address])?)?;
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = server.map_err(unusable)?.with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let mut server = server.map_err(unusable)?;
    server.alpn_protocols = vec![b"h2".to_vec()];

    let (chain, key) = der(&envoy_admin::client_certificate(&authority)?)?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.map_err(unusable)?.with_root_certificates(roots).with_client_auth_cert(chain, key);
    let mut client = client.map_err(unusable)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Credentials { server: Arc::new(server), client: Arc::new(client) })
}

fn der(pair: &CertificatePair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CaError> {
    let certificate = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes());
    let certificate = certificate.map_err(|error| CaError::Certificate(error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(|error| CaError::Key(error.to_string()))?;
    Ok((vec![certificate], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_gets_its_certificates_from_the_secret() {
        let secret = generate().expect("there is randomness");
        for address in ["10.0.0.1", "::1"] {
            let credentials = credentials(secret.as_bytes(), address).expect("usable");
            assert_eq!(credentials.server.alpn_protocols, credentials.client.alpn_protocols);
        }
        let error = credentials(b"nothing", "10.0.0.1").expect_err("no authority").to_string();
        assert!(error.contains(SECRET_NAME), "{error}");
    }
}
