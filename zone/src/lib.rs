//! The zone control plane: serves the proxies of one cluster from what it learned from global and from them.
//!
//! Everything is driven by the change feed of the store. [`mesh_state`] turns changes into snapshots and wakes the streams of the
//! proxies concerned; each stream ([`ads`]) makes its proxy's configuration from the newest snapshot and sends what differs.

pub mod ads;
pub mod available_services;
pub mod bootstrap;
pub mod envoy_admin;
pub mod grpc_message;
pub mod hds;
pub mod hostnames;
pub mod identity;
pub mod left_out;
pub mod mesh_identities;
pub mod mesh_state;
mod pace;
pub mod proxy;
pub mod run;
pub mod services;
#[cfg(test)]
mod testing;
pub mod virtual_addresses;
pub mod workload_identity;
mod workloads;
