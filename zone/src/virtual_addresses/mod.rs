//! Gives virtual addresses to services known by the tag `kuma.io/service`, to the hosts of ExternalServices and to the host names
//! that VirtualOutbounds and gateways make, and keeps them in a Config for each mesh.
//!
//! One task knows all that the names follow from, told by the change feed, and looks again only at the meshes that a change
//! concerns. A Config is written when it differs; a name keeps its address for as long as it is there. What is computed is in
//! [`planner`], without a store, clock or task.
//!
//! Source of the rules: Kuma `pkg/dns/vips_allocator.go`, `pkg/dns/vips`.

mod facts;
mod metrics;
mod names;
mod planner;

use std::time::Duration;

use ipnet::IpNet;
use tandem_store::{ChangeBatch, SharedStore, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use metrics::VipMetrics;
use planner::Planner;

use crate::pace::Pace;

/// Settings of [`run`].
#[derive(Debug, Clone)]
pub struct VirtualAddressSettings {
    /// Name of this zone.
    pub zone: String,
    /// The addresses that may be given (`dnsServer.CIDR`); each mesh has the whole range for itself.
    pub range: IpNet,
    /// Ending of host names that are made here (`dnsServer.domain`).
    pub domain: String,
    /// Services have an address each (`dnsServer.serviceVipEnabled`); hosts and host names always have one.
    pub of_services: bool,
    /// Configs are written in the shorter form (`experimental.useTagFirstVirtualOutboundModel`); both are read.
    pub tag_first: bool,
    /// Least time between two looks.
    pub min_interval: Duration,
}

/// Keeps the virtual addresses of the zone current as the store changes, until cancelled or the store is closed.
pub async fn run(store: SharedStore, settings: VirtualAddressSettings, metrics: VipMetrics, cancel: CancellationToken) {
    let mut feed = store.changes(0);
    let mut pace = Pace::new(settings.min_interval);
    let mut planner = Planner::new(settings);
    loop {
        if planner.is_due() {
            pace.want();
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => take(&mut planner, &batch),
                None => return,
            },
            () = pace.round() => {
                pace.begin();
                if !write(&store, &mut planner, &metrics).await {
                    pace.recover();
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

/// Writes what differs; false when the store failed.
async fn write(store: &SharedStore, planner: &mut Planner, metrics: &VipMetrics) -> bool {
    let mut works = true;
    for mesh in planner.take_due() {
        let started = Instant::now();
        let plan = planner.plan(&mesh);
        metrics.planned(started.elapsed(), plan.problems.len());
        for problem in plan.problems {
            tracing::warn!(mesh, problem, "virtual addresses");
        }
        let Some(write) = plan.write else { continue };
        match store.commit(vec![write]).await {
            Ok(_) => tracing::info!(mesh, names = plan.names, "virtual addresses changed"),
            // Changed or deleted meanwhile, with its mesh maybe; the feed is about to tell, and the addresses stay reserved.
            Err(
                error @ (StoreError::Conflict(_)
                | StoreError::NotFound(_)
                | StoreError::AlreadyExists(_)
                | StoreError::OwnerNotFound { .. }),
            ) => {
                tracing::debug!(mesh, %error, "virtual addresses cannot be written, trying again");
                planner.retry(mesh);
            }
            Err(error) => {
                tracing::warn!(mesh, %error, "virtual addresses cannot be written, trying again");
                planner.retry(mesh);
                works = false;
            }
        }
    }
    works
}

#[cfg(test)]
mod tests;
