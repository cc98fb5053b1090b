//! The ZoneInsight of each zone: connections, counts of responses, and which instance holds which stream.
//!
//! On global it tells about the streams of each zone; a zone keeps one about its own stream to global. Records are kept
//! in memory and written by one task: at once when a connection opens or closes, else together once in a flush interval,
//! and only when something changed. What is due at the same time is one transaction. No timer runs while nothing changes.
//!
//! Source of the format: Kuma `api/system/v1alpha1/zone_insight.proto`, `pkg/kds/status`.

mod connection;
mod record;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prost::Message;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::{KdsServiceStats, KdsSubscription, KdsSubscriptionStatus, ZoneInsight};
use tandem_store::{Revision, SharedStore, StoreError, Write};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use self::connection::Connection;
use self::record::Record;
use self::snapshot::Snapshot;
use crate::apply::ensure_zone;
use crate::stream::at;
use crate::surroundings::Surroundings;

/// How often a write is tried again when someone else wrote the same insight.
const ATTEMPTS: usize = 8;
/// Most insights in one transaction.
const BATCH: usize = 256;

/// Settings of the records; the configuration keys are those of Kuma.
#[derive(Debug, Clone)]
pub struct InsightSettings {
    /// Id of this instance.
    pub instance: String,
    /// `multizone.global.kds.zoneInsightFlushInterval`: longest time that counts wait to be written.
    pub flush_interval: Duration,
    /// `metrics.zone.subscriptionLimit`: connections kept for each zone; 0 keeps none.
    pub subscription_limit: usize,
    /// `metrics.zone.compactFinishedSubscriptions`: configuration and counts by type are kept of the last connection only.
    pub compact_finished: bool,
    /// Nothing is written for a zone that has no Zone: on global, where a deleted Zone must stay away.
    pub needs_zone: bool,
}

/// The five streams between a zone and global.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// Resources of global for the zone.
    GlobalToZone,
    /// Resources of the zone for global.
    ZoneToGlobal,
    /// Questions for configuration dumps.
    ConfigDump,
    /// Questions for statistics.
    Stats,
    /// Questions for clusters.
    Clusters,
}

/// See the module.
#[derive(Debug)]
pub struct Insights {
    store: SharedStoreDebug,
    settings: InsightSettings,
    surroundings: Surroundings,
    records: Mutex<BTreeMap<String, Record>>,
    wake: Notify,
}

/// A store, without its content when printed.
struct SharedStoreDebug(SharedStore);

