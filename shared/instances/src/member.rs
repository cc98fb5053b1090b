//! One instance in the catalogue: its heartbeats, and what it makes of those of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_store::{ChangeBatch, SharedStore, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::catalog::{self, Catalog};
use crate::{Alive, InstanceSettings};

/// How often a write is tried again at once because another instance wrote first.
const ATTEMPTS: usize = 16;

pub(crate) struct Member {
    store: SharedStore,
    settings: InstanceSettings,
    alive: watch::Sender<Alive>,
    leads: watch::Sender<bool>,
    /// Counter of each other instance, and since when it is seen like that.
    seen: BTreeMap<String, (u64, Instant)>,
    /// When the last heartbeat that the store took was begun.
    renewed: Option<Instant>,
    heartbeat: u64,
}

impl Member {
    pub(crate) fn new(
        store: SharedStore,
        settings: InstanceSettings,
        alive: watch::Sender<Alive>,
        leads: watch::Sender<bool>,
    ) -> Self {
        Self { store, settings, alive, leads, seen: BTreeMap::new(), renewed: None, heartbeat: 0 }
    }

    /// Writes the first heartbeat.
    pub(crate) async fn enter(&mut self) -> Result<(), StoreError> {
        self.beat().await
    }

    /// Gives signs of life until `shutdown`, then takes leave.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut feed = self.store.changes(0);
        let mut next = Instant::now() + self.settings.heartbeat;
        loop {
            let due = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep_until(self.deposed_at()), if *self.leads.borrow() => {
                    warn!("this instance could not write to its store for too long and stops to lead");
                    self.leads.send_replace(false);
                    false
                }
                batch = feed.next() => match batch {
                    Some(batch) if concerns(&batch) => self.look().await,
                    Some(_) => false,
                    None => break,
                },
                () = tokio::time::sleep_until(next.min(self.next_death())) => true,
            };
            if due {
                // Also after a failure: the next attempt is not earlier.
                next = Instant::now() + self.settings.heartbeat;
                if let Err(error) = self.beat().await {
                    warn!(%error, "could not give a sign of life to the other instances");
                }
            }
        }
        self.leave().await;
    }

    /// One heartbeat: raises the own counter, removes the dead, and takes the lead if nobody has it.
    async fn beat(&mut self) -> Result<(), StoreError> {
        self.heartbeat += 1;
        let mut conflict = None;
        for _ in 0..ATTEMPTS {
            let began = Instant::now();
            let stored = self.store.get(&catalog::key()).await?;
            let mut catalog = Catalog::read(stored.as_deref()).normalize();
            self.observe(&catalog, began);
            let dead = self.dead(began);
            catalog.instances.retain(|instance| !dead.contains(&instance.id));
            let own = catalog.entry(&self.settings.id);
            own.address.clone_from(&self.settings.address);
            own.inter_cp_port = self.settings.port;
            own.heartbeat = self.heartbeat;
            if !catalog.instances.iter().any(|instance| instance.leader) {
                catalog.entry(&self.settings.id).leader = true;
            }
            match self.store.commit(vec![catalog.write(stored.as_ref())]).await {
                Ok(_) => {
                    for id in dead {
                        info!(instance = id, "another instance gave no sign of life any more");
                        self.seen.remove(&id);
                    }
                    self.renewed = Some(began);
                    self.publish(&catalog);
                    return Ok(());
                }
                Err(error @ (StoreError::Conflict(_) | StoreError::AlreadyExists(_) | StoreError::NotFound(_))) => {
                    conflict = Some(error)
                }
                Err(error) => return Err(error),
            }
        }
        conflict.map_or(Ok(()), Err)
    }

    /// Reads what another instance wrote; true when this one has to write.
    async fn look(&mut self) -> bool {
        let Ok(stored) = self.store.get(&catalog::key()).await else { return false };
        let catalog = Catalog::read(stored.as_deref()).normalize();
        self.observe(&catalog, Instant::now());
        let present = catalog.instances.iter().any(|instance| instance.id == self.settings.id);
        let led = catalog.instances.iter().any(|instance| instance.leader);
        self.publish(&catalog);
        !present || !led
    }

    async fn leave(&mut self) {
        self.leads.send_replace(false);
        for _ in 0..ATTEMPTS {
            let Ok(stored) = self.store.get(&catalog::key()).await else { return };
            let mut catalog = Catalog::read(stored.as_deref()).normalize();
            catalog.instances.retain(|instance| instance.id != self.settings.id);
            match self.store.commit(vec![catalog.write(stored.as_ref())]).await {
                Err(StoreError::Conflict(_) | StoreError::AlreadyExists(_) | StoreError::NotFound(_)) => {}
                Ok(_) => return,
                Err(error) => return warn!(%error, "could not take leave of the other instances; they will notice"),
            }
        }
    }

    /// Notes which counters moved.
    fn observe(&mut self, catalog: &Catalog, now: Instant) {
        self.seen.retain(|id, _| catalog.instances.iter().any(|instance| instance.id == *id));
        for instance in catalog.instances.iter().filter(|instance| instance.id != self.settings.id) {
            let seen = self.seen.entry(instance.id.clone()).or_insert((instance.heartbeat, now));
            if seen.0 != instance.heartbeat {
                *seen = (instance.heartbeat, now);
            }
        }
    }

    fn dead(&self, now: Instant) -> Vec<String> {
        let stale = |since: &Instant| now.duration_since(*since) >= self.settings.lease;
        self.seen.iter().filter(|(_, (_, since))| stale(since)).map(|(id, _)| id.clone()).collect()
    }

    fn next_death(&self) -> Instant {
        let first = self.seen.values().map(|(_, since)| *since).min();
        first.unwrap_or_else(Instant::now) + self.settings.lease
    }

    /// When this instance must take itself for deposed.
    fn deposed_at(&self) -> Instant {
        self.renewed.unwrap_or_else(Instant::now) + self.settings.lease * 2 / 3
    }

    fn publish(&self, catalog: &Catalog) {
        let own = catalog.instances.iter().find(|instance| instance.id == self.settings.id);
        let leads = own.is_some_and(|own| own.leader) && Instant::now() < self.deposed_at();
        // Who follows both sees who is alive first.
        self.alive.send_if_modified(|alive| {
            // Heartbeats are nobody else's business.
            let listed = || {
                catalog.instances.iter().map(|instance| {
                    let mut instance = instance.clone();
                    instance.heartbeat = 0;
                    (instance.id.clone(), instance)
                })
            };
            let changed = alive.len() != catalog.instances.len()
                || listed().any(|(id, instance)| alive.get(&id) != Some(&instance));
            if changed {
                *alive = Arc::new(listed().collect());
            }
            changed
        });
        self.leads.send_if_modified(|before| {
            let changed = *before != leads;
            if changed && leads {
                info!("this instance leads");
            } else if changed {
                info!("another instance leads");
            }
            *before = leads;
            changed
        });
    }
}

/// Whether the list of instances was written.
fn concerns(batch: &ChangeBatch) -> bool {
    match batch {
        ChangeBatch::Changes { changes, .. } => changes.iter().any(|change| change.key == catalog::key()),
        ChangeBatch::Reset { .. } => true,
    }
}

#[cfg(test)]
mod tests;
