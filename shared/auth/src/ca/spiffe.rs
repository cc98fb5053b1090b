//! What may be part of a SPIFFE identity `spiffe://<trust domain>/<segment>`.
//!
//! Source: SPIFFE-ID, sections 2.1 and 2.2.

use super::CaError;

/// Checks a mesh as trust domain, and services as path segments.
pub(super) fn check<'a>(mesh: &str, services: impl Iterator<Item = &'a String>) -> Result<(), CaError> {
    let is_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
    if mesh.is_empty() || !mesh.bytes().all(is_domain) {
        return Err(CaError::Identity(mesh.to_owned()));
    }
    let is_segment = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    for service in services {
        if matches!(service.as_str(), "" | "." | "..") || !service.bytes().all(is_segment) {
            return Err(CaError::Identity(service.clone()));
        }
    }
    Ok(())
}
