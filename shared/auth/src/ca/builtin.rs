//! The authority that a control plane makes for a mesh.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::{CaError, spiffe};
use crate::pkcs1;

/// How long an authority is valid where the Mesh does not say: ten years.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Certificates are valid a little before they are made, for peers whose clocks are behind.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// Size of an RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RsaBits {
    /// 2048 bits.
    #[default]
    Rsa2048,
    /// 3072 bits.
    Rsa3072,
    /// 4096 bits.
    Rsa4096,
}

impl TryFrom<u32> for RsaBits {
    type Error = CaError;

    fn try_from(bits: u32) -> Result<Self, CaError> {
        match bits {
            2048 => Ok(Self::Rsa2048),
            3072 => Ok(Self::Rsa3072),
            4096 => Ok(Self::Rsa4096),
            other => Err(CaError::RsaBits(other)),
        }
    }
}

/// A new authority.
#[derive(Clone)]
pub struct BuiltinAuthority {
    /// The certificate as PEM.
    pub cert_pem: String,
    /// The key as PEM (`RSA PRIVATE KEY`).
    pub key_pem: String,
}

impl BuiltinAuthority {
    /// Makes an authority for `mesh`. This takes long (RSA): call it where blocking is fine.
    ///
    /// # Errors
    /// When the name of the mesh cannot be part of an identity.
    pub fn generate(mesh: &str, bits: RsaBits, validity: Option<Duration>) -> Result<Self, CaError> {
        Self::make(mesh, &[0], bits, validity.unwrap_or(DEFAULT_VALIDITY))
    }

    /// Makes an authority for a trust domain that is no mesh, as MeshIdentities have them. This takes long (RSA): call it
    /// where blocking is fine.
    ///
    /// # Errors
    /// When the trust domain cannot be part of an identity.
    pub fn for_trust_domain(trust_domain: &str) -> Result<Self, CaError> {
        let serial = uuid::Uuid::new_v4();
        Self::make(trust_domain, serial.as_bytes(), RsaBits::default(), DEFAULT_VALIDITY)
    }

    fn make(mesh: &str, serial: &[u8], bits: RsaBits, validity: Duration) -> Result<Self, CaError> {
        spiffe::check(mesh, std::iter::empty())?;
        let size = match bits {
            RsaBits::Rsa2048 => RsaKeySize::_2048,
            RsaBits::Rsa3072 => RsaKeySize::_3072,
            RsaBits::Rsa4096 => RsaKeySize::_4096,
        };
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)?;
        let identity =
            Ia5String::try_from(format!("spiffe://{mesh}")).map_err(|_| CaError::Identity(mesh.to_owned()))?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Kuma");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "Mesh");
        params.distinguished_name.push(DnType::CommonName, mesh);
        params.subject_alt_names = vec![SanType::URI(identity)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + validity;
        let certificate = params.self_signed(&key)?;
        Ok(Self { cert_pem: certificate.pem(), key_pem: pkcs1::private_key_pem(&key)? })
    }
}
