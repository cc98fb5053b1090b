//! MeshTLS: how connections within the mesh are secured.

pub(crate) mod envoy;
mod schema;
mod validation;

pub use schema::{Conf, Mode, Spec, TlsCipher, TlsVersion, TlsVersions};
