//! What can be told of the certificate of an authority.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::CaError;

/// True when the first certificate of a PEM text was signed with its own key.
///
/// # Errors
/// When there is no certificate, or it cannot be read.
pub fn is_self_signed(cert_pem: &[u8]) -> Result<bool, CaError> {
    let block = pem::parse(cert_pem).map_err(|error| CaError::Certificate(error.to_string()))?;
    if block.tag() != "CERTIFICATE" {
        return Err(CaError::Certificate(format!("it is a PEM block of type {:?}", block.tag())));
    }
    let (_, certificate) =
        X509Certificate::from_der(block.contents()).map_err(|error| CaError::Certificate(error.to_string()))?;
    Ok(certificate.subject() == certificate.issuer() && certificate.verify_signature(None).is_ok())
}

/// What keeps the certificates of a PEM text from being those of an authority, as SPIFFE (X509-SVID) defines it: the place of
/// each that is wrong, and the reason.
///
/// # Errors
/// When there is no certificate, or one cannot be read.
pub fn authority_faults(cert_pem: &[u8]) -> Result<Vec<(usize, &'static str)>, CaError> {
    let mut faults = Vec::new();
    for (index, block) in certificates(cert_pem)?.iter().enumerate() {
        let (_, certificate) = x509_parser::parse_x509_certificate(block.contents())
            .map_err(|error| CaError::Certificate(format!("certificate {index}: {error}")))?;
        if !certificate.is_ca() {
            let reason = "basic constraint 'CA' must be set to 'true' (see X509-SVID: 4.1. Basic Constraints)";
            faults.push((index, reason));
        }
        let usage = certificate.key_usage().ok().flatten();
        if !usage.as_ref().is_some_and(|usage| usage.value.key_cert_sign()) {
            let reason = "key usage extension 'keyCertSign' must be set (see X509-SVID: 4.3. Key Usage)";
            faults.push((index, reason));
        }
        if usage.as_ref().is_some_and(|usage| usage.value.key_agreement()) {
            let reason =
                "key usage extension 'keyAgreement' must NOT be set (see X509-SVID: Appendix A. X.509 Field Reference)";
            faults.push((index, reason));
        }
    }
    Ok(faults)
}

/// The certificates of a PEM text, at least one; other blocks in it are passed over.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<pem::Pem>, CaError> {
    let blocks = pem::parse_many(pem).map_err(|error| CaError::Certificate(error.to_string()))?;
    let certificates: Vec<_> = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").collect();
    if certificates.is_empty() {
        return Err(CaError::Certificate("there is no PEM block of type \"CERTIFICATE\"".to_owned()));
    }
    Ok(certificates)
}

/// True when the first certificates of two PEM texts are the same, however they are written.
pub fn is_same_certificate(one: &str, other: &str) -> bool {
    match (pem::parse(one), pem::parse(other)) {
        (Ok(one), Ok(other)) => one.contents() == other.contents(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::BuiltinAuthority;

    #[test]
    fn authorities_that_are_made_here_are_self_signed() {
        let authority = BuiltinAuthority::for_trust_domain("demo.east.mesh.local").expect("a trust domain");
        assert!(is_self_signed(authority.cert_pem.as_bytes()).expect("a certificate"));
        assert!(is_self_signed(authority.key_pem.as_bytes()).is_err());
        assert!(is_self_signed(b"nothing").is_err());
        assert!(BuiltinAuthority::for_trust_domain("Not A Domain").is_err());

        let another = BuiltinAuthority::for_trust_domain("demo.east.mesh.local").expect("a trust domain");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        let signer =
            crate::ca::Signer::from_pem(another.cert_pem.as_bytes(), another.key_pem.as_bytes()).expect("a pair");
        let key = rcgen::KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &signer.issuer).expect("signed").pem();
        assert!(!is_self_signed(issued.as_bytes()).expect("a certificate"));

        let spaced = format!("\n{}\n", authority.cert_pem.replace('\n', "\r\n"));
        assert!(is_same_certificate(&authority.cert_pem, &spaced));
        assert!(!is_same_certificate(&authority.cert_pem, &another.cert_pem));
        assert!(!is_same_certificate("", ""));
    }
}
