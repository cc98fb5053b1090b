//! Keeps the insights of all meshes in the store up to date.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{ChangeBatch, SharedStore, StoreError, Write};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::mesh::MeshFacts;

/// Pause that gathers what happens together into one write.
const GATHER: Duration = Duration::from_millis(20);

/// Settings of [`run`].
#[derive(Debug, Clone, Copy)]
pub struct InsightsSettings {
    /// Least time between two writes for the same mesh (`metrics.mesh.minResyncInterval`; 1 s in Kuma).
    pub min_interval: Duration,
}

/// Name of the ServiceInsight of a mesh.
pub fn service_insight_name(mesh: &str) -> String {
    format!("all-services-{mesh}")
}

/// Writes MeshInsights and ServiceInsights as the store changes, until cancelled or the store is closed.
pub async fn run(store: SharedStore, settings: InsightsSettings, cancel: CancellationToken) {
    let mut feed = store.changes(0);
    let mut meshes = Meshes::default();
    loop {
        let due = meshes.next_due();
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => meshes.take(batch, settings.min_interval),
                None => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = Instant::now();
                let writes: Vec<_> = meshes
                    .due(now)
                    .map(|name| (name.clone(), meshes.meshes.get(&name).map(|tracked| insights(&name, &tracked.facts))))
                    .collect();
                let written = writes.into_iter().map(async |(name, insights)| {
                    let done = match insights {
                        Some(insights) => write(&store, &name, insights).await,
                        None => true,
                    };
                    (name, done)
                });
                for (name, done) in join_all(written).await {
                    meshes.written(&name, now, done, settings.min_interval);
                }
            }
        }
    }
}

/// A mesh and when it is written.
#[derive(Debug, Default)]
struct Tracked {
    facts: MeshFacts,
    due: Option<Instant>,
    written: Option<Instant>,
}

#[derive(Debug, Default)]
struct Meshes {
    meshes: BTreeMap<String, Tracked>,
}

impl Meshes {
    fn take(&mut self, batch: ChangeBatch, interval: Duration) {
        let now = Instant::now();
        match batch {
            ChangeBatch::Reset { resources, .. } => {
                for tracked in self.meshes.values_mut() {
                    tracked.facts = MeshFacts::default();
                }
                for resource in resources {
                    self.apply(&resource.key, None, Some(&resource), now, interval);
                }
                self.meshes.retain(|_, tracked| !tracked.facts.is_empty());
                // What is stored may be of an earlier run; the store skips what is right.
                for tracked in self.meshes.values_mut() {
                    tracked.schedule(now, interval);
                }
            }
            ChangeBatch::Changes { changes, .. } => {
                for change in changes {
                    self.apply(&change.key, change.old.as_deref(), change.new.as_deref(), now, interval);
                }
            }
        }
    }

    fn apply(
        &mut self,
        key: &ResourceKey,
        old: Option<&Resource>,
        new: Option<&Resource>,
        now: Instant,
        interval: Duration,
    ) {
        let mesh = if key.kind == Kind::Mesh { &key.name } else { &key.mesh };
        if mesh.is_empty() {
            return;
        }
        let tracked = match self.meshes.get_mut(mesh) {
            Some(tracked) => tracked,
            None => self.meshes.entry(mesh.clone()).or_default(),
        };
        let changed = if key.kind == Kind::Mesh {
            std::mem::replace(&mut tracked.facts.exists, new.is_some()) != new.is_some()
        } else {
            tracked.facts.apply(key.kind, &key.name, old, new)
        };
        if tracked.facts.is_empty() {
            self.meshes.remove(mesh);
        } else if changed {
            tracked.schedule(now, interval);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.meshes.values().filter_map(|tracked| tracked.due).min()
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = String> {
        self.meshes.iter().filter(move |(_, tracked)| tracked.due.is_some_and(|due| due <= now)).map(|(n, _)| n.clone())
    }

    fn written(&mut self, mesh: &str, now: Instant, done: bool, interval: Duration) {
        if let Some(tracked) = self.meshes.get_mut(mesh) {
            tracked.written = Some(now);
            tracked.due = None;
            if !done {
                tracked.schedule(now, interval);
            }
        }
    }
}

impl Tracked {
    fn schedule(&mut self, now: Instant, interval: Duration) {
        if self.due.is_none() && self.facts.exists {
            let free = self.written.map_or(now, |written| written + interval);
            self.due = Some(free.max(now + GATHER));
        }
    }
}

/// MeshInsight and ServiceInsight of a mesh; the latter only if there are services.
struct Insights {
    mesh: Resource,
    service: Resource,
    has_services: bool,
}

fn insights(mesh: &str, facts: &MeshFacts) -> Insights {
    let owner = ResourceKey::global(Kind::Mesh, mesh);
    let services = facts.service_insight();
    let service_key = ResourceKey::new(Kind::ServiceInsight, mesh, service_insight_name(mesh));
    let mesh_key = ResourceKey::global(Kind::MeshInsight, mesh);
    Insights {
        mesh: Resource::from_proto(mesh_key, &facts.mesh_insight()).with_owner(owner.clone()),
        has_services: !services.services.is_empty(),
        service: Resource::from_proto(service_key, &services).with_owner(owner),
    }
}

/// Writes what differs; false when it has to be tried again.
async fn write(store: &SharedStore, mesh: &str, insights: Insights) -> bool {
    let mut writes = vec![Write::Put(insights.mesh)];
    // A mesh gets a ServiceInsight with its first service and keeps it.
    let keep = insights.has_services || matches!(store.get(&insights.service.key).await, Ok(Some(_)));
    if keep {
        writes.push(Write::Put(insights.service));
    }
    match store.commit(writes).await {
        // The mesh was deleted meanwhile, and the feed is about to tell.
        Ok(_) | Err(StoreError::OwnerNotFound { .. }) => true,
        Err(error) => {
            tracing::warn!(mesh, %error, "insights of the mesh cannot be written, trying again");
            false
        }
    }
}
