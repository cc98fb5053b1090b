//! Whether Envoy will take certificates and keys: it refuses a whole cluster for one that it cannot read.

use pem::parse_many;
use rcgen::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

/// Length in bits of the shortest RSA key that Envoy takes.
const MIN_RSA_BITS: usize = 2048;

/// Refuses what is not one or more certificates in PEM.
pub(super) fn check_certificates(text: &[u8]) -> Result<(), String> {
    with_first(text, |_| Ok(()))
}

/// Refuses a key that is not the one of the first certificate of a chain.
pub(super) fn check_pair(chain: &[u8], key: &[u8]) -> Result<(), String> {
    // What these errors tell of the key is its form.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("no private key in PEM: {error}"))?;
    let key = KeyPair::try_from(&key).map_err(|error| format!("not a usable private key: {error}"))?;
    with_first(chain, |certificate| {
        let public = certificate.public_key();
        if public.subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err("the key does not belong to the certificate".to_owned());
        }
        match public.parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() < MIN_RSA_BITS => {
                Err(format!("an RSA key of {} bits; Envoy takes none below {MIN_RSA_BITS}", rsa.key_size()))
            }
            _ => Ok(()),
        }
    })
}

/// Reads all certificates and gives the first one to `use_first`.
fn with_first(text: &[u8], use_first: impl FnOnce(&X509Certificate<'_>) -> Result<(), String>) -> Result<(), String> {
    let blocks = parse_many(text).map_err(|error| format!("not PEM: {error}"))?;
    let mut certificates = Vec::new();
    for block in blocks.iter().filter(|block| block.tag().ends_with("CERTIFICATE")) {
        let (_, certificate) =
            parse_x509_certificate(block.contents()).map_err(|error| format!("not a certificate: {error}"))?;
        certificates.push(certificate);
    }
    use_first(certificates.first().ok_or("there is no certificate in PEM")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ClientPair, client_pair};

    #[test]
    fn chains_are_read_to_the_end() {
        let ClientPair { chain, key } = client_pair();
        assert_eq!(check_certificates(chain.as_bytes()), Ok(()));
        let two = format!("a comment\n{chain}\n{chain}");
        assert_eq!(check_certificates(two.as_bytes()), Ok(()));
        let broken = pem::encode(&pem::Pem::new("CERTIFICATE", b"nothing"));
        for text in ["", "text", key, &format!("{chain}\n{broken}")] {
            assert!(check_certificates(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_belong_to_certificates() {
        let ClientPair { chain, key } = client_pair();
        let pair = |key: &str| check_pair(chain.as_bytes(), key.as_bytes());
        assert_eq!(pair(key), Ok(()));
        let other = KeyPair::generate().expect("a key").serialize_pem();
        assert_eq!(pair(&other), Err("the key does not belong to the certificate".to_owned()));
        assert!(pair("").is_err_and(|reason| reason.contains("no private key")));
        let garbage = pem::encode(&pem::Pem::new("PRIVATE KEY", b"nothing"));
        assert!(pair(&garbage).is_err_and(|reason| reason.contains("not a usable private key")));
    }
}
