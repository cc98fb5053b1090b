//! What this zone adds to services: MeshServices made from Dataplanes, their health, virtual addresses, host names, and the
//! MeshServices that a MeshMultiZoneService consists of.
//!
//! One task knows all that these follow from, told by the change feed, and looks again only at what a change concerns. All
//! it finds out about a service is one write, and there is a write only when something differs; so a new service is
//! complete when anybody first hears of it. What is computed is in [`planner`], without a store, clock or task.

mod draft;
mod facts;
mod generation;
mod health;
mod multi_zone;
mod planner;
mod selecting;
pub(crate) mod vips;

use std::time::Duration;

use futures::future::join_all;
use ipnet::IpNet;
use jiff::Timestamp;
use tandem_model::ResourceKey;
use tandem_store::{ChangeBatch, SharedStore, StoreError, Write};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use planner::Planner;

use crate::left_out::Reasons;
use crate::pace::Pace;

/// Settings of [`run`].
#[derive(Debug, Clone)]
pub struct ServicesSettings {
    /// Name of this zone.
    pub zone: String,
    /// Addresses of MeshServices (`ipam.meshService.cidr`).
    pub mesh_service_cidr: IpNet,
    /// Addresses of MeshExternalServices (`ipam.meshExternalService.cidr`).
    pub mesh_external_service_cidr: IpNet,
    /// Addresses of MeshMultiZoneServices (`ipam.meshMultiZoneService.cidr`).
    pub mesh_multi_zone_service_cidr: IpNet,
    /// How long a generated MeshService stays when no Dataplane provides it (`meshService.deletionGracePeriod`).
    pub deletion_grace_period: Duration,
    /// Least time between two looks.
    pub min_interval: Duration,
}

/// Keeps the services of the zone complete as the store changes, until cancelled or the store is closed.
///
/// `left_out` tells which of them proxies are not sent.
pub async fn run(
    store: SharedStore,
    settings: ServicesSettings,
    mut left_out: watch::Receiver<Reasons>,
    cancel: CancellationToken,
) {
    let mut feed = store.changes(0);
    let mut planner = Planner::new(&settings);
    let mut pace = Pace::new(settings.min_interval);
    loop {
        if planner.is_due() {
            pace.want();
        }
        let grace_end = planner.next_grace_end().map(instant);
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => take(&mut planner, &batch),
                None => return,
            },
            Ok(()) = left_out.changed() => planner.set_left_out(left_out.borrow_and_update().clone()),
            () = pace.round_or(grace_end) => {
                pace.begin();
                let unwritten = commit(&store, planner.plan(Timestamp::now())).await;
                if unwritten.by_the_store {
                    pace.recover();
                }
                for key in unwritten.keys {
                    planner.retry(&key);
                }
            }
        }
    }
}

fn take(planner: &mut Planner, batch: &ChangeBatch) {
    if batch.is_reset() {
        planner.clear();
    }
    batch.iter().for_each(|(key, new)| planner.apply(key, new));
}

/// When a time of the clock comes.
fn instant(time: Timestamp) -> Instant {
    let left = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
    // The clock and the timer are not the same; a moment later is surely after.
    Instant::now() + left.saturating_add(Duration::from_millis(1)).min(Duration::from_secs(86_400 * 365))
}

/// What could not be written.
#[derive(Debug, Default)]
struct Unwritten {
    keys: Vec<ResourceKey>,
    /// The store failed; otherwise somebody else was faster.
    by_the_store: bool,
}

/// Writes, together if possible.
async fn commit(store: &SharedStore, writes: Vec<Write>) -> Unwritten {
    if writes.is_empty() {
        return Unwritten::default();
    }
    match store.commit(writes.clone()).await {
        Ok(_) => return Unwritten::default(),
        Err(error) if is_race(&error) => {}
        Err(error) => {
            tracing::warn!(%error, "services cannot be written, trying again");
            return Unwritten { keys: writes.iter().map(key).cloned().collect(), by_the_store: true };
        }
    }
    // Somebody else wrote one of them meanwhile, of which the feed is about to tell; the others need not wait.
    let written = writes.into_iter().map(async |write| {
        let key = key(&write).clone();
        (key, store.commit(vec![write]).await)
    });
    let mut unwritten = Unwritten::default();
    for (key, outcome) in join_all(written).await {
        let Err(error) = outcome else { continue };
        tracing::debug!(service = %key, %error, "cannot be written, trying again");
        unwritten.keys.push(key);
        unwritten.by_the_store |= !is_race(&error);
    }
    unwritten
}

/// True when somebody else wrote the same meanwhile.
fn is_race(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Conflict(_)
            | StoreError::NotFound(_)
            | StoreError::AlreadyExists(_)
            | StoreError::OwnerNotFound { .. }
    )
}

fn key(write: &Write) -> &ResourceKey {
    match write {
        Write::Create(resource) | Write::Put(resource) | Write::Update { resource, .. } => &resource.key,
        Write::Delete { key, .. } => key,
    }
}

#[cfg(test)]
mod tests;