impl std::fmt::Debug for SharedStoreDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Why a connection could not be recorded ahead of all others.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Another control plane of this name is connected to another instance of global; its instance id.
    Taken(String),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Insights {
    /// Records that are written to `store`; [`Self::run`] has to run beside.
    pub fn new(store: SharedStore, settings: InsightSettings, surroundings: Surroundings) -> Arc<Self> {
        let store = SharedStoreDebug(store);
        Arc::new(Self { store, settings, surroundings, records: Mutex::default(), wake: Notify::new() })
    }

    /// Writes what changes until `shutdown`, and the rest then.
    pub async fn run(&self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let next = self.next_due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = at(next) => {}
            }
            self.flush(false).await;
        }
        self.flush(true).await;
    }

    /// Ends the open connections for which `abandoned` holds: those that a process left open that is gone. `alive` is
    /// asked for what `abandoned` needs after the connections were read, so that none is younger than the answer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close_abandoned<Alive>(
        &self,
        alive: impl Future<Output = Result<Alive, StoreError>>,
        abandoned: impl Fn(&KdsSubscription, &Alive) -> bool,
    ) -> Result<(), StoreError> {
        let stored = self.store.0.list(Kind::ZoneInsight, None).await?;
        let alive = alive.await?;
        let mut writes = Vec::new();
        for resource in stored {
            let Ok(mut insight) = resource.proto::<ZoneInsight>() else { continue };
            let now = self.now();
            let mut closed = false;
            for subscription in &mut insight.subscriptions {
                if subscription.disconnect_time.is_none() && abandoned(subscription, &alive) {
                    subscription.disconnect_time = Some(now);
                    closed = true;
                }
            }
            if closed {
                let mut changed = (*resource).clone();
                changed.spec = tandem_model::Spec::Proto(insight.encode_to_vec().into());
                writes.push(Write::Update { resource: changed, expected: Some(resource.version) });
            }
        }
        for batch in writes.chunks(BATCH) {
            match self.store.0.commit(batch.to_vec()).await {
                Ok(_) => {}
                // Somebody who is alive wrote one of them; the others are tried alone.
                Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {
                    for write in batch {
                        match self.store.0.commit(vec![write.clone()]).await {
                            Ok(_) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes that a zone is alive.
    pub(crate) fn pinged(&self, zone: &str) {
        self.change(zone, true, |record| record.health_check = Some(self.surroundings.now()));
    }

    /// Notes that this instance holds a stream of a zone.
    pub(crate) fn opened(&self, zone: &str, stream: StreamKind) {
        self.change(zone, true, |record| {
            record.opened.insert(stream, self.surroundings.now());
        });
    }

    /// Starts to count a connection.
    pub(crate) fn connect(self: &Arc<Self>, zone: &str, subscription: KdsSubscription) -> Connection {
        self.enter(zone, self.begin(subscription))
    }

    /// A connection that begins now.
    pub(crate) fn begin(&self, subscription: KdsSubscription) -> KdsSubscription {
        let status =
            KdsSubscriptionStatus { total: Some(KdsServiceStats::default()), ..KdsSubscriptionStatus::default() };
        KdsSubscription {
            id: self.surroundings.id(),
            connect_time: Some(self.now()),
            status: Some(status),
            ..subscription
        }
    }

    /// Writes a connection of a zone before anything else happens on it, unless another control plane of this name is
    /// connected to an instance of global for which `alive` holds. For instances that share a store: of two that try at the
    /// same time, one is refused. The revision of the store since which the connection is recorded.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub(crate) async fn claim(
        &self,
        zone: &str,
        subscription: &KdsSubscription,
        alive: impl Fn(&str) -> bool,
    ) -> Result<Revision, ClaimError> {
        let key = ResourceKey::global(Kind::ZoneInsight, zone);
        let snapshot = Snapshot {
            subscriptions: vec![subscription.clone()],
            opened: BTreeMap::from([(StreamKind::GlobalToZone, self.surroundings.now())]),
            health_check: None,
        };
        for _ in 0..ATTEMPTS {
            if let Some(present) = self.store.0.get(&key).await? {
                let insight = present.proto::<ZoneInsight>().unwrap_or_default();
                let other = insight.subscriptions.into_iter().find(|other| {
                    other.disconnect_time.is_none()
                        && other.global_instance_id != self.settings.instance
                        && other.zone_instance_id != subscription.zone_instance_id
                        && alive(&other.global_instance_id)
                });
                if let Some(other) = other {
                    return Err(ClaimError::Taken(other.zone_instance_id));
                }
            }
            let Some(write) = self.plan(zone, &snapshot).await? else {
                ensure_zone(&self.store.0, zone).await?;
                continue;
            };
            match self.store.0.commit(vec![write]).await {
                Ok(committed) => return Ok(committed.revision),
                Err(error) if is_outdated(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClaimError::Store(StoreError::Conflict(key)))
    }

    /// Counts a connection that [`Self::begin`] made.
    pub(crate) fn enter(self: &Arc<Self>, zone: &str, subscription: KdsSubscription) -> Connection {
        let id = subscription.id.clone();
        self.change(zone, true, |record| {
            record.subscriptions.insert(id.clone(), subscription);
        });
        Connection { insights: self.clone(), zone: zone.to_owned(), id }
    }

    fn change(&self, zone: &str, urgent: bool, change: impl FnOnce(&mut Record)) {
        let mut records = self.records.lock();
        let record = records.entry(zone.to_owned()).or_default();
        change(record);
        let wake = !record.dirty || (urgent && !record.urgent);
        record.dirty = true;
        record.urgent |= urgent;
        drop(records);
        if wake {
            self.wake.notify_one();
        }
    }

    fn now(&self) -> prost_types::Timestamp {
        wire_time(self.surroundings.now())
    }

    fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.records.lock().values().filter_map(|record| record.due(self.settings.flush_interval, now)).min()
    }

    async fn flush(&self, all: bool) {
        let now = Instant::now();
        let due: Vec<_> = {
            let mut records = self.records.lock();
            let due = records.iter_mut().filter(|(_, record)| {
                record.due(self.settings.flush_interval, now).is_some_and(|due| all || due <= now)
            });
            due.map(|(zone, record)| (zone.clone(), record.take(now))).collect()
        };
        for batch in due.chunks(BATCH) {
            // Together if possible; a zone that stands in the way does so for itself only.
            if self.write(batch).await.is_err() {
                for one in batch {
                    if let Err(error) = self.write(std::slice::from_ref(one)).await {
                        warn!(zone = one.0, %error, "could not write the insight of a zone; it is tried again");
                        self.records.lock().entry(one.0.clone()).or_default().put_back(one.1.clone());
                    }
                }
            }
        }
        self.records.lock().retain(|_, record| !record.is_over());
    }

    /// Writes several insights as one transaction.
    async fn write(&self, batch: &[(String, Snapshot)]) -> Result<(), StoreError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let mut writes = Vec::with_capacity(batch.len());
            for (zone, snapshot) in batch {
                writes.extend(self.plan(zone, snapshot).await?);
            }
            if writes.is_empty() {
                return Ok(());
            }
            match self.store.0.commit(writes).await {
                Ok(_) => return Ok(()),
                Err(error) if is_outdated(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// The write that brings an insight up to date; `None` when it is, or when there must be none.
    async fn plan(&self, zone: &str, snapshot: &Snapshot) -> Result<Option<Write>, StoreError> {
        let store = &self.store.0;
        let key = ResourceKey::global(Kind::ZoneInsight, zone);
        let owner = ResourceKey::global(Kind::Zone, zone);
        let owner = store.get(&owner).await?.map(|_| owner);
        if owner.is_none() && self.settings.needs_zone {
            return Ok(None);
        }
        let Some(present) = store.get(&key).await? else {
            let mut insight = ZoneInsight::default();
            snapshot.write_into(&mut insight, &self.settings, self.now());
            let mut resource = Resource::from_proto(key, &insight);
            resource.owner = owner;
            return Ok(Some(Write::Create(resource)));
        };
        let before = present.proto::<ZoneInsight>().unwrap_or_default();
        let mut insight = before.clone();
        snapshot.write_into(&mut insight, &self.settings, self.now());
        if insight == before && present.owner == owner {
            return Ok(None);
        }
        let mut resource = Resource::from_proto(key, &insight);
        resource.owner = owner;
        resource.labels.clone_from(&present.labels);
        Ok(Some(Write::Update { resource, expected: Some(present.version) }))
    }
}

/// Whether a write failed only because of what somebody else wrote meanwhile.
fn is_outdated(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Conflict(_)
            | StoreError::AlreadyExists(_)
            | StoreError::NotFound(_)
            | StoreError::OwnerNotFound { .. }
    )
}

fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[cfg(test)]
mod tests;
