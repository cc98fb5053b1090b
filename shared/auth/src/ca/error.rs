//! What can be wrong with certificate authorities.

/// Error of a certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificate of the authority cannot be read.
    #[error("invalid CA certificate: {0}")]
    Certificate(String),
    /// A certificate is not one of an authority.
    #[error("certificate {index} is not one of a CA: {reason}")]
    NotAnAuthority {
        /// Its place among the certificates, from 0.
        index: usize,
        /// Why.
        reason: &'static str,
    },
    /// The key of the authority cannot be read.
    #[error("invalid CA key: {0}")]
    Key(String),
    /// The key belongs to another certificate.
    #[error("invalid CA key: the key does not belong to the certificate")]
    OtherKey,
    /// A duration is not written as a number and a unit, or is too long.
    #[error("invalid duration {0:?}: expected a number followed by one of y, w, d, h, m, s, ms, at most 292y")]
    Duration(String),
    /// A mesh, service or tag cannot be part of an identity.
    #[error("{0:?} cannot be part of an identity in a certificate")]
    Identity(String),
    /// The size of an RSA key is not supported.
    #[error("RSA keys of {0} bits are not supported, use 2048, 3072 or 4096")]
    RsaBits(u32),
    /// Making the certificate failed.
    #[error("cannot make the certificate: {0}")]
    Issue(#[from] rcgen::Error),
}
