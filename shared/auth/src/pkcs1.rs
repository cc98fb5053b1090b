//! RSA keys in the PKCS#1 form that Kuma stores, from and to the PKCS#8 form that the crypto libraries take.
//!
//! Source of the formats: RFC 8017 appendix A.1 and RFC 5958.

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::KeyPair;
use x509_parser::der_parser::der::parse_der;

use crate::ca::CaError;

/// DER of the part of a PKCS#8 `PrivateKeyInfo` before its key: version 0 and the algorithm `rsaEncryption`.
const RSA_HEADER: [u8; 18] =
    [0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

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

/// The PKCS#8 form of a PKCS#1 RSA key.
pub(crate) fn to_pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    let key = der(0x04, pkcs1);
    let mut body = RSA_HEADER.to_vec();
    body.extend(key);
    der(0x30, &body)
}

/// A DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match content.len() {
        length @ 0..=0x7f => element.push(u8::try_from(length).expect("at most 127")),
        length => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            element.push(0x80 | u8::try_from(significant.len()).expect("at most 8 bytes"));
            element.extend_from_slice(significant);
        }
    }
    element.extend_from_slice(content);
    element
}
