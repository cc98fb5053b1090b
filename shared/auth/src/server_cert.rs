//! The certificate that a control plane makes for its servers when none is configured.
//!
//! It is its own authority, so that clients can be given the certificate itself as the one to trust. Contents as in Kuma
//! (`pkg/tls/cert.go`, `pkg/core/bootstrap/autoconfig.go`), but with an ECDSA P-256 key.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use tandem_runtime::config::General;
use time::OffsetDateTime;

use crate::tls::TlsError;

const CLOCK_SKEW: Duration = Duration::from_secs(300);
const VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Makes the working directory, and in it certificate and key unless they are there or others are configured.
///
/// To be called before any server reads the files; `hostname` is a name clients may use for this host.
///
/// # Errors
/// When the directory or files cannot be written.
pub fn ensure(general: &General, hostname: &str) -> Result<(), TlsError> {
    let unwritable = |reason| TlsError::Unwritable { file: general.work_dir.clone(), reason };
    DirBuilder::new().recursive(true).mode(0o700).create(&general.work_dir).map_err(unwritable)?;
    let (certificate_file, key_file) = (&general.tls.cert_file, &general.tls.key_file);
    let is_there = |file: &Path| std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0);
    if !general.generated_certificate || (is_there(certificate_file) && is_there(key_file)) {
        return Ok(());
    }
    let (certificate, key) = generate(hostname, addresses())?;
    write(certificate_file, &certificate)?;
    write(key_file, &key)?;
    tracing::info!(
        certificate = %certificate_file.display(),
        key = %key_file.display(),
        "made a TLS certificate because none is configured"
    );
    Ok(())
}

/// A new certificate and its key, both PEM, for a host and its addresses.
///
/// # Errors
/// When the host has no usable name, or the system no randomness.
pub fn generate(hostname: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(String, String), TlsError> {
    let failed = |error: rcgen::Error| TlsError::Generate(error.to_string());
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
    params.distinguished_name = DistinguishedName::new();
    let mut names = vec!["localhost"];
    if !hostname.is_empty() && hostname != "localhost" {
        names.insert(0, hostname);
    }
    for name in names {
        let name = name.try_into().map_err(|_| TlsError::Generate(format!("{name:?} is not a DNS name")))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
    addresses.sort_by_key(ToString::to_string);
    addresses.dedup();
    params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = OffsetDateTime::now_utc() - CLOCK_SKEW;
    params.not_after = params.not_before + VALIDITY;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// All addresses of the host; the loopback ones when the system does not tell.
fn addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this host; the TLS certificate is for localhost only");
            vec![IpAddr::from([127, 0, 0, 1])]
        }
    }
}

/// Writes a file that only the user may read, or leaves what was there.
fn write(file: &Path, content: &str) -> Result<(), TlsError> {
    let unwritable = |reason| TlsError::Unwritable { file: file.to_owned(), reason };
    let temporary = file.with_extension("tmp");
    // Left behind by a process that was killed.
    let _ = std::fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(0o600).open(&temporary).map_err(unwritable)?;
    opened.write_all(content.as_bytes()).and_then(|()| opened.sync_all()).map_err(unwritable)?;
    std::fs::rename(&temporary, file).map_err(unwritable)
}
