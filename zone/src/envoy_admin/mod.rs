//! Envoy's admin interface: the zone's own authority that guards it, and the client that asks it.

mod authority;
mod client;

pub use authority::EnvoyAdmin;
pub use client::EnvoyClient;
