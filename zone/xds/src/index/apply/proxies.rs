//! Changes of proxies: Dataplanes, ZoneIngresses and ZoneEgresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::ResourceKey;
use tandem_policy::subject::Gateway;

use super::New;
use crate::index::MeshIndex;
use crate::index::dataplane::{DataplaneView, LocalEndpoint, direct_access_to};
use crate::index::destination::ANY_SERVICE;
use crate::index::touched::Touched;
use crate::index::zone_proxy::{EgressView, IngressView, Topology};

/// Endpoints of a Dataplane by service.
fn by_service(view: Option<&Arc<DataplaneView>>) -> BTreeMap<Arc<str>, Vec<Arc<LocalEndpoint>>> {
    let mut services: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for endpoint in view.into_iter().flat_map(|view| &view.endpoints) {
        services.entry(endpoint.service.clone()).or_default().push(endpoint.clone());
    }
    services
}

pub(super) fn dataplane(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let view = index.addressed(key, new, DataplaneView::decode);
    let old = index.state.dataplane(&key.mesh, &key.name).cloned();
    if let (Some(old), Some(view)) = (&old, &view)
        && old.spec == view.spec
        && old.resource.labels == view.resource.labels
    {
        return;
    }
    if old.is_none() && view.is_none() {
        // Its stream tells why.
        touched.proxies.extend(new.map(|_| key.clone()));
        return;
    }
    touch_direct_access(index, key, [&old, &view], touched);
    let name: Arc<str> = key.name.as_str().into();
    let (before, after) = (by_service(old.as_ref()), by_service(view.as_ref()));
    let services: BTreeSet<&Arc<str>> = before.keys().chain(after.keys()).collect();
    // A MeshService may find one inbound of a Dataplane by the tags of another one.
    let all_concerned = before != after && index.has_destinations(&key.mesh);
    for service in services {
        let (before, after) = (before.get(service), after.get(service));
        if before == after && !all_concerned {
            continue;
        }
        index.edit_service(&key.mesh, service, touched, |service| {
            for endpoint in before.into_iter().flatten() {
                service.local.remove_mut(&(name.clone(), endpoint.index));
            }
            for endpoint in after.into_iter().flatten() {
                service.local.insert_mut((name.clone(), endpoint.index), endpoint.clone());
            }
        });
    }
    if index.has_destinations(&key.mesh) {
        touched.services.insert((key.mesh.clone(), ANY_SERVICE.to_owned()));
    }
    let revision = index.next_revision();
    let state = index.mesh_mut(&key.mesh);
    state.dataplanes_revision = revision;
    match view {
        Some(view) => {
            state.dataplanes.insert_mut(name, view);
        }
        None => {
            state.dataplanes.remove_mut(&name);
        }
    }
    index.drop_mesh_if_empty(&key.mesh);
    touched.proxies.insert(key.clone());
}

/// Takes in a MeshGateway, by which builtin gateways are known to those who read their metrics. No proxy is configured by it.
pub(super) fn gateway(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>) {
    let gateway = index.decoded(key, new, |resource| Gateway::decode(resource.clone()));
    let state = index.mesh_mut(&key.mesh);
    let known = state.gateways.binary_search_by(|known| known.resource.key.cmp(key));
    if let (Ok(at), Some(gateway)) = (known, &gateway)
        && state.gateways[at].spec == gateway.spec
        && state.gateways[at].resource.labels == gateway.resource.labels
    {
        return;
    }
    match (known, gateway.map(Arc::unwrap_or_clone)) {
        (Ok(at), Some(gateway)) => Arc::make_mut(&mut state.gateways)[at] = gateway,
        (Ok(at), None) => drop(Arc::make_mut(&mut state.gateways).remove(at)),
        (Err(at), Some(gateway)) => Arc::make_mut(&mut state.gateways).insert(at, gateway),
        (Err(_), None) => {}
    }
    index.drop_mesh_if_empty(&key.mesh);
}

/// Touches those who reach a Dataplane at its own addresses, if these changed.
fn touch_direct_access(
    index: &MeshIndex,
    key: &ResourceKey,
    [old, new]: [&Option<Arc<DataplaneView>>; 2],
    touched: &mut Touched,
) {
    let nothing = Default::default();
    let mesh = index.state.mesh(&key.mesh).map_or(&nothing, |mesh| &mesh.spec);
    let listens = |view: &Option<Arc<DataplaneView>>| view.as_ref().map(|view| view.listens(mesh)).unwrap_or_default();
    let (before, after) = (listens(old), listens(new));
    for (service, ..) in before.symmetric_difference(&after) {
        touched.services.insert((key.mesh.clone(), direct_access_to(service)));
        touched.services.insert((key.mesh.clone(), direct_access_to("*")));
    }
}

