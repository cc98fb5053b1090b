//! Taking changes into the index.

mod identities;
mod legacy;
mod meshes;
mod outside;
mod policies;
mod proxies;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::legacy::KINDS;
use tandem_proto::mesh::v1alpha1 as pb;

use super::MeshIndex;
use super::hostnames::{AddressError, Hostnames};
use super::mesh::{Roots, root_certificates};
use super::service::Service;
use super::snapshot::{Authority, MeshState, Snapshot};
use super::touched::{Problem, Touched};

type New<'a> = Option<&'a Arc<Resource>>;

pub(super) fn apply<'a>(
    index: &mut MeshIndex,
    changes: impl IntoIterator<Item = (&'a ResourceKey, New<'a>)>,
    mut touched: Touched,
) -> Touched {
    let mut zone_proxies_changed = false;
    let mut other_destinations = BTreeSet::new();
    let mut outside = BTreeSet::new();
    for (key, new) in changes {
        // A Mesh that is as it was may still lack its authority.
        if key.kind != Kind::Mesh || new.is_none() {
            index.settle(key);
        }
        let destinations_changed = match key.kind {
            Kind::Mesh => meshes::mesh(index, key, new, &mut touched),
            Kind::MeshService | Kind::MeshMultiZoneService | Kind::MeshExternalService => {
                policies::destination(index, key, new, &mut touched)
            }
            kind if kind.is_target_ref_policy() => policies::policy(index, key, new, &mut touched),
            _ => false,
        };
        if matches!(key.kind, Kind::MeshExternalService | Kind::ExternalService) {
            outside.insert(key.clone());
        }
        if destinations_changed {
            other_destinations.insert(if key.kind == Kind::Mesh { &key.name } else { &key.mesh });
        }
        match key.kind {
            Kind::Dataplane => proxies::dataplane(index, key, new, &mut touched),
            Kind::ZoneIngress => zone_proxies_changed |= proxies::ingress(index, key, new, &mut touched),
            Kind::ZoneEgress => zone_proxies_changed |= proxies::egress(index, key, new, &mut touched),
            Kind::ExternalService => policies::external(index, key, new, &mut touched),
            Kind::MeshIdentity => identities::identity(index, key, new, &mut touched),
            Kind::MeshTrust => identities::trust(index, key, new, &mut touched),
            Kind::Secret => {
                meshes::secret(index, key, new, &mut touched);
                outside.append(&mut outside::users(index, key));
            }
            kind if KINDS.contains(&kind) => legacy::policy(index, key, new, &mut touched),
            Kind::Config => vips::config(index, key, new, &mut touched),
            Kind::MeshGateway => proxies::gateway(index, key, new),
            Kind::VirtualOutbound => vips::virtual_outbound(index, key, new, &mut touched),
            Kind::ServiceInsight => meshes::insight(index, key, new, &mut touched),
            _ => {}
        }
    }
    if zone_proxies_changed {
        proxies::topology(index, &mut touched);
    }
    for key in &outside {
        outside::refresh(index, key, &mut touched);
    }
    for mesh in other_destinations {
        index.refresh_destinations(mesh);
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
            let mesh = MeshState::new(name, &state.settings);
            state.meshes.insert_mut(name.into(), Arc::new(mesh));
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

    /// Notes that a resource is left out, or a part of it, until it changes: then it is looked at anew.
    fn report(&mut self, key: &ResourceKey, reason: impl ToString) {
        let reason = reason.to_string();
        let known = self.state.problems.get(key);
        if known.is_some_and(|known| known.contains(&reason)) {
            return;
        }
        let reasons: Arc<[String]> =
            known.into_iter().flat_map(|known| known.iter()).chain([&reason]).cloned().collect();
        let revision = self.next_revision();
        let state = self.state_mut();
        state.problems.insert_mut(key.clone(), reasons);
        state.problems_revision = revision;
        let problem = Problem { key: key.clone(), reason };
        if !self.news.contains(&problem) {
            self.news.push(problem);
        }
    }

    /// Forgets what was wrong with a resource.
    fn settle(&mut self, key: &ResourceKey) {
        if self.state.problems.contains_key(key) {
            let revision = self.next_revision();
            let state = self.state_mut();
            state.problems.remove_mut(key);
            state.problems_revision = revision;
        }
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
        let config = state.config.clone();
        let mtls = config.as_ref().and_then(|config| config.mtls.as_ref());
        let (authority, trusted, problems) =
            match mtls.map(|mtls| root_certificates(mtls, |name| state.secrets.get(name))) {
                None => (Authority::Off, Vec::new(), Vec::new()),
                Some(Ok(Roots { pem, backends, untrusted })) => (Authority::Root(pem), backends, untrusted),
                Some(Err(reason)) => (Authority::Missing(reason.clone()), Vec::new(), vec![reason]),
            };
        let changed = state.authority != authority || *state.trusted_backends != *trusted;
        if let Some(config) = config {
            self.settle(&config.resource.key);
            problems.iter().for_each(|reason| self.report(&config.resource.key, format!("mtls: {reason}")));
        }
        if changed {
            let state = self.mesh_mut(mesh);
            state.authority = authority;
            state.trusted_backends = trusted.into();
            self.refresh_trust(mesh);
        }
        changed
    }

    /// Gathers what the policies of a mesh may refer to again. What that means for proxies is computed when they ask.
    fn refresh_destinations(&mut self, mesh: &str) {
        let Some(state) = self.state.meshes.get(mesh) else { return };
        let destinations = Arc::new(state.destinations());
        Arc::make_mut(&mut self.mesh_mut(mesh).compiled).set_destinations(destinations);
    }

    /// Computes again which services of a mesh are ready for TLS, and touches those whose readiness changed.
    fn refresh_readiness(&mut self, mesh: &str, touched: &mut Touched) {
        let Some(state) = self.state.meshes.get(mesh).cloned() else { return };
        let mut ready = BTreeMap::new();
        if let Some(config) = state.config.as_ref().filter(|config| config.permissive()) {
            let backend = config.mtls.as_ref().map_or("", |mtls| &mtls.backend);
            for insight in state.insights.values() {
                match insight.proto::<pb::ServiceInsight>() {
                    Ok(insight) => ready.extend(meshes::readiness(insight, backend)),
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
