//! The zone control plane: serves the proxies of one cluster from what it learned from global and from them.
//!
//! Everything is driven by the change feed of the store. [`mesh_state`] turns changes into snapshots and wakes the streams of the
//! proxies concerned; each stream ([`ads`]) makes its proxy's configuration from the newest snapshot and sends what differs.

pub mod ads;
pub mod allowance;
pub mod available_services;
pub mod bootstrap;
mod clock;
pub mod dp_server;
pub mod envoy_admin;
mod grpc;
pub mod grpc_message;
pub mod hds;
pub mod hostnames;
pub mod identity;
pub mod issuing;
pub mod left_out;
pub mod mads;
pub mod mesh_identities;
pub mod mesh_state;
mod pace;
pub mod proxy;
pub mod refusals;
pub mod run;
pub mod service_accounts;
pub mod services;
#[cfg(test)]
mod testing;
pub mod virtual_addresses;
pub mod workload_identity;
mod workloads;
