//! An authority that is ready to sign: parsed once, used for many certificates.

use rcgen::{Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::{CaError, inspect};

/// A certificate authority that is ready to sign.
pub struct Signer {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads an authority: one or more PEM certificates of which the first one signs, and the PEM of its key (PKCS#1,
    /// PKCS#8 or SEC1; RSA or elliptic).
    ///
    /// # Errors
    /// When certificate or key cannot be read, or do not belong together.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, CaError> {
        let root_pem = String::from_utf8(cert_pem.to_vec()).map_err(|e| CaError::Certificate(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| CaError::Key(error.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|error| CaError::Key(error.to_string()))?;
        let certificate = inspect::certificates(cert_pem)?.swap_remove(0);
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.contents())
            .map_err(|error| CaError::Certificate(error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(CaError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.contents().to_vec().into(), key)?;
        Ok(Self { issuer, root_pem })
    }

    /// All certificates of the authority as PEM: what peers trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}
