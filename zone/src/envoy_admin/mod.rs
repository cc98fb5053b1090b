//! Envoy's admin interface: the zone's own authority that guards it, and the client that asks it.

mod authority;
mod client;
mod redaction;
#[cfg(test)]
mod tests;

pub use authority::{EnvoyAdmin, addresses};
pub use client::EnvoyClient;
