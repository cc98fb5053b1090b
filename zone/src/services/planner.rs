//! From facts to writes: what has to be looked at again after a change; what is to be written then is in [`plan`].

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::core::mesh_service::Selector;
use tandem_model::hostname::{self, Generator};
use tandem_model::label::SERVICE_TAG;
use tandem_model::{DecodeError, Kind, Resource, ResourceKey};

use super::ServicesSettings;
use super::draft::Stored;
use super::facts::{Connection, Identity, MeshFacts, MeshSettings, Proxy};
use super::generation::{self, grace_end};
use super::multi_zone;
use super::selecting::Selecting;
use super::vips::Vips;
use crate::left_out::Reasons;

/// All that is known, and what has to be looked at again.
#[derive(Debug)]
pub(super) struct Planner {
    zone: String,
    grace_period: Duration,
    meshes: BTreeMap<String, MeshFacts>,
    /// Which MeshServices of a mesh a Dataplane concerns.
    selecting: BTreeMap<String, Selecting>,
    /// MeshServices, MeshExternalServices and MeshMultiZoneServices.
    services: BTreeMap<ResourceKey, Stored>,
    generators: BTreeMap<String, Generator>,
    ranges: BTreeMap<Kind, Range>,
    /// When the grace periods of generated MeshServices end.
    graces: BTreeMap<ResourceKey, Timestamp>,
    due: Due,
    /// What was said about a service last, so that it is said once.
    notes: BTreeMap<(ResourceKey, Topic), String>,
    /// Services that proxies are not sent, with the reasons.
    left_out: Reasons,
}

/// What something said about a service is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// How it follows from Dataplanes.
    Generation,
    /// Its virtual address.
    Address,
}

/// A range of virtual addresses, and the configuration key that sets it.
#[derive(Debug)]
struct Range {
    vips: Vips<ResourceKey>,
    key: &'static str,
}

/// What has to be looked at again.
#[derive(Debug, Default)]
struct Due {
    /// MeshServices, which exist or not: generation and health.
    services: BTreeSet<ResourceKey>,
    multi_zone: BTreeSet<ResourceKey>,
    /// Services that may lack an address.
    vips: BTreeSet<ResourceKey>,
    /// Host names of all services of a kind in a mesh.
    hostnames: BTreeSet<(Kind, String)>,
    /// Services about which something else is to be told.
    problems: BTreeSet<ResourceKey>,
}

impl Due {
    fn is_empty(&self) -> bool {
        let Self { services, multi_zone, vips, hostnames, problems } = self;
        services.is_empty() && multi_zone.is_empty() && vips.is_empty() && hostnames.is_empty() && problems.is_empty()
    }
}

impl Planner {
    pub(super) fn new(settings: &ServicesSettings) -> Self {
        let range = |range, key| Range { vips: Vips::new(range), key };
        Self {
            zone: settings.zone.clone(),
            grace_period: settings.deletion_grace_period,
            meshes: BTreeMap::new(),
            selecting: BTreeMap::new(),
            services: BTreeMap::new(),
            generators: BTreeMap::new(),
            ranges: BTreeMap::from([
                (Kind::MeshService, range(settings.mesh_service_cidr, "ipam.meshService.cidr")),
                (
                    Kind::MeshExternalService,
                    range(settings.mesh_external_service_cidr, "ipam.meshExternalService.cidr"),
                ),
                (
                    Kind::MeshMultiZoneService,
                    range(settings.mesh_multi_zone_service_cidr, "ipam.meshMultiZoneService.cidr"),
                ),
            ]),
            graces: BTreeMap::new(),
            due: Due::default(),
            notes: BTreeMap::new(),
            left_out: Reasons::new(),
        }
    }

    /// Forgets everything it was told.
    pub(super) fn clear(&mut self) {
        self.meshes.clear();
        self.selecting.clear();
        self.services.clear();
        self.generators.clear();
        self.graces.clear();
        self.due = Due::default();
        for range in self.ranges.values_mut() {
            range.vips.clear();
        }
    }

    /// True when something has to be looked at again.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When the next grace period ends.
    pub(super) fn next_grace_end(&self) -> Option<Timestamp> {
        self.graces.values().min().copied()
    }

