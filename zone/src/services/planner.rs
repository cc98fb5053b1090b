//! From facts to writes: what has to be looked at again after a change, and what is to be written then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tandem_model::core::MeshService;
use tandem_model::core::mesh_service::{Port, Selector};
use tandem_model::hostname::{self, Generator};
use tandem_model::label::{DELETION_GRACE_PERIOD_STARTED_AT, SERVICE_TAG};
use tandem_model::{DecodeError, Kind, Resource, ResourceKey};
use tandem_store::Write;

use super::ServicesSettings;
use super::draft::{Draft, Spec, Status, Stored};
use super::facts::{Connection, Identity, MeshFacts, MeshSettings, Proxy};
use super::generation::{self, Decision, candidate, decide, grace_end};
use super::health::health;
use super::multi_zone;
use super::selecting::Selecting;
use super::vips::Vips;

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
    notes: BTreeMap<ResourceKey, String>,
}

/// A range of virtual addresses, and the configuration key that sets it.
#[derive(Debug)]
struct Range {
    vips: Vips,
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
}

impl Due {
    fn is_empty(&self) -> bool {
        let Self { services, multi_zone, vips, hostnames } = self;
        services.is_empty() && multi_zone.is_empty() && vips.is_empty() && hostnames.is_empty()
    }
}

