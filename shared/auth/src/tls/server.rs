//! TLS of servers.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tandem_runtime::config::{Tls, TlsVersion};

use super::clients::AnyClient;
use super::{TlsError, files};

/// Whether clients have certificates.
#[derive(Debug, Clone, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They may; a certificate that is not trusted is refused.
    Optional(Arc<RootCertStore>),
    /// They must.
    Required(Arc<RootCertStore>),
    /// They may; whether it is trusted is decided for each request, with [`super::ClientTrust`], so that a refusal can be
    /// told in words. A client still has to prove that it has the key.
    Presented,
}

/// TLS of a server that speaks HTTP/2 and HTTP/1.1, with the certificate, versions and cipher suites of `settings`.
///
/// # Errors
/// When certificate or key cannot be read or do not belong together, or no version is left.
pub fn server_config(settings: &Tls, clients: &ClientAuth) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = files::certificates("certificate", &settings.cert_file)?;
    let key = files::private_key(&settings.key_file)?;
    let provider = Arc::new(provider(settings));
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| TlsError::Mismatch {
        certificate: settings.cert_file.clone(),
        key: settings.key_file.clone(),
        reason: error.to_string(),
    })?;

    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions(settings))?;
    let verifier =
        |roots: &Arc<RootCertStore>| WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let unusable = |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => {
            builder.with_client_cert_verifier(verifier(roots).allow_unauthenticated().build().map_err(unusable)?)
        }
        ClientAuth::Required(roots) => builder.with_client_cert_verifier(verifier(roots).build().map_err(unusable)?),
        ClientAuth::Presented => builder.with_client_cert_verifier(Arc::new(AnyClient::new(&provider))),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// CAs of client certificates: those in a file, and those in the files `*.pem` and `*.crt` of a directory. Either may be empty
/// for none.
///
/// # Errors
/// When something cannot be read or holds no certificate.
pub fn client_roots(file: &Path, directory: &Path) -> Result<RootCertStore, TlsError> {
    const WHAT: &str = "client CA certificate";
    let mut roots = RootCertStore::empty();
    if !file.as_os_str().is_empty() {
        files::trust(&mut roots, WHAT, file)?;
    }
    if !directory.as_os_str().is_empty() {
        let unreadable = |reason| TlsError::Unreadable {
            what: "directory of client CA certificates",
            file: directory.into(),
            reason,
        };
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
                files::trust(&mut roots, WHAT, &path)?;
            }
        }
    }
    Ok(roots)
}

/// The crypto provider with the configured cipher suites. As in Go, the choice concerns TLS 1.2; those of TLS 1.3 are all there.
fn provider(settings: &Tls) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suite.version().version == ProtocolVersion::TLSv1_3 || settings.cipher_suites.contains(&name)
        });
    }
    provider
}

fn versions(settings: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let is_wanted = |version: TlsVersion| {
        settings.min_version.is_none_or(|min| min <= version) && settings.max_version.is_none_or(|max| version <= max)
    };
    known.into_iter().filter(|(version, _)| is_wanted(*version)).map(|(_, supported)| supported).collect()
}
