//! Tokens, keys, certificates and access rules.
//!
//! Invariant: private keys never reach a log or an error text.

pub mod ca;
pub mod envoy_admin;
mod pkcs1;
