//! RSA keys in the PKCS#1 form that Kuma stores, out of the PKCS#8 form that the crypto libraries make.
//!
//! Source of the formats: RFC 8017 appendix A.1 and RFC 5958.

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::KeyPair;
use x509_parser::der_parser::der::parse_der;

use crate::ca::CaError;

/// PEM blocks with the line ending that every platform reads.
pub(crate) fn encode(tag: &str, der: Vec<u8>) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The `RSA PRIVATE KEY` PEM of an RSA key pair.
pub(crate) fn private_key_pem(key: &KeyPair) -> Result<String, CaError> {
    Ok(encode("RSA PRIVATE KEY", from_pkcs8(key.serialized_der())?))
}

/// The PKCS#1 key inside a PKCS#8 one.
pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Vec<u8>, CaError> {
    let malformed = || CaError::Key("not a PKCS#8 private key".to_owned());
    let (_, info) = parse_der(pkcs8).map_err(|_| malformed())?;
    let members = info.as_sequence().map_err(|_| malformed())?;
    let key = members.get(2).ok_or_else(malformed)?;
    Ok(key.as_slice().map_err(|_| malformed())?.to_vec())
}
