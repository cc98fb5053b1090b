//! What has to be written so that the store has what a response says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{StoreError, Write};
use uuid::Uuid;

use super::announced::{Announced, TURN};
use super::source::{self, Sources};
use super::{Applied, Applier, Rejection};
use crate::inlet::Inlet;

/// What is to be applied, besides the resources themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) kind: Kind,
    /// The response is the full state: what it does not list is absent.
    pub(super) full: bool,
    /// The store of the peer, when it says which.
    pub(super) store: Option<Uuid>,
    /// That store has lost what it had.
    pub(super) went_back: bool,
    /// Everything that is here of the peer was listed, or is held.
    pub(super) complete: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order in which they are to be done.
    pub(super) writes: Vec<Write>,
    pub(super) applied: Applied,
    /// Deletions that are held afterwards.
    pub(super) held: BTreeSet<ResourceKey>,
    /// Deletions that were not held before.
    pub(super) newly_held: usize,
}

/// What is stored of one kind: all of it, or what a response names. Sorted by key.
struct Stored(Vec<Arc<Resource>>);

impl Stored {
    fn get(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        self.0.binary_search_by(|resource| resource.key.cmp(key)).ok().map(|index| &self.0[index])
    }
}

impl Applier {
    /// The writes that lead from what is stored now to what was announced, without those that the store has refused.
    pub(super) async fn plan(
        &self,
        terms: Terms,
        announced: &Announced,
        refused: &BTreeMap<ResourceKey, String>,
    ) -> Result<Plan, StoreError> {
        let stored = self.stored(terms, announced).await?;
        let key = source::key(self.inlet.peer());
        let record = self.store.get(&key).await?;
        let mut sources = Sources::read(record.as_deref());
        let known = sources.of(terms.kind);

        let mut plan = Plan::default();
        plan.applied.rejected.clone_from(&announced.rejected);
        plan.applied.refused = announced.refused;
        let (mut creates, mut updates) = (Vec::new(), Vec::new());
        for (index, resource) in announced.resources.values().enumerate() {
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            if refused.contains_key(&resource.key) {
                continue;
            }
            match stored.get(&resource.key) {
                None => creates.push(Write::Create(self.created(resource))),
                Some(present) if !self.inlet.owns(present) => {
                    let reason = format!("resource already exists: {}", resource.key);
                    plan.applied.rejected.push(Rejection { key: Some(resource.key.clone()), reason, conflict: true });
                    plan.applied.refused += 1;
                    continue;
                }
                Some(present) => updates.extend(self.update(present, resource)),
            }
            plan.applied.accepted.push(resource.key.clone());
        }
        let rejected = refused.iter().filter(|(key, _)| announced.lists(key) || announced.removed.contains(*key));
        plan.applied.rejected.extend(rejected.map(|(key, reason)| Rejection {
            key: Some(key.clone()),
            reason: reason.clone(),
            conflict: false,
        }));

        let held = self.held(terms.kind);
        let doomed = self.doomed(terms, announced, &stored, known, &held, &mut plan);
        let mut deletes = Vec::new();
        for present in doomed.iter().filter(|present| !refused.contains_key(&present.key)) {
            deletes.push(Write::Delete { key: present.key.clone(), expected: Some(present.version) });
            plan.applied.gone.push(present.key.clone());
        }
        plan.applied.gone.extend(announced.removed.iter().filter(|key| stored.get(key).is_none()).cloned());
        (plan.applied.created, plan.applied.updated, plan.applied.deleted) =
            (creates.len(), updates.len(), deletes.len());

        creates.append(&mut deletes);
        creates.append(&mut updates);
        plan.writes = creates;
        // Without resources of the peer there is nothing that could be deleted for being absent.
        let has_any = !plan.applied.accepted.is_empty() || !plan.held.is_empty();
        let settles = !held.is_empty() && plan.held.is_empty();
        let matters = !plan.writes.is_empty() || (terms.full && has_any) || settles;
        let proof = if plan.held.is_empty() { terms.store } else { None };
        let settled = terms.complete || proof.is_none();
        if matters && settled && known != proof && !refused.contains_key(&key) {
            sources.set(terms.kind, proof);
            plan.writes.push(sources.write(record.as_deref(), key, self.inlet.owner()));
        }
        Ok(plan)
    }

    /// What is to be deleted: because the response names it as removed, or because it is absent from a full state. Decides
    /// which of the latter are held back.
    fn doomed<'s>(
        &self,
        terms: Terms,
        announced: &Announced,
        stored: &'s Stored,
        known: Option<Uuid>,
        held: &BTreeSet<ResourceKey>,
        plan: &mut Plan,
    ) -> Vec<&'s Arc<Resource>> {
        let mut doomed = Vec::new();
        for present in announced.removed.iter().filter_map(|key| stored.get(key)) {
            if self.inlet.owns(present) {
                doomed.push(present);
            } else {
                plan.applied.refused += 1;
            }
        }
        if !terms.full || announced.incomplete {
            plan.held =
                held.iter().filter(|key| !announced.lists(key) && !announced.removed.contains(*key)).cloned().collect();
            return doomed;
        }
        let managed: Vec<_> = stored.0.iter().filter(|present| self.inlet.owns(present)).collect();
        let absent: Vec<_> = managed
            .iter()
            .copied()
            .filter(|present| !announced.lists(&present.key) && !announced.removed.contains(&present.key))
            .collect();
        let proven = terms.store.is_some() && terms.store == known && !terms.went_back;
        let held_back = !proven && self.guard.objects(terms.kind, absent.len(), managed.len());
        for present in absent {
            let was_held = held.contains(&present.key);
            if held_back || was_held {
                plan.newly_held += usize::from(!was_held);
                plan.held.insert(present.key.clone());
            } else {
                doomed.push(present);
            }
        }
        doomed
    }

    async fn stored(&self, terms: Terms, announced: &Announced) -> Result<Stored, StoreError> {
        if terms.full {
            return self.store.list(terms.kind, None).await.map(Stored);
        }
        let mut stored = Vec::new();
        for key in announced.resources.keys().chain(&announced.removed) {
            stored.extend(self.store.get(key).await?);
        }
        stored.sort_unstable_by(|a: &Arc<Resource>, b| a.key.cmp(&b.key));
        Ok(Stored(stored))
    }

    fn created(&self, announced: &Resource) -> Resource {
        let mut resource = announced.clone();
        resource.owner = self.inlet.owner();
        if !self.inlet.takes_status() && resource.status.is_some() {
            resource.status = Some(serde_json::Value::Object(serde_json::Map::new()));
        }
        resource
    }

    fn update(&self, present: &Resource, announced: &Resource) -> Option<Write> {
        let owner = self.inlet.owner().or_else(|| present.owner.clone());
        let same = present.spec == announced.spec
            && present.labels == announced.labels
            && (!self.inlet.takes_status() || present.status == announced.status)
            && present.owner == owner;
        if same {
            return None;
        }
        let mut resource = announced.clone();
        resource.owner = owner;
        if let Inlet::Zone = self.inlet {
            resource.status.clone_from(&present.status);
        }
        Some(Write::Update { resource, expected: Some(present.version) })
    }
}
