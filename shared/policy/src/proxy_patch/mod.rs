//! MeshProxyPatch: changes to the generated Envoy configuration.

pub mod native;
mod patches;
mod schema;
mod validation;

pub use patches::{Patch, Patches};
pub use schema::{
    ClusterMatch, ClusterMod, Conf, FilterMatch, FilterOperation, HttpFilterMod, JsonPatch, JsonPatchOp, ListenerMatch,
    ListenerMod, Modification, NetworkFilterMod, Operation, Spec, VirtualHostMatch, VirtualHostMod,
};
