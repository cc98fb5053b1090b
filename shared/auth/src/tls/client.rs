//! TLS of clients.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::verifier::{Anyone, PinnedOrSigned};
use super::{TlsError, files};

/// Which servers a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Those with a certificate that a CA in this file signed, or that is in this file itself.
    File(&'a Path),
    /// Those with a certificate that a CA of the system signed.
    System,
    /// All: the connection is private against listeners only.
    Anyone,
}

/// TLS of a client that speaks HTTP/2.
///
/// # Errors
/// When the CAs cannot be read.
pub fn client_config(trust: Trust<'_>) -> Result<ClientConfig, TlsError> {
    Ok(speaking_http2(trusting(trust)?.with_no_client_auth()))
}

/// TLS of a client that speaks HTTP/2 and has a certificate of its own.
///
/// # Errors
/// When the CAs, the certificate or the key cannot be read, or the latter do not belong together.
pub fn client_config_with_certificate(
    trust: Trust<'_>,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, TlsError> {
    let chain = files::certificates("client certificate", certificate)?;
    let private_key = files::private_key(key)?;
    let config = trusting(trust)?.with_client_auth_cert(chain, private_key);
    Ok(speaking_http2(config.map_err(|error| TlsError::Mismatch {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })?))
}

fn speaking_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn trusting(trust: Trust<'_>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anyone => Arc::new(Anyone::new(&provider)),
        Trust::File(file) => {
            const WHAT: &str = "root certificate";
            let mut roots = RootCertStore::empty();
            files::trust(&mut roots, WHAT, file)?;
            let pinned = files::certificates(WHAT, file)?;
            Arc::new(PinnedOrSigned::new(signed_by(roots, provider.clone())?, pinned))
        }
        Trust::System => signed_by(system_roots()?, provider.clone())?,
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn signed_by(
    roots: RootCertStore,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| rustls::Error::General(error.to_string()).into())
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let reason = loaded.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(TlsError::NoRoots(reason));
    }
    Ok(roots)
}
