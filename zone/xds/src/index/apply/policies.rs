//! Changes of policies and of what they refer to.

use std::sync::Arc;

use tandem_model::{Kind, Kri, Resource, ResourceKey};
use tandem_policy::concerns_zone_proxies;
use tandem_policy::matching::select;
use tandem_policy::policy::Policy;

use super::New;
use crate::index::MeshIndex;
use crate::index::dataplane::DataplaneView;
use crate::index::destination::DestinationView;
use crate::index::external::ExternalView;
use crate::index::touched::Touched;

/// True when what policies may refer to has to be gathered again.
pub(super) fn policy(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.policies.get(key)).cloned();
    if let (Some(old), Some(new)) = (&old, new)
        && same_policy(&old.resource, new)
    {
        return false;
    }
    let policy = index.decoded(key, new, |resource| Policy::decode(resource.clone()));
    if old.is_none() && policy.is_none() {
        return false;
    }
    let told = tells_callers_apart(index, &key.mesh);
    old.iter().for_each(|old| touch_selected(index, old, touched));
    let state = index.mesh_mut(&key.mesh);
    let compiled = Arc::make_mut(&mut state.compiled);
    old.iter().for_each(|old| compiled.remove(old));
    match &policy {
        Some(policy) => {
            if !policy.is_shadow() {
                compiled.insert(policy.clone());
            }
            state.policies.insert_mut(key.clone(), policy.clone());
        }
        None => {
            state.policies.remove_mut(key);
        }
    }
    policy.iter().for_each(|policy| touch_selected(index, policy, touched));
    if told != tells_callers_apart(index, &key.mesh) {
        touched.meshes.insert(key.mesh.clone());
    }
    touched.zone_proxies |= concerns_zone_proxies(key.kind);
    index.drop_mesh_if_empty(&key.mesh);
    key.kind == Kind::MeshHTTPRoute
}

/// True when policies treat callers differently by what they tell of their tags, which then all of them do.
fn tells_callers_apart(index: &MeshIndex, mesh: &str) -> bool {
    index.state.meshes.get(mesh).is_some_and(|mesh| mesh.compiled.tells_callers_apart())
}

/// Touches the proxies that a policy in the index selects.
fn touch_selected(index: &MeshIndex, policy: &Arc<Policy>, touched: &mut Touched) {
    let key = &policy.resource.key;
    let Some(state) = index.state.meshes.get(&*key.mesh) else { return };
    let has_effect = !policy.is_shadow() && state.compiled.settings().is_enabled(key.kind);
    if !has_effect || touched.everything || touched.meshes.contains(&key.mesh) {
        return;
    }
    // Policies are about routes by name. Of several with the same name one is meant, and which one depends on all of them.
    let routes = state.compiled.of_kind(Kind::MeshHTTPRoute);
    let namesakes = routes.iter().filter(|route| {
        key.kind == Kind::MeshHTTPRoute && route.resource.display_name() == policy.resource.display_name()
    });
    let policies: Vec<&Arc<Policy>> = namesakes.chain([policy]).collect();
    let is_selected = |dataplane: &DataplaneView| {
        let mut candidates = policies.iter().filter(|policy| dataplane.marks.may_suit(policy)).peekable();
        if candidates.peek().is_none() {
            return false;
        }
        let subject = dataplane.subject();
        candidates.any(|policy| select(policy, &subject, routes).is_ok_and(|selection| selection.applies(&subject)))
    };
    let selected: Vec<_> = state.dataplanes.values().filter(|dataplane| is_selected(dataplane)).collect();
    if selected.len() == state.dataplanes.size() && !selected.is_empty() {
        touched.meshes.insert(key.mesh.clone());
    } else {
        touched.proxies.extend(selected.iter().map(|dataplane| dataplane.resource.key.clone()));
    }
}

/// True when what policies may refer to has to be gathered again.
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
