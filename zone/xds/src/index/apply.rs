//! Taking changes into the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::{Kind, Kri, Resource, ResourceKey};
use tandem_policy::MeshPolicies;
use tandem_policy::destinations::Destinations;
use tandem_policy::policy::Policy;
use tandem_proto::mesh::v1alpha1 as pb;

use super::MeshIndex;
use super::dataplane::{DataplaneView, LocalEndpoint};
use super::destination::{ANY_SERVICE, DestinationView};
use super::external::ExternalView;
use super::hostnames::{AddressError, Hostnames};
use super::mesh::{MeshView, root_certificates};
use super::service::Service;
use super::snapshot::{Authority, MeshState, Snapshot};
use super::touched::{Problem, Touched};
use super::zone_proxy::{EgressView, IngressView, Topology};

type New<'a> = Option<&'a Arc<Resource>>;

pub(super) fn apply<'a>(
    index: &mut MeshIndex,
    changes: impl IntoIterator<Item = (&'a ResourceKey, New<'a>)>,
) -> Touched {
    let mut touched = Touched::default();
    let mut zone_proxies_changed = false;
    let mut to_compile = BTreeSet::new();
    for (key, new) in changes {
        let policies_changed = match key.kind {
            Kind::Mesh => mesh(index, key, new, &mut touched),
            Kind::MeshService | Kind::MeshMultiZoneService | Kind::MeshExternalService => {
                destination(index, key, new, &mut touched)
            }
            kind if kind.is_target_ref_policy() => policy(index, key, new, &mut touched),
            _ => false,
        };
        if policies_changed {
            to_compile.insert(if key.kind == Kind::Mesh { &key.name } else { &key.mesh });
        }
        match key.kind {
            Kind::Dataplane => dataplane(index, key, new, &mut touched),
            Kind::ZoneIngress => zone_proxies_changed |= ingress(index, key, new, &mut touched),
            Kind::ZoneEgress => zone_proxies_changed |= egress(index, key, new, &mut touched),
            Kind::ExternalService => external(index, key, new, &mut touched),
            Kind::Secret => secret(index, key, new, &mut touched),
            Kind::ServiceInsight => insight(index, key, new, &mut touched),
            _ => {}
        }
    }
    if zone_proxies_changed {
        topology(index, &mut touched);
    }
    for mesh in to_compile {
        index.compile(mesh);
    }
    touched
}

impl MeshIndex {
    fn state_mut(&mut self) -> &mut Snapshot {
        Arc::make_mut(&mut self.state)
    }

    /// The state of a mesh, created when absent.
    fn mesh_mut(&mut self, name: &str) -> &mut MeshState {
        let state = self.state_mut();
        if !state.meshes.contains_key(name) {
            state.meshes.insert_mut(name.into(), Arc::new(MeshState::new(name)));
        }
        let mesh = state.meshes.get_mut(name).expect("inserted just now when absent");
        Arc::make_mut(mesh)
    }

    fn drop_mesh_if_empty(&mut self, name: &str) {
        if self.state.meshes.get(name).is_some_and(|mesh| mesh.is_empty()) {
            self.state_mut().meshes.remove_mut(name);
        }
    }

    /// True when the mesh has destinations that select Dataplanes.
    fn has_destinations(&self, mesh: &str) -> bool {
        self.state.meshes.get(mesh).is_some_and(|mesh| !mesh.views.is_empty())
    }

    fn report(&mut self, key: &ResourceKey, reason: impl ToString) {
        self.problems.push(Problem { key: key.clone(), reason: reason.to_string() });
    }

    /// Decodes a resource; reports one that cannot be decoded and treats it as absent.
    fn decoded<T, E: ToString>(
        &mut self,
        key: &ResourceKey,
        new: New<'_>,
        decode: impl FnOnce(&Arc<Resource>) -> Result<T, E>,
    ) -> Option<Arc<T>> {
        match decode(new?) {
            Ok(view) => Some(Arc::new(view)),
            Err(error) => {
                self.report(key, error);
                None
            }
        }
    }

