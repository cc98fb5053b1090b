//! Changes of policies and of what they refer to.

use std::sync::Arc;

use tandem_model::{Kri, Resource, ResourceKey};
use tandem_policy::policy::Policy;

use super::New;
use crate::index::MeshIndex;
use crate::index::destination::DestinationView;
use crate::index::external::ExternalView;
use crate::index::touched::Touched;

/// True when the policies of the mesh have to be gathered again.
pub(super) fn policy(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.policies.get(key));
    if let (Some(old), Some(new)) = (old, new)
        && same_policy(&old.resource, new)
    {
        return false;
    }
    let existed = old.is_some();
    let decoded = index.decoded(key, new, |resource| Policy::decode(resource.clone()));
    if !existed && decoded.is_none() {
        return false;
    }
    let state = index.mesh_mut(&key.mesh);
    match decoded {
        Some(policy) => {
            state.policies.insert_mut(key.clone(), policy);
        }
        None => {
            state.policies.remove_mut(key);
        }
    }
    index.drop_mesh_if_empty(&key.mesh);
    touched.meshes.insert(key.mesh.clone());
    touched.zone_proxies = true;
    true
}

/// True when the policies of the mesh have to be gathered again.
pub(super) fn destination(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.destinations.get(key)).cloned();
    if let (Some(old), Some(new)) = (&old, new)
        && same_policy(old, new)
    {
        return false;
    }
    let revision = index.next_revision();
    let decoded = index.decoded(key, new, |resource| DestinationView::decode(resource, revision));
    if old.is_none() && decoded.is_none() {
        return false;
    }
    let known = old.as_deref().and_then(Kri::of).and_then(|kri| index.state.meshes.get(&*key.mesh)?.views.get(&kri));
    let view = decoded.as_deref().and_then(Option::as_ref);
    if known.zip(view).is_some_and(|(known, view)| known.is_same(view)) {
        return false;
    }
    let state = index.mesh_mut(&key.mesh);
    if let Some(kri) = old.as_deref().and_then(Kri::of) {
        state.views.remove_mut(&kri);
    }
    match (new, decoded.map(Arc::into_inner)) {
        (Some(resource), Some(view)) => {
            state.destinations.insert_mut(key.clone(), resource.clone());
            if let Some(view) = view.flatten() {
                state.views.insert_mut(view.kri.clone(), Arc::new(view));
            }
        }
        _ => {
            state.destinations.remove_mut(key);
        }
    }
    index.drop_mesh_if_empty(&key.mesh);
    touched.meshes.insert(key.mesh.clone());
    touched.zone_proxies = true;
    true
}

/// True when two versions of a policy have the same effect. The time of creation counts: it breaks ties between policies.
pub(super) fn same_policy(old: &Resource, new: &Resource) -> bool {
    old.spec == new.spec && old.status == new.status && old.labels == new.labels && old.created == new.created
}

pub(super) fn external(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let view = index.decoded(key, new, ExternalView::decode);
    let name: Arc<str> = key.name.as_str().into();
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.externals.get(&name)).cloned();
    if old == view {
        return;
    }
    let externals = &mut index.mesh_mut(&key.mesh).externals;
    match &view {
        Some(view) => externals.insert_mut(name.clone(), view.clone()),
        None => {
            externals.remove_mut(&name);
        }
    }
    if let Some(old) = old {
        index.edit_service(&key.mesh, &old.service, touched, |service| {
            service.external.remove_mut(&name);
        });
    }
    if let Some(view) = view {
        index.edit_service(&key.mesh, &view.service.clone(), touched, |service| {
            service.external.insert_mut(name, view);
        });
    }
    index.drop_mesh_if_empty(&key.mesh);
    touched.zone_proxies = true;
}
