//! What the bootstrap endpoint must know of certificates: the names a proxy may use, and whether a certificate can be trusted
//! as an authority.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

/// The certificate the dataplane server presents.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The whole chain as PEM.
    pub pem: Vec<u8>,
    /// DNS names and addresses of the first certificate, in order.
    pub names: Vec<String>,
}

/// The certificate given to proxies as trust anchor does not serve as one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CaError {
    /// Not a PEM certificate.
    #[error("could not decode certificate: {0}")]
    Undecodable(String),
    /// Basic constraints say that it is no authority.
    #[error(
        "A data plane proxy is trying to verify the control plane using the certificate which is not a certificate authority \
         (basic constraint 'CA' is set to 'false').\nProvide CA that was used to sign a certificate used in the control plane \
         by using 'kuma-dp run --ca-cert-file=file' or via KUMA_CONTROL_PLANE_CA_CERT_FILE"
    )]
    NotAuthority,
}

fn first_certificate(pem: &[u8]) -> Result<Pem, CaError> {
    match Pem::iter_from_buffer(pem).next() {
        Some(Ok(block)) => Ok(block),
        Some(Err(error)) => Err(CaError::Undecodable(error.to_string())),
        None => Err(CaError::Undecodable("no PEM block found".to_owned())),
    }
}

impl ServerCertificate {
    /// Reads the names of the first certificate of a chain.
    ///
    /// # Errors
    /// When `pem` does not begin with a certificate.
    pub fn new(pem: Vec<u8>) -> Result<Self, CaError> {
        let block = first_certificate(&pem)?;
        let certificate = block.parse_x509().map_err(|error| CaError::Undecodable(error.to_string()))?;
        let extension =
            certificate.subject_alternative_name().map_err(|error| CaError::Undecodable(error.to_string()))?;
        let general_names = extension.map(|e| e.value.general_names.as_slice()).unwrap_or_default();
        let mut names: Vec<String> = general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| Ipv4Addr::from(b).to_string()),
                    _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| Ipv6Addr::from(b).to_string()),
                },
                _ => None,
            })
            .collect();
        names.sort();
        Ok(Self { pem, names })
    }

    /// True when proxies can verify the server under this name or address.
    pub fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| name == host)
    }
}

/// Checks that the first certificate of `pem` may sign others, or does not say.
///
/// # Errors
/// When it is no certificate, or says that it is no authority.
pub fn check_is_ca(pem: &[u8]) -> Result<(), CaError> {
    let block = first_certificate(pem)?;
    let certificate = block.parse_x509().map_err(|error| CaError::Undecodable(error.to_string()))?;
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => Err(CaError::NotAuthority),
        Ok(_) => Ok(()),
        Err(error) => Err(CaError::Undecodable(error.to_string())),
    }
}