    /// As [`MeshIndex::decoded`], for resources with addresses.
    fn addressed<T>(
        &mut self,
        key: &ResourceKey,
        new: New<'_>,
        decode: impl FnOnce(&Arc<Resource>, &mut Hostnames) -> Result<T, AddressError>,
    ) -> Option<Arc<T>> {
        let mut hostnames = std::mem::take(&mut self.hostnames);
        hostnames.detach(key);
        let view = self.decoded(key, new, |resource| decode(resource, &mut hostnames));
        hostnames.drop_unused();
        self.hostnames = hostnames;
        view
    }

    /// Edits a service, which changes its revision, and removes it when nobody provides it any more.
    fn edit_service(&mut self, mesh: &str, service: &str, touched: &mut Touched, edit: impl FnOnce(&mut Service)) {
        let revision = self.next_revision();
        let state = self.mesh_mut(mesh);
        let mut edited = state.services.get(service).cloned().unwrap_or_default();
        edited.revision = revision;
        edit(&mut edited);
        if edited.is_empty() {
            state.services.remove_mut(service);
        } else {
            state.services.insert_mut(service.into(), edited);
        }
        touched.services.insert((mesh.to_owned(), service.to_owned()));
    }

    /// Looks up the root certificates of a mesh again. True when they changed.
    fn refresh_authority(&mut self, mesh: &str) -> bool {
        let Some(state) = self.state.meshes.get(mesh) else { return false };
        let mtls = state.config.as_ref().and_then(|config| config.mtls.as_ref());
        let authority = match mtls {
            None => Authority::Off,
            Some(mtls) => match root_certificates(mtls, |name| state.secrets.get(name)) {
                Ok(root) => Authority::Root(root),
                Err(reason) => Authority::Missing(reason),
            },
        };
        let changed = state.authority != authority;
        if changed {
            self.mesh_mut(mesh).authority = authority;
        }
        changed
    }

    /// Gathers the policies of a mesh again. What they amount to is computed when a proxy asks.
    fn compile(&mut self, mesh: &str) {
        let Some(state) = self.state.meshes.get(mesh) else { return };
        let routes = state.policies.values().filter(|policy| policy.kind() == Kind::MeshHTTPRoute);
        let routes = routes.map(|policy| policy.resource.clone());
        let config = state.config.as_ref().map(|config| config.resource.clone());
        let destinations = Destinations::new(state.destinations.values().cloned().chain(routes).chain(config));
        let compiled = MeshPolicies::new(mesh, state.policies.values().cloned(), Arc::new(destinations));
        self.mesh_mut(mesh).compiled = Arc::new(compiled);
    }

    /// Computes again which services of a mesh are ready for TLS, and touches those whose readiness changed.
    fn refresh_readiness(&mut self, mesh: &str, touched: &mut Touched) {
        let Some(state) = self.state.meshes.get(mesh).cloned() else { return };
        let mut ready = BTreeMap::new();
        if let Some(config) = state.config.as_ref().filter(|config| config.permissive()) {
            let backend = config.mtls.as_ref().map_or("", |mtls| &mtls.backend);
            for insight in state.insights.values() {
                match insight.proto::<pb::ServiceInsight>() {
                    Ok(insight) => ready.extend(readiness(insight, backend)),
                    Err(error) => self.report(&insight.key, error),
                }
            }
        }
        if ready == *state.tls_ready {
            return;
        }
        for (service, is_ready) in &ready {
            if state.tls_ready.get(service) != Some(is_ready) {
                touched.services.insert((mesh.to_owned(), service.clone()));
            }
        }
        for service in state.tls_ready.keys().filter(|service| !ready.contains_key(*service)) {
            touched.services.insert((mesh.to_owned(), service.clone()));
        }
        self.mesh_mut(mesh).tls_ready = Arc::new(ready);
    }
}

