//! Certificates of clients, judged after the handshake.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;

use super::TlsError;

/// Which certificates of clients are trusted: those that one of some CAs signed, for clients, and for now.
#[derive(Debug, Clone)]
pub struct ClientTrust(Arc<dyn ClientCertVerifier>);

/// A certificate that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The DNS names that it is for.
    pub dns_names: Vec<String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl ClientTrust {
    /// Trust in what these CAs sign.
    ///
    /// # Errors
    /// When there is no CA.
    pub fn new(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self(verifier.map_err(|error| Error::General(error.to_string()))?))
    }

    /// Judges the chain of a client, leaf first, whose key the client has proved to own.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn check(&self, chain: &[CertificateDer<'_>]) -> Result<ClientCertificate, Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.0.verify_client_cert(leaf, intermediates, UnixTime::now())?;
        let malformed = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| malformed())?;
        let names = parsed.subject_alternative_name().map_err(|_| malformed())?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let dns_names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|_| malformed())?;
        Ok(ClientCertificate { dns_names: dns_names.collect(), expires })
    }
}

/// Asks clients for a certificate and takes any of which the client has the key.
#[derive(Debug)]
pub(super) struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
