//! What the store tells about zones: that a Zone was deleted, and which other instance of global holds a zone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Kind, Resource};
use tandem_proto::system::v1alpha1::ZoneInsight;
use tandem_store::{ChangeBatch, ChangeFeed, Revision};
use tracing::{info, warn};

use super::Shared;

/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(5);

impl Shared {
    /// Follows a feed until the store is closed.
    pub(super) async fn watch_zones(&self, mut feed: ChangeFeed) {
        while let Some(batch) = feed.next().await {
            match batch {
                ChangeBatch::Changes { changes, .. } => {
                    for change in changes {
                        match (change.key.kind, &change.new) {
                            (Kind::Zone, None) => self.zone_deleted(&change.key.name, change.revision),
                            (Kind::ZoneInsight, _) => {
                                let (old, new) = (change.old.as_deref(), change.new.as_deref());
                                self.note_insight(&change.key.name, old, new, change.revision);
                            }
                            _ => {}
                        }
                    }
                }
                ChangeBatch::Reset { revision, resources } => {
                    let zones: BTreeSet<&str> = names(&resources, Kind::Zone);
                    self.sessions.keep_only(|zone| zones.contains(zone), revision);
                    for resource in resources.iter().filter(|resource| resource.kind() == Kind::ZoneInsight) {
                        self.note_insight(&resource.key.name, None, Some(resource), revision);
                    }
                }
            }
        }
    }

    /// Forgets a zone. One that is still connected (its Zone was deleted in spite of that) loses its streams; when it
    /// comes back, it is a new zone and sends everything it has.
    fn zone_deleted(&self, zone: &str, revision: Revision) {
        info!(zone, "the Zone was deleted");
        self.sessions.deleted(zone, revision);
        self.status.forget(zone);
        self.appliers.lock().remove(zone);
    }

    /// Reads who holds a zone; of interest only where there may be others.
    fn note_insight(&self, zone: &str, old: Option<&Resource>, new: Option<&Resource>, revision: Revision) {
        let instances = &self.settings.instances;
        if !instances.is_shared() {
            return;
        }
        let read = |resource: Option<&Resource>| resource.and_then(|insight| insight.proto::<ZoneInsight>().ok());
        let (old, new) = (read(old), read(new).unwrap_or_default());
        let open = new.subscriptions.iter().rev().find(|connection| connection.disconnect_time.is_none());
        let holder = open.map(|connection| connection.global_instance_id.as_str());
        self.sessions.held_by(zone, holder.filter(|&holder| holder != instances.own_id()), revision);
        if old.is_some_and(|old| old.health_check != new.health_check) {
            self.sessions.pinged(zone);
        }
    }
}

fn names(resources: &[Arc<Resource>], kind: Kind) -> BTreeSet<&str> {
    let of_kind = resources.iter().filter(|resource| resource.kind() == kind);
    of_kind.map(|resource| resource.key.name.as_str()).collect()
}

/// While this instance leads, ends the connections of instances that are gone.
pub(super) async fn finalize(shared: Arc<Shared>) {
    let instances = &shared.settings.instances;
    if !instances.is_shared() {
        // The start has done it.
        return;
    }
    let leading = instances.leadership().run(shared.shutdown.clone(), |end| {
        let shared = &shared;
        async move {
            end.run_until_cancelled(shared.close_connections_of_the_dead()).await;
        }
    });
    leading.await;
}

impl Shared {
    async fn close_connections_of_the_dead(&self) {
        let instances = &self.settings.instances;
        let mut alive = instances.watch();
        loop {
            alive.borrow_and_update();
            let closed = self
                .insights
                .close_abandoned(instances.read(), |connection, alive| !alive.contains(&connection.global_instance_id));
            if let Err(error) = closed.await {
                warn!(%error, "could not end the connections of instances that are gone");
                tokio::time::sleep(RETRY).await;
            } else if alive.changed().await.is_err() {
                // This instance is leaving.
                return;
            }
        }
    }
}
