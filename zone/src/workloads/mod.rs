//! Keeps one Workload for each name that Dataplanes of the zone give in their label `kuma.io/workload`, with numbers of its proxies.
//!
//! A Workload comes with the first Dataplane that names it and goes with the last one; whoever created it does not matter. Work follows
//! the change: a Workload is looked at when something about its proxies changed, and written only when it differs.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/workload/{generate,status}`.

mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tandem_model::core::workload::{DataplaneProxies, Status, Workload};
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_store::{ChangeBatch, SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;

use tally::Tally;

use crate::pace::Pace;

/// Value of the label that says who manages a Workload.
const GENERATOR: &str = "workload-generator";

/// Settings of [`run`].
#[derive(Debug, Clone)]
pub struct WorkloadSettings {
    /// Name of this zone.
    pub zone: String,
    /// Least time between two rounds of writes.
    pub min_interval: Duration,
}

/// Keeps the Workloads current as the store changes, until cancelled or the store is closed.
pub async fn run(store: SharedStore, settings: WorkloadSettings, cancel: CancellationToken) {
    let mut feed = store.changes(0);
    let mut workloads = Workloads { zone: settings.zone, ..Workloads::default() };
    let mut pace = Pace::new(settings.min_interval);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => {
                    workloads.take(&batch);
                    if !workloads.changed.is_empty() {
                        pace.want();
                    }
                }
                None => return,
            },
            () = pace.round() => {
                pace.begin();
                workloads.write(&store).await;
                if !workloads.changed.is_empty() {
                    pace.want_again();
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Workloads {
    zone: String,
    tally: Tally,
    /// The Workloads of the zone as stored.
    stored: BTreeMap<ResourceKey, Arc<Resource>>,
    /// Workloads to look at.
    changed: BTreeSet<ResourceKey>,
}

impl Workloads {
    fn take(&mut self, batch: &ChangeBatch) {
        if batch.is_reset() {
            self.tally = Tally::default();
            self.stored.clear();
        }
        batch.iter().for_each(|(key, new)| self.apply(key, new));
        if batch.is_reset() {
            self.changed = self.stored.keys().cloned().chain(self.tally.workloads().cloned()).collect();
        }
    }

    fn apply(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) {
        if key.kind != Kind::Workload {
            self.tally.apply(key, new.map(|resource| &**resource), &mut self.changed);
            return;
        }
        match new.filter(|resource| resource.label(label::ORIGIN).is_none_or(|origin| origin == label::ORIGIN_ZONE)) {
            Some(resource) => self.stored.insert(key.clone(), resource.clone()),
            None => self.stored.remove(key),
        };
        self.changed.insert(key.clone());
    }

    /// Writes what differs. What has to be tried again stays marked.
    async fn write(&mut self, store: &SharedStore) {
        for key in std::mem::take(&mut self.changed) {
            let Some(write) = self.wanted(&key) else { continue };
            match store.commit(vec![write]).await {
                Ok(_) => tracing::debug!(workload = %key, "workload updated"),
                // Changed meanwhile, by somebody or with its mesh; the feed is about to tell.
                Err(
                    StoreError::Conflict(_)
                    | StoreError::NotFound(_)
                    | StoreError::AlreadyExists(_)
                    | StoreError::OwnerNotFound { .. },
                ) => {}
                Err(error) => {
                    tracing::warn!(workload = %key, %error, "a workload cannot be updated, trying again");
                    self.changed.insert(key);
                }
            }
        }
    }

    /// What has to be written so that a Workload is as its proxies say; `None` when it is.
    fn wanted(&self, key: &ResourceKey) -> Option<Write> {
        match (self.tally.of(key), self.stored.get(key)) {
            (None, None) => None,
            (None, Some(stored)) => Some(Write::Delete { key: key.clone(), expected: Some(stored.version) }),
            (Some(proxies), None) => Some(Write::Create(self.generated(key, proxies))),
            (Some(proxies), Some(stored)) => {
                let status = Some(status(proxies));
                let resource = || Resource { status: status.clone(), ..(**stored).clone() };
                (stored.status != status)
                    .then(|| Write::Update { resource: resource(), expected: Some(stored.version) })
            }
        }
    }

    fn generated(&self, key: &ResourceKey, proxies: &DataplaneProxies) -> Resource {
        let labels = [
            (label::MESH, key.mesh.as_str()),
            (label::MANAGED_BY, GENERATOR),
            (label::ENV, label::ENV_UNIVERSAL),
            (label::ZONE, &self.zone),
        ];
        let spec = serde_json::to_value(Workload {}).expect("an empty object has a JSON form");
        let resource = Resource::from_json(key.clone(), spec).with_labels(labels);
        let owner = ResourceKey::global(Kind::Mesh, key.mesh.as_str());
        Resource { status: Some(status(proxies)), ..resource }.with_owner(owner)
    }
}

fn status(proxies: &DataplaneProxies) -> Value {
    serde_json::to_value(Status { dataplane_proxies: proxies.clone() }).expect("numbers have a JSON form")
}

#[cfg(test)]
mod tests;