/// Which services have a certificate of the backend on every proxy.
fn readiness(insight: pb::ServiceInsight, backend: &str) -> impl Iterator<Item = (String, bool)> {
    insight.services.into_iter().map(move |(name, service)| {
        let proxies = service.dataplanes.unwrap_or_default();
        let issued = service.issued_backends.get(backend).copied().unwrap_or_default();
        (name, issued == proxies.online.saturating_add(proxies.offline))
    })
}

/// True when the policies of the mesh have to be gathered again.
fn mesh(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let name = key.name.as_str();
    let view = index.decoded(key, new, MeshView::decode);
    let old = index.state.mesh(name);
    if view.is_none() && old.is_none() {
        return false;
    }
    if let (Some(old), Some(view)) = (old, &view)
        && old.resource.spec == view.resource.spec
        && old.resource.labels == view.resource.labels
    {
        return false;
    }
    let revision = index.next_revision();
    let state = index.mesh_mut(name);
    state.config = view;
    state.config_revision = revision;
    index.refresh_authority(name);
    index.refresh_readiness(name, touched);
    index.drop_mesh_if_empty(name);
    touched.meshes.insert(name.to_owned());
    touched.zone_proxies = true;
    true
}

/// Endpoints of a Dataplane by service.
fn by_service(view: Option<&Arc<DataplaneView>>) -> BTreeMap<Arc<str>, Vec<Arc<LocalEndpoint>>> {
    let mut services: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for endpoint in view.into_iter().flat_map(|view| &view.endpoints) {
        services.entry(endpoint.service.clone()).or_default().push(endpoint.clone());
    }
    services
}

fn dataplane(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let view = index.addressed(key, new, DataplaneView::decode);
    let old = index.state.dataplane(&key.mesh, &key.name).cloned();
    if let (Some(old), Some(view)) = (&old, &view)
        && old.spec == view.spec
        && old.resource.labels == view.resource.labels
    {
        return;
    }
    if old.is_none() && view.is_none() {
        return;
    }
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

/// True when the topology may have changed.
fn ingress(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
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
fn egress(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let view = index.decoded(key, new, EgressView::decode);
    let old = index.state.egress(&key.name);
    if let (Some(old), Some(view)) = (old, &view)
        && old.resource.spec == view.resource.spec
        && old.resource.labels == view.resource.labels
    {
        return false;
    }
    if old.is_none() && view.is_none() {
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
fn topology(index: &mut MeshIndex, touched: &mut Touched) {
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
        let has_destinations = state.meshes.get(&mesh.name).is_some_and(|mesh| !mesh.views.is_empty());
        if mesh.mtls.is_some() && weight_changed
            || mesh.zone_egress && egresses_changed
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

fn external(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
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

fn secret(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let state = index.mesh_mut(&key.mesh);
    match new {
        Some(resource) => {
            state.secrets.insert_mut(key.name.as_str().into(), resource.clone());
        }
        None => {
            state.secrets.remove_mut(key.name.as_str());
        }
    }
    if index.refresh_authority(&key.mesh) {
        let revision = index.next_revision();
        index.mesh_mut(&key.mesh).config_revision = revision;
        touched.meshes.insert(key.mesh.clone());
        touched.zone_proxies = true;
    }
    index.drop_mesh_if_empty(&key.mesh);
}

fn insight(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let state = index.mesh_mut(&key.mesh);
    match new {
        Some(resource) => {
            state.insights.insert_mut(key.name.as_str().into(), resource.clone());
        }
        None => {
            state.insights.remove_mut(key.name.as_str());
        }
    }
    if state.config.as_ref().is_some_and(|config| config.permissive()) {
        index.refresh_readiness(&key.mesh, touched);
    }
    index.drop_mesh_if_empty(&key.mesh);
}

/// True when the policies of the mesh have to be gathered again.
fn policy(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
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
fn destination(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
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
fn same_policy(old: &Resource, new: &Resource) -> bool {
    old.spec == new.spec && old.status == new.status && old.labels == new.labels && old.created == new.created
}
