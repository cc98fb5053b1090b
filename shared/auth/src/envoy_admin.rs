//! The authority behind Envoy's admin interface, so that only a control plane of the zone reaches it.
//!
//! Source of names and subjects: Kuma `pkg/envoy/admin/tls`.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::ca::{CaError, Signer};

/// Name of the GlobalSecret that holds the authority: its certificate followed by its key, both PEM.
pub const SECRET_NAME: &str = "envoy-admin-ca";

/// Name in the certificate that a control plane presents.
pub const CONTROL_PLANE_NAME: &str = "kuma-cp";

const CLOCK_SKEW: Duration = Duration::from_secs(300);
const VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct CertificatePair {
    /// Certificate.
    pub cert_pem: String,
    /// Key.
    pub key_pem: String,
}

/// Makes a new authority, as stored in the secret.
///
/// Its key is an elliptic one, because it signs a certificate for every proxy that connects.
///
/// # Errors
/// When the operating system has no randomness.
pub fn generate() -> Result<String, CaError> {
    authority("Envoy Admin CA")
}

/// A new authority between control planes and what belongs to them: its certificate followed by its key, both PEM.
pub(crate) fn authority(name: &str) -> Result<String, CaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&[0]));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Kuma");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "Mesh");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params);
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}

/// Reads the authority from the secret.
///
/// # Errors
/// When the secret does not hold a certificate and its key.
pub fn load(secret: &[u8]) -> Result<Signer, CaError> {
    read(secret, SECRET_NAME)
}

/// Reads what [`authority`] made from the secret `name`.
pub(crate) fn read(secret: &[u8], name: &str) -> Result<Signer, CaError> {
    let blocks = pem::parse_many(secret).map_err(|error| CaError::Certificate(error.to_string()))?;
    let (certificates, keys): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.tag() == "CERTIFICATE");
    let (Some(certificate), Some(key)) = (certificates.first(), keys.first()) else {
        return Err(CaError::Certificate(format!("{name} must hold a certificate and a key")));
    };
    Signer::from_pem(pem::encode(certificate).as_bytes(), pem::encode(key).as_bytes())
}

/// Certificate that the admin listener of a proxy presents, for the addresses control planes reach it at.
///
/// # Errors
/// When an address cannot be part of a certificate.
pub fn server_certificate(authority: &Signer, addresses: &[&str]) -> Result<CertificatePair, CaError> {
    let names: Result<Vec<SanType>, CaError> = addresses
        .iter()
        .map(|address| match address.parse::<IpAddr>() {
            Ok(ip) => Ok(SanType::IpAddress(ip)),
            Err(_) => {
                Ok(SanType::DnsName((*address).try_into().map_err(|_| CaError::Identity((*address).to_owned()))?))
            }
        })
        .collect();
    leaf(authority, names?, ExtendedKeyUsagePurpose::ServerAuth)
}

/// Certificate that a control plane presents to the admin listeners of its zone.
///
/// # Errors
/// When signing fails.
pub fn client_certificate(authority: &Signer) -> Result<CertificatePair, CaError> {
    let name = CONTROL_PLANE_NAME.try_into().map_err(|_| CaError::Identity(CONTROL_PLANE_NAME.to_owned()))?;
    leaf(authority, vec![SanType::DnsName(name)], ExtendedKeyUsagePurpose::ClientAuth)
}

fn leaf(authority: &Signer, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Result<CertificatePair, CaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![usage];
    valid_for(&mut params);
    let certificate = params.signed_by(&key, &authority.issuer)?;
    Ok(CertificatePair { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn valid_for(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = params.not_before + VALIDITY;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_read_back_and_signs() {
        let authority = load(generate().unwrap().as_bytes()).unwrap();
        let server = server_certificate(&authority, &["10.0.0.1", "proxy.example"]).unwrap();
        let block = pem::parse(&server.cert_pem).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(block.contents()).unwrap();
        assert_eq!(certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
        client_certificate(&authority).unwrap();
    }

    #[test]
    fn a_secret_without_key_is_refused() {
        assert!(load(b"").is_err());
    }
}
