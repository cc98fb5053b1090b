//! MeshProxyPatch: changes to the generated Envoy configuration.

mod schema;
mod validation;

pub use schema::{
    ClusterMatch, ClusterMod, Conf, FilterMatch, FilterOperation, HttpFilterMod, JsonPatch, JsonPatchOp, ListenerMatch,
    ListenerMod, Modification, NetworkFilterMod, Operation, Spec, VirtualHostMatch, VirtualHostMod,
};
