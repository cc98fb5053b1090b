//! Certificates and keys in PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// All certificates of a file, at least one.
pub(super) fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let malformed = |reason: String| TlsError::Malformed { what, file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|reason| TlsError::Unreadable { what, file: file.to_owned(), reason })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| malformed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(malformed("no PEM block CERTIFICATE in it".to_owned()));
    }
    Ok(certificates)
}

/// The first private key of a file.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "private key";
    let pem =
        std::fs::read(file).map_err(|reason| TlsError::Unreadable { what: WHAT, file: file.to_owned(), reason })?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::Malformed {
        what: WHAT,
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

/// Adds the certificates of a file to what is trusted.
pub(super) fn trust(roots: &mut RootCertStore, what: &'static str, file: &Path) -> Result<(), TlsError> {
    for certificate in certificates(what, file)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::Malformed { what, file: file.to_owned(), reason: error.to_string() })?;
    }
    Ok(())
}