    /// Takes notice of what is left out of configurations.
    pub(super) fn set_left_out(&mut self, reasons: Reasons) {
        let keys = reasons.keys().chain(self.left_out.keys());
        let changed = keys.filter(|key| reasons.get(*key) != self.left_out.get(*key));
        self.due.problems.extend(changed.filter(|key| self.services.contains_key(*key)).cloned());
        self.left_out = reasons;
    }

    /// Takes notice of a resource that is now so, or is gone.
    pub(super) fn apply(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) {
        let name = key.name.as_str();
        let mesh = if key.kind == Kind::Mesh { name } else { key.mesh.as_str() };
        match key.kind {
            Kind::Mesh => {
                let settings = new.and_then(|resource| decoded(MeshSettings::of(resource)));
                let facts = self.facts(mesh);
                if facts.settings != settings {
                    facts.settings = settings;
                    self.mesh_is_due(mesh);
                }
            }
            Kind::Dataplane => {
                let proxy = new.and_then(|resource| decoded(Proxy::of(resource)));
                if let Some(old) = self.facts(mesh).set_proxy(name, proxy.clone()) {
                    for proxy in old.iter().chain(&proxy) {
                        self.proxy_is_due(mesh, proxy);
                    }
                }
            }
            Kind::DataplaneInsight => {
                let connection = new.and_then(|resource| decoded(Connection::of(resource)));
                if self.facts(mesh).set_connection(name, connection)
                    && let Some((_, proxy)) = self.facts(mesh).proxy(name)
                {
                    let proxy = proxy.clone();
                    self.proxy_is_due(mesh, &proxy);
                }
            }
            Kind::MeshIdentity => {
                let identity = new.and_then(|resource| decoded(Identity::of(resource)));
                if self.facts(mesh).set_identity(name, identity) {
                    self.mesh_is_due(mesh);
                }
            }
            Kind::MeshTrust => {
                let trust = new.and_then(|resource| decoded(resource.json()));
                if self.facts(mesh).set_trust(name, trust) {
                    self.mesh_is_due(mesh);
                }
            }
            Kind::HostnameGenerator => self.apply_generator(name, new),
            kind if hostname::KINDS.contains(&kind) => self.apply_service(key, new),
            _ => return,
        }
        if self.meshes.get(mesh).is_some_and(MeshFacts::is_empty) {
            self.meshes.remove(mesh);
        }
    }

    fn facts(&mut self, mesh: &str) -> &mut MeshFacts {
        if !self.meshes.contains_key(mesh) {
            self.meshes.insert(mesh.to_owned(), MeshFacts::default());
        }
        self.meshes.get_mut(mesh).expect("inserted just now when absent")
    }

    /// All MeshServices that exist in a mesh or could be made in it.
    fn mesh_is_due(&mut self, mesh: &str) {
        let existing = of(&self.services, Kind::MeshService, mesh).map(|(key, _)| key.clone());
        self.due.services.extend(existing);
        let provided = self.meshes.get(mesh).into_iter().flat_map(MeshFacts::provided_services);
        self.due.services.extend(provided.map(|name| ResourceKey::new(Kind::MeshService, mesh, name.as_str())));
    }

    /// The MeshServices that a Dataplane may concern.
    fn proxy_is_due(&mut self, mesh: &str, proxy: &Proxy) {
        let provided = proxy.provides();
        let selecting = self.selecting.get(mesh).into_iter().flat_map(|selecting| selecting.concerned(&provided));
        let names = provided.iter().copied().chain(selecting);
        self.due.services.extend(names.map(|name| ResourceKey::new(Kind::MeshService, mesh, name)));
    }

    fn apply_generator(&mut self, name: &str, new: Option<&Arc<Resource>>) {
        let new = new.and_then(|resource| decoded(Generator::decode(resource)));
        if self.generators.get(name) == new.as_ref() {
            return;
        }
        let old = self.generators.remove(name);
        for generator in old.iter().chain(&new) {
            let concerned = self.services.keys().filter(|key| generator.is_for(key.kind));
            self.due.hostnames.extend(concerned.map(|key| (key.kind, key.mesh.clone())));
        }
        self.generators.extend(new.map(|new| (name.to_owned(), new)));
    }

