//! MeshTLS: how connections within the mesh are secured.

mod schema;
mod validation;

pub use schema::{Conf, Mode, Spec, TlsCipher, TlsVersion, TlsVersions};
