//! From the state of the meshes to the configuration of each proxy.
//!
//! [`MeshIndex`] takes in resources as they change, says which proxies a change concerns, and hands out [`Snapshot`]s.
//! [`identity_requests`] says which certificates a proxy needs, and [`generate()`] makes its configuration: encoded resources,
//! shared with other proxies where they are equal.
//!
//! Invariant: this crate does no I/O, keeps no clock and starts no task. The same snapshot and the same input give the same
//! bytes in every process.

mod cache;
#[cfg(test)]
mod conformance;
pub mod encoded;
pub mod generate;
pub mod index;
pub mod input;
pub mod metadata;
mod modifications;
pub mod monitoring;
#[cfg(test)]
mod testing;

pub use encoded::{Encoded, ResourceList, ResourceSet, ResourceType, Version};
pub use generate::{Cache, generate, identity_requests, is_redirected, mesh_identity, workload_request};
pub use index::{
    DataplaneView, MeshIdentityView, MeshIndex, Problem, ServiceKey, Snapshot, Touched, TrustBundle, ZoneSettings,
};
pub use input::{
    AdminTls, GenerateError, Generated, Identity, IdentityRequest, ProxyInput, SpiffeId, Warning, WorkloadIdentity,
    WorkloadRequest,
};
pub use metadata::{Features, NodeId, NodeIdError, ProxyMetadata, ProxyType};