/// True when the topology may have changed.
pub(super) fn ingress(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let view = index.addressed(key, new, IngressView::decode);
    let old = index.state.ingress(&key.name).cloned();
    if let (Some(old), Some(view)) = (&old, &view)
        && old.public == view.public
        && old.resource.spec == view.resource.spec
        && old.resource.labels == view.resource.labels
    {
        return false;
    }
    if old.is_none() && view.is_none() {
        touched.proxies.extend(new.map(|_| key.clone()));
        return false;
    }
    let zone = index.state.settings.zone.clone();
    let empty = BTreeMap::new();
    let remote = |view: &Option<Arc<IngressView>>| view.clone().filter(|view| view.is_remote(&zone));
    let (was_remote, is_remote) = (remote(&old), remote(&view));
    let before = was_remote.as_ref().map_or(&empty, |view| &view.services);
    let after = is_remote.as_ref().map_or(&empty, |view| &view.services);
    let moved = was_remote.as_ref().map(|view| &view.public) != is_remote.as_ref().map(|view| &view.public);
    let name: Arc<str> = key.name.as_str().into();
    let services: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for service in services {
        let (before, after) = (before.get(service), after.get(service));
        if before == after && !moved {
            continue;
        }
        let (mesh, service) = service;
        index.edit_service(mesh, service, touched, |service| {
            match after {
                Some(services) => service.remote.insert_mut(name.clone(), services.clone()),
                None => {
                    service.remote.remove_mut(&name);
                }
            };
        });
        index.drop_mesh_if_empty(mesh);
        // The egress of this zone has a chain per service, known only after it was generated.
        touched.zone_proxies = true;
    }
    let state = index.state_mut();
    match view {
        Some(view) => {
            state.ingresses.insert_mut(name, view);
        }
        None => {
            state.ingresses.remove_mut(&name);
        }
    }
    touched.proxies.insert(key.clone());
    true
}

/// True when the topology may have changed.
pub(super) fn egress(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let view = index.decoded(key, new, EgressView::decode);
    let old = index.state.egress(&key.name);
    if let (Some(old), Some(view)) = (old, &view)
        && old.resource.spec == view.resource.spec
        && old.resource.labels == view.resource.labels
    {
        return false;
    }
    if old.is_none() && view.is_none() {
        touched.proxies.extend(new.map(|_| key.clone()));
        return false;
    }
    let state = index.state_mut();
    match view {
        Some(view) => {
            state.egresses.insert_mut(key.name.as_str().into(), view);
        }
        None => {
            state.egresses.remove_mut(key.name.as_str());
        }
    }
    touched.proxies.insert(key.clone());
    true
}

/// Computes which ingresses count and where the egresses are, and touches the meshes for which that makes a difference.
pub(super) fn topology(index: &mut MeshIndex, touched: &mut Touched) {
    let state = &index.state;
    let new = Topology::compute(&state.settings.zone, state.ingresses.values(), state.egresses.values());
    let old = state.topology.clone();
    if new == *old {
        return;
    }
    let weight_changed = new.local_weight() != old.local_weight();
    let zones_changed = new.public != old.public;
    let egresses_changed = new.egresses != old.egresses;
    for mesh in state.meshes() {
        let views = || state.meshes.get(&mesh.name).into_iter().flat_map(|mesh| mesh.views.values());
        let has_destinations = views().next().is_some();
        let uses_egresses = mesh.zone_egress || views().any(|view| view.is_external());
        if mesh.mtls.is_some() && weight_changed
            || uses_egresses && egresses_changed
            || has_destinations && zones_changed
        {
            touched.meshes.insert(mesh.name.to_string());
            touched.zone_proxies = true;
        }
    }
    // An ingress that begins or ceases to count changes the services it makes reachable.
    let names: BTreeSet<_> = old.ingresses.keys().chain(new.ingresses.keys()).collect();
    for name in names {
        if old.ingresses.get(name) == new.ingresses.get(name) {
            continue;
        }
        if let Some(ingress) = state.ingresses.get(name) {
            touched.services.extend(ingress.services.keys().cloned());
            touched.zone_proxies = true;
        }
    }
    let revision = index.next_revision();
    let state = index.state_mut();
    state.topology = Arc::new(new);
    state.topology_revision = revision;
}