    fn apply_service(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) {
        let new = new.and_then(|resource| decoded(Stored::of(resource)));
        let old = self.services.remove(key);
        if let Some(range) = self.ranges.get_mut(&key.kind) {
            let freed_for = range.vips.set(key, new.iter().flat_map(|stored| stored.status.vips()));
            self.due.vips.extend(freed_for);
        }
        match &new {
            Some(new) if new.status.vips().next().is_none() => {
                self.due.vips.insert(key.clone());
            }
            _ => {
                self.due.vips.remove(key);
            }
        }
        let same_names = |old: &Stored, new: &Stored| {
            old.resource.labels == new.resource.labels
                && old.resource.created == new.resource.created
                && old.status.shares_hostnames(&new.status)
        };
        if !old.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| same_names(old, new)) {
            self.due.hostnames.insert((key.kind, key.mesh.clone()));
            if key.kind == Kind::MeshService {
                for stored in old.iter().chain(&new) {
                    self.multi_zone_is_due(&stored.resource);
                }
            }
        }
        match key.kind {
            Kind::MeshService => {
                let selector = |stored: &Stored| stored.spec.service().map(|spec| spec.selector.clone());
                let (old, new) = (old.as_ref().and_then(selector), new.as_ref().and_then(selector));
                self.set_selector(key, old.as_ref(), new.as_ref());
                self.due.services.insert(key.clone());
            }
            Kind::MeshMultiZoneService => {
                self.due.multi_zone.insert(key.clone());
            }
            _ => {}
        }
        self.due.problems.insert(key.clone());
        self.graces.remove(key);
        match new {
            Some(new) => {
                if generation::is_generated(&new.resource) {
                    let end = grace_end(&new.resource, self.grace_period);
                    self.graces.extend(end.map(|end| (key.clone(), end)));
                }
                self.services.insert(key.clone(), new);
            }
            None => {
                self.notes.retain(|(of, _), _| of != key);
            }
        }
    }

    fn set_selector(&mut self, key: &ResourceKey, old: Option<&Selector>, new: Option<&Selector>) {
        let service = |selector: &Selector| selector.dataplane_tags.as_ref()?.get(SERVICE_TAG).cloned();
        let selecting = self.selecting.entry(key.mesh.clone()).or_default();
        if let Some(old) = old {
            selecting.remove(service(old).as_deref(), &key.name);
        }
        if let Some(new) = new {
            selecting.insert(service(new), &key.name);
        }
        if selecting.is_empty() {
            self.selecting.remove(&key.mesh);
        }
    }

    /// The MeshMultiZoneServices that a MeshService with the labels of `resource` belongs to.
    fn multi_zone_is_due(&mut self, resource: &Resource) {
        let services = all(&self.services, Kind::MeshMultiZoneService);
        let concerned = services.filter(|(_, stored)| multi_zone::consists_of(&stored.spec, resource));
        self.due.multi_zone.extend(concerned.map(|(key, _)| key.clone()));
    }

    /// Has everything about a service looked at again, because a write came to nothing.
    pub(super) fn retry(&mut self, key: &ResourceKey) {
        self.due.hostnames.insert((key.kind, key.mesh.clone()));
        self.due.vips.insert(key.clone());
        self.due.problems.insert(key.clone());
        match key.kind {
            Kind::MeshService => self.due.services.insert(key.clone()),
            _ => self.due.multi_zone.insert(key.clone()),
        };
    }
}

/// The services of a kind in a mesh.
fn of<'a>(
    services: &'a BTreeMap<ResourceKey, Stored>,
    kind: Kind,
    mesh: &'a str,
) -> impl Iterator<Item = (&'a ResourceKey, &'a Stored)> {
    let first = ResourceKey::new(kind, mesh, "");
    let services = services.range((Bound::Included(first), Bound::Unbounded));
    services.take_while(move |(key, _)| key.kind == kind && key.mesh == mesh)
}

/// The services of a kind in all meshes.
fn all(services: &BTreeMap<ResourceKey, Stored>, kind: Kind) -> impl Iterator<Item = (&ResourceKey, &Stored)> {
    let first = ResourceKey::new(kind, "", "");
    let services = services.range((Bound::Included(first), Bound::Unbounded));
    services.take_while(move |(key, _)| key.kind == kind)
}

/// What a resource says; one that cannot be read is reported and counts as absent.
fn decoded<T>(outcome: Result<T, DecodeError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!(%error, "left out of the services")).ok()
}
