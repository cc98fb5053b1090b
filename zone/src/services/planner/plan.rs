//! What is to be written, given what is known and what has to be looked at again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tandem_model::core::MeshService;
use tandem_model::core::common::{Condition, ConditionStatus};
use tandem_model::core::mesh_service::{Port, Selector};
use tandem_model::hostname;
use tandem_model::label::{DELETION_GRACE_PERIOD_STARTED_AT, SERVICE_TAG};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::Write;

use super::super::draft::{CONFIGURED, Draft, Spec, Status};
use super::super::generation::{self, Decision, candidate, decide};
use super::super::health::health;
use super::super::multi_zone;
use super::{Planner, Topic, all, of};

/// Services that may have to be written, as they are to be.
type Drafts = BTreeMap<ResourceKey, Draft>;

impl Planner {
    /// What has to be written now. Everything about a service is one write.
    pub(in crate::services) fn plan(&mut self, now: Timestamp) -> Vec<Write> {
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
        due.problems.append(&mut self.due.problems);
        for key in due.problems {
            self.tell_problem(&key, &mut drafts);
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
        let candidate = settings.generates.then(|| candidate(mesh, &key.name, ports)).flatten();
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
        self.note(key, Topic::Generation, note);
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
                self.note(key, Topic::Address, String::new());
            }
            Err(error) => {
                let note = format!("no virtual address: {error}; enlarge {}, or delete services", range.key);
                self.note(key, Topic::Address, note);
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

    /// Tells in the status of a service why it is not served as it says.
    fn tell_problem(&self, key: &ResourceKey, drafts: &mut Drafts) {
        let notes =
            [Topic::Generation, Topic::Address].into_iter().filter_map(|topic| self.notes.get(&(key.clone(), topic)));
        let reasons = self.left_out.get(key).into_iter().flatten().chain(notes);
        let message = reasons.map(String::as_str).collect::<Vec<_>>().join("; ");
        let reason = if self.left_out.contains_key(key) { "LeftOut" } else { "Incomplete" };
        let problem = (!message.is_empty()).then(|| Condition {
            kind: CONFIGURED.to_owned(),
            status: ConditionStatus::False,
            reason: reason.to_owned(),
            message,
        });
        if let Some(draft) = self.draft(key, drafts) {
            draft.status.set_problem(problem);
        }
    }

    /// Says something about a service, once; nothing when `note` is empty.
    fn note(&mut self, key: &ResourceKey, topic: Topic, note: String) {
        let at = (key.clone(), topic);
        if note.is_empty() {
            if self.notes.remove(&at).is_none() {
                return;
            }
        } else {
            if self.notes.get(&at) == Some(&note) {
                return;
            }
            tracing::warn!(service = %key, "{note}");
            self.notes.insert(at, note);
        }
        self.due.problems.insert(key.clone());
    }
}

fn generated_selector(service: &str) -> Selector {
    let tags = BTreeMap::from([(SERVICE_TAG.to_owned(), service.to_owned())]);
    Selector { dataplane_tags: Some(tags), dataplane_ref: None }
}
