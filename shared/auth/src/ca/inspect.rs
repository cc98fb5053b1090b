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