type Drafts = BTreeMap<ResourceKey, Draft>;

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
                self.notes.remove(key);
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
        match key.kind {
            Kind::MeshService => self.due.services.insert(key.clone()),
            _ => self.due.multi_zone.insert(key.clone()),
        };
    }

    /// What has to be written now. Everything about a service is one write.
    pub(super) fn plan(&mut self, now: Timestamp) -> Vec<Write> {
        let mut due = std::mem::take(&mut self.due);
        // What becomes of them is decided now; a service that stays is not looked at again for this.
        due.services.extend(self.graces.extract_if(.., |_, end| *end < now).map(|(key, _)| key));
        let (mut drafts, mut deletes) = (Drafts::new(), BTreeMap::new());
        for key in &due.services {
            if self.generate(key, now, &mut drafts) {
                deletes.extend(self.services.get(key).map(|stored| (key.clone(), stored.resource.version)));
            } else {
                self.observe(key, &mut drafts);
            }
        }
        for key in drafts.keys().filter(|key| !self.services.contains_key(key)) {
            due.vips.insert(key.clone());
            due.hostnames.insert((Kind::MeshService, key.mesh.clone()));
        }
        for key in due.multi_zone {
            self.match_services(&key, &mut drafts);
        }
        for key in due.vips {
            self.allocate(&key, &mut drafts);
        }
        for (kind, mesh) in due.hostnames {
            self.name(kind, &mesh, &mut drafts);
        }
        drafts.retain(|key, _| !deletes.contains_key(key));
        let writes = drafts.into_iter().filter_map(|(key, draft)| draft.into_write(self.services.get(&key)));
        let deletes = deletes.into_iter().map(|(key, version)| Write::Delete { key, expected: Some(version) });
        writes.chain(deletes).collect()
    }

    /// The draft of a service that exists.
    fn draft<'a>(&self, key: &ResourceKey, drafts: &'a mut Drafts) -> Option<&'a mut Draft> {
        if !drafts.contains_key(key) {
            drafts.insert(key.clone(), self.services.get(key)?.draft());
        }
        drafts.get_mut(key)
    }

    /// Makes a MeshService from Dataplanes, or lets one go; true when it is to be deleted.
    fn generate(&mut self, key: &ResourceKey, now: Timestamp, drafts: &mut Drafts) -> bool {
        let Some(mesh) = self.meshes.get(&key.mesh) else { return false };
        let Some(settings) = mesh.settings else { return false };
        let stored = self.services.get(key);
        let ports = stored.and_then(|stored| stored.spec.service()).map(|spec| spec.ports.as_slice());
        let candidate = candidate(mesh, &key.name, ports);
        let conflicting = candidate.as_ref().map(|candidate| candidate.conflicting.join(", ")).unwrap_or_default();
        let existing = stored.map(|stored| (&*stored.resource, ports));
        let wanted = candidate.map(|candidate| candidate.ports);
        let decision = decide(settings.generates, wanted, existing, self.grace_period, now);
        let note = match &decision {
            Decision::NameTaken => "not generated: somebody wrote a MeshService of that name".to_owned(),
            _ if settings.generates && !conflicting.is_empty() => {
                format!("these Dataplanes name other ports for it, which are left out: {conflicting}")
            }
            _ => String::new(),
        };
        match decision {
            Decision::Keep | Decision::NameTaken => {}
            Decision::Create(ports) => {
                tracing::info!(service = %key, "generated");
                drafts.insert(key.clone(), self.generated(key, ports, now));
            }
            Decision::Update(ports) => {
                if let Some(draft) = self.draft(key, drafts) {
                    draft.resource.labels.remove(DELETION_GRACE_PERIOD_STARTED_AT);
                    draft.spec = match &draft.spec {
                        Spec::Service(spec) => {
                            let selector = generated_selector(&key.name);
                            Spec::Service(MeshService { selector, ports, ..spec.clone() })
                        }
                        other => other.clone(),
                    };
                }
            }
            Decision::StartGrace => {
                tracing::info!(service = %key, "no Dataplane provides it any more, its grace period begins");
                if let Some(draft) = self.draft(key, drafts) {
                    draft.resource.labels.insert(DELETION_GRACE_PERIOD_STARTED_AT.to_owned(), now.to_string());
                }
            }
            Decision::Delete => {
                tracing::info!(service = %key, "deleted: no Dataplane provides it any more, or its mesh has no MeshServices");
                return true;
            }
        }
        self.note(key, note);
        false
    }

    fn generated(&self, key: &ResourceKey, ports: Vec<Port>, now: Timestamp) -> Draft {
        let spec = MeshService { selector: generated_selector(&key.name), ports, ..MeshService::default() };
        let mut resource = Resource::from_json(key.clone(), Value::Object(Map::new()))
            .with_owner(ResourceKey::global(Kind::Mesh, key.mesh.as_str()));
        resource.labels = generation::labels(&key.mesh, &key.name, &self.zone);
        resource.created = now;
        Draft::new(resource, Spec::Service(spec))
    }

    /// Brings health and identities of a MeshService of this zone up to date.
    fn observe(&self, key: &ResourceKey, drafts: &mut Drafts) {
        let Some(mesh) = self.meshes.get(&key.mesh).filter(|mesh| mesh.settings.is_some()) else { return };
        let Some(draft) = self.draft(key, drafts) else { return };
        let (Spec::Service(spec), Status::Service(status)) = (&mut draft.spec, &mut draft.status) else {
            return;
        };
        if !generation::is_local(&draft.resource) {
            return;
        }
        let health = health(mesh, spec, status.tls.status, &self.zone);
        spec.state = health.state;
        spec.identities = Some(health.identities).filter(|identities| !identities.is_empty());
        status.tls.status = Some(health.tls);
        status.dataplane_proxies = health.proxies;
    }

    /// Finds the MeshServices of a MeshMultiZoneService.
    fn match_services(&self, key: &ResourceKey, drafts: &mut Drafts) {
        let Some(stored) = self.services.get(key) else { return };
        let services = all(&self.services, Kind::MeshService).map(|(_, stored)| &*stored.resource);
        let matched = multi_zone::matched(services.filter(|service| multi_zone::consists_of(&stored.spec, service)));
        if let Some(Draft { status: Status::MultiZone(status), .. }) = self.draft(key, drafts) {
            multi_zone::tell(status, matched);
        }
    }

    /// Gives a service an address unless it has one.
    fn allocate(&mut self, key: &ResourceKey, drafts: &mut Drafts) {
        match self.draft(key, drafts) {
            Some(draft) if draft.status.vips().next().is_none() => {}
            _ => return,
        }
        let Some(range) = self.ranges.get_mut(&key.kind) else { return };
        match range.vips.allocate(key) {
            Ok(address) => {
                if let Some(draft) = drafts.get_mut(key) {
                    draft.status.set_vip(address.to_string());
                }
            }
            Err(error) => {
                let note = format!("no virtual address: {error}; enlarge {}, or delete services", range.key);
                self.note(key, note);
            }
        }
    }

    /// Gives host names to the services of a kind in a mesh.
    fn name(&self, kind: Kind, mesh: &str, drafts: &mut Drafts) {
        let fresh = drafts.values().map(|draft| &draft.resource).filter(|resource| {
            resource.kind() == kind && resource.key.mesh == mesh && !self.services.contains_key(&resource.key)
        });
        let stored = of(&self.services, kind, mesh).map(|(_, stored)| &*stored.resource);
        let assigned = hostname::assign(self.generators.values(), stored.chain(fresh), &self.zone);
        let assigned: Vec<_> = assigned
            .into_iter()
            .map(|(name, hostnames)| (ResourceKey::new(kind, mesh, name), hostnames))
            .filter(|(key, hostnames)| {
                !self.services.get(key).is_some_and(|stored| stored.status.has_hostnames(hostnames))
            })
            .collect();
        for (key, hostnames) in assigned {
            if let Some(draft) = self.draft(&key, drafts) {
                draft.status.set_hostnames(hostnames);
            }
        }
    }

    /// Says something about a service, once; nothing when `note` is empty.
    fn note(&mut self, key: &ResourceKey, note: String) {
        if note.is_empty() {
            self.notes.remove(key);
        } else if self.notes.get(key) != Some(&note) {
            tracing::warn!(service = %key, "{note}");
            self.notes.insert(key.clone(), note);
        }
    }
}

fn generated_selector(service: &str) -> Selector {
    let tags = BTreeMap::from([(SERVICE_TAG.to_owned(), service.to_owned())]);
    Selector { dataplane_tags: Some(tags), dataplane_ref: None }
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
