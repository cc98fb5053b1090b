//! Certificate authorities of meshes and the certificates they issue to proxies.
//!
//! Source of names, subjects and extensions: Kuma `pkg/plugins/ca` and `pkg/core/ca/issuer`.

mod builtin;
mod duration;
mod error;
mod inspect;
mod signer;
mod spiffe;
#[cfg(test)]
mod tests;
mod workload;

pub use builtin::{BuiltinAuthority, RsaBits};
pub use duration::parse_duration;
pub use error::CaError;
pub use inspect::{authority_faults, is_same_certificate, is_self_signed};
pub use signer::Signer;
pub use tandem_runtime::config::KeyType;
pub use workload::{DEFAULT_VALIDITY, WorkloadCertificate, ZONE_EGRESS_SERVICE, issue, issue_identity};
