//! Changes of policies of the older generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::{Kind, ResourceKey, prometheus};
use tandem_proto::mesh::v1alpha1 as pb;

use super::New;
use super::policies::same_policy;
use crate::index::MeshIndex;
use crate::index::snapshot::MeshState;
use crate::index::touched::Touched;

pub(super) fn policy(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let state = index.state.meshes.get(&*key.mesh);
    let old = state.and_then(|state| state.legacy.policies().get(key));
    match (old, new) {
        (Some(old), Some(new)) if same_policy(old, new) => return,
        (None, None) => return,
        _ => {}
    }
    let had_none = state.is_none_or(|state| state.legacy.policies().has_none(key.kind));
    let mut concerned = Concerned::default();
    if let Some(state) = state.filter(|_| old.is_some()) {
        concerned.note(state, key);
    }
    let policies = Arc::make_mut(&mut index.mesh_mut(&key.mesh).legacy).policies_mut();
    let added = new.map_or(Ok(()), |resource| policies.add(resource.clone()));
    if new.is_none() || added.is_err() {
        policies.remove(key);
    }
    let has_none = policies.has_none(key.kind);
    if let Err(error) = added {
        index.report(key, error);
    } else if let Some(state) = index.state.meshes.get(&*key.mesh).filter(|_| new.is_some()) {
        concerned.note(state, key);
    }
    index.drop_mesh_if_empty(&key.mesh);
    if had_none && has_none {
        return;
    }
    if concerned.all || had_none != has_none && matters_to_all(key.kind) {
        touched.meshes.insert(key.mesh.clone());
    } else {
        touched.proxies.append(&mut concerned.proxies);
    }
    touched.zone_proxies |= reaches_zone_proxies(key.kind);
}

/// True for kinds whose first policy in a mesh makes a difference even for proxies that it does not select: with TrafficRoutes,
/// nobody reaches what no route leads to; with the others, clients tell their tags.
fn matters_to_all(kind: Kind) -> bool {
    matches!(kind, Kind::TrafficRoute | Kind::FaultInjection | Kind::RateLimit)
}

/// True for kinds that ZoneIngresses and ZoneEgresses read.
fn reaches_zone_proxies(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::TrafficPermission | Kind::TrafficRoute | Kind::FaultInjection | Kind::RateLimit | Kind::MeshGatewayRoute
    )
}

/// The Dataplanes of a mesh for which a policy can make a difference.
#[derive(Debug, Default)]
struct Concerned {
    all: bool,
    proxies: BTreeSet<ResourceKey>,
}

impl Concerned {
    /// Notes whom a policy in the index concerns.
    fn note(&mut self, state: &MeshState, key: &ResourceKey) {
        let policies = state.legacy.policies();
        // The permission that wins at an ExternalService decides for every proxy, also for those it does not select.
        let mut externals = state.externals.values();
        if key.kind == Kind::TrafficPermission && externals.any(|external| policies.permits_use_of(key, &external.tags))
        {
            self.all = true;
        }
        if self.all {
            return;
        }
        let mesh: Option<pb::Mesh> = state.config.as_ref().and_then(|config| config.resource.proto().ok());
        for dataplane in state.dataplanes.values() {
            let metrics = mesh.as_ref().and_then(|mesh| prometheus::settings(mesh, &dataplane.spec).ok().flatten());
            let additional = metrics.map(|settings| prometheus::inbound(&settings, &dataplane.spec));
            if policies.concerns(key, &dataplane.spec, additional.as_slice()) {
                self.proxies.insert(dataplane.resource.key.clone());
            }
        }
    }
}
