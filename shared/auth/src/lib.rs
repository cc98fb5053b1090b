//! Tokens, keys, certificates and access rules.
//!
//! Invariants: private keys never reach a log or an error text; checking a token reads no store.

pub mod access;
pub mod ca;
pub mod envoy_admin;
pub mod inter_cp;
pub mod keys;
pub mod localhost;
mod pkcs1;
pub mod proxy;
pub mod server_cert;
pub mod tls;
pub mod token;
