//! TLS of servers and clients: certificates from files, versions, trust.

mod client;
mod clients;
mod files;
mod server;
#[cfg(test)]
mod tests;
mod verifier;

use std::path::PathBuf;

pub use client::{Trust, client_config, client_config_with_certificate};
pub use clients::{ClientCertificate, ClientTrust};
pub use server::{ClientAuth, client_roots, server_config};

/// Why TLS cannot be set up. Names the file to look at.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("could not read {what} '{}': {reason}", file.display())]
    Unreadable {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: std::io::Error,
    },
    /// A file or directory cannot be written.
    #[error("could not write '{}': {reason}", file.display())]
    Unwritable {
        /// The file or directory.
        file: PathBuf,
        /// Reason.
        reason: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("failed to parse {what} '{}': {reason}", file.display())]
    Malformed {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: String,
    },
    /// Certificate and key are of different pairs.
    #[error(
        "certificate '{}' and key '{}' do not belong together: {reason}",
        certificate.display(),
        key.display()
    )]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The system has no root certificates.
    #[error("the system has no root certificates{0}; name a CA file instead")]
    NoRoots(String),
    /// A certificate could not be made.
    #[error("could not autogenerate TLS certificate: {0}")]
    Generate(String),
    /// The combination of settings is impossible.
    #[error("impossible TLS settings: {0}")]
    Settings(#[from] rustls::Error),
}
