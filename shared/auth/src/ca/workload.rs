//! Certificates of proxies.
//!
//! Source of the identities: SPIFFE X509-SVID and Kuma `pkg/core/ca/issuer/issuer.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::builtin::CLOCK_SKEW;
use super::{CaError, KeyType, Signer, spiffe};
use crate::pkcs1;

/// How long a workload certificate is valid where the Mesh does not say.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Service that stands for all ZoneEgresses in identities.
pub const ZONE_EGRESS_SERVICE: &str = "zone-egress";

const SERVICE_TAG: &str = "kuma.io/service";

/// A certificate with its key.
#[derive(Clone)]
pub struct WorkloadCertificate {
    /// The certificate as PEM.
    pub cert_pem: String,
    /// The key as PEM: `PRIVATE KEY` (PKCS#8), or for RSA `RSA PRIVATE KEY` (PKCS#1), as Kuma has it.
    pub key_pem: String,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Leaves the key out.
impl std::fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkloadCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl WorkloadCertificate {
    /// When it is to be replaced: after four fifths of its life.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.issued);
        self.issued.saturating_add(life * 4 / 5).unwrap_or(self.not_after)
    }
}

/// Issues a certificate to a proxy with these tags: a SPIFFE identity for each of its services, then an identity for each tag.
///
/// With an RSA key this takes long: call it where blocking is fine.
///
/// # Errors
/// When a name cannot be part of an identity, or signing fails.
pub fn issue(
    signer: &Signer,
    mesh: &str,
    tags: &BTreeMap<String, BTreeSet<String>>,
    validity: Duration,
    key_type: KeyType,
) -> Result<WorkloadCertificate, CaError> {
    spiffe::check(mesh, tags.get(SERVICE_TAG).into_iter().flatten())?;
    let services = tags.get(SERVICE_TAG).into_iter().flatten().map(|service| format!("spiffe://{mesh}/{service}"));
    let all = tags.iter().flat_map(|(tag, values)| values.iter().map(move |value| format!("kuma://{tag}/{value}")));
    certify(signer, services.chain(all), validity, key_type)
}

/// Issues a certificate that says nothing but a SPIFFE identity, `spiffe://{trust domain}{path}`. As long as [`issue`] takes.
///
/// # Errors
/// When signing fails.
pub fn issue_identity(
    signer: &Signer,
    uri: &str,
    validity: Duration,
    key_type: KeyType,
) -> Result<WorkloadCertificate, CaError> {
    certify(signer, std::iter::once(uri.to_owned()), validity, key_type)
}

/// A new key, and its PEM.
fn generate(key_type: KeyType) -> Result<(KeyPair, String), CaError> {
    match key_type {
        KeyType::Ecdsa => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let pem = key.serialize_pem();
            Ok((key, pem))
        }
        KeyType::Rsa => {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
            let pem = pkcs1::private_key_pem(&key)?;
            Ok((key, pem))
        }
    }
}

fn certify(
    signer: &Signer,
    uris: impl Iterator<Item = String>,
    validity: Duration,
    key_type: KeyType,
) -> Result<WorkloadCertificate, CaError> {
    let names: Result<Vec<SanType>, CaError> = uris
        .map(|uri| Ia5String::try_from(uri.clone()).map(SanType::URI).map_err(|_| CaError::Identity(uri)))
        .collect();
    let (key, key_pem) = generate(key_type)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + validity;
    let certificate = params.signed_by(&key, &signer.issuer)?;
    let stamp = |time: OffsetDateTime| Timestamp::from_second(time.unix_timestamp()).unwrap_or(Timestamp::MAX);
    Ok(WorkloadCertificate {
        cert_pem: certificate.pem(),
        key_pem,
        issued: stamp(now),
        not_after: stamp(now + validity),
    })
}
