//! The ZoneInsight of each zone: connections, counts of responses, and which instance holds which stream.
//!
//! On global it tells about the streams of each zone; a zone keeps one about its own stream to global. Records are kept
//! in memory and written by one task: at once when a connection opens or closes, else together once in a flush interval,
//! and only when something changed. No timer runs while nothing changes.
//!
//! Source of the format: Kuma `api/system/v1alpha1/zone_insight.proto`, `pkg/kds/status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prost::Message;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::{
    EnvoyAdminStreams, HealthCheck, KdsServiceStats, KdsStream, KdsStreams, KdsSubscription, KdsSubscriptionStatus,
    ZoneInsight,
};
use tandem_store::{SharedStore, StoreError, Write};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::surroundings::Surroundings;

/// How often a write is tried again when someone else wrote the same insight.
const ATTEMPTS: usize = 8;

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

#[derive(Debug, Default)]
struct Record {
    /// Changed since the last write.
    dirty: bool,
    /// To be written at once.
    urgent: bool,
    written: Option<Instant>,
    subscriptions: BTreeMap<String, KdsSubscription>,
    streams: BTreeMap<StreamKind, Timestamp>,
    health_check: Option<Timestamp>,
}

impl Record {
    fn due(&self, interval: Duration, now: Instant) -> Option<Instant> {
        self.dirty.then(|| match self.written {
            Some(written) if !self.urgent => written + interval,
            _ => now,
        })
    }
}

/// One connection, counted in the insight of its zone until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    insights: Arc<Insights>,
    zone: String,
    id: String,
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
                () = sleep_until(next) => {}
            }
            self.flush(false).await;
        }
        self.flush(true).await;
    }

    /// Ends the connections that an earlier process left open in the insights.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close_abandoned(&self) -> Result<(), StoreError> {
        for resource in self.store.0.list(Kind::ZoneInsight, None).await? {
            let Ok(mut insight) = resource.proto::<ZoneInsight>() else { continue };
            let open = insight.subscriptions.iter_mut().filter(|subscription| subscription.disconnect_time.is_none());
            let closed = open.map(|subscription| subscription.disconnect_time = Some(self.now())).count();
            if closed == 0 {
                continue;
            }
            let mut changed = (*resource).clone();
            changed.spec = tandem_model::Spec::Proto(insight.encode_to_vec().into());
            match self.store.0.commit(vec![Write::Update { resource: changed, expected: Some(resource.version) }]).await
            {
                Ok(_) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
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
            record.streams.insert(stream, self.surroundings.now());
        });
    }

    /// Starts to count a connection.
    pub(crate) fn connect(self: &Arc<Self>, zone: &str, subscription: KdsSubscription) -> Connection {
        let id = self.surroundings.id();
        let status =
            KdsSubscriptionStatus { total: Some(KdsServiceStats::default()), ..KdsSubscriptionStatus::default() };
        let subscription =
            KdsSubscription { id: id.clone(), connect_time: Some(self.now()), status: Some(status), ..subscription };
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
            due.map(|(zone, record)| {
                record.dirty = false;
                record.urgent = false;
                record.written = Some(now);
                let snapshot = Snapshot {
                    subscriptions: record.subscriptions.values().cloned().collect(),
                    streams: record.streams.clone(),
                    health_check: record.health_check,
                };
                // A closed connection is written one last time.
                record.subscriptions.retain(|_, subscription| subscription.disconnect_time.is_none());
                (zone.clone(), snapshot)
            })
            .collect()
        };
        for (zone, snapshot) in due {
            if let Err(error) = self.write(&zone, &snapshot).await {
                warn!(zone, %error, "could not write the insight of a zone");
            }
        }
    }

    async fn write(&self, zone: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
        let store = &self.store.0;
        let key = ResourceKey::global(Kind::ZoneInsight, zone);
        let owner = ResourceKey::global(Kind::Zone, zone);
        for _ in 0..ATTEMPTS {
            let present = store.get(&key).await?;
            let mut insight = match &present {
                Some(resource) => resource.proto::<ZoneInsight>().unwrap_or_default(),
                None => ZoneInsight::default(),
            };
            snapshot.write_into(&mut insight, &self.settings, self.now());
            let mut resource = Resource::from_proto(key.clone(), &insight);
            resource.owner = store.get(&owner).await?.map(|_| owner.clone());
            if resource.owner.is_none() && self.settings.needs_zone {
                return Ok(());
            }
            let write = match present {
                Some(present) => {
                    resource.labels.clone_from(&present.labels);
                    Write::Update { resource, expected: Some(present.version) }
                }
                None => Write::Create(resource),
            };
            match store.commit(vec![write]).await {
                Ok(_) => return Ok(()),
                Err(
                    StoreError::Conflict(_)
                    | StoreError::AlreadyExists(_)
                    | StoreError::NotFound(_)
                    | StoreError::OwnerNotFound { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict(key))
    }
}

impl Connection {
    /// Notes what the peer told about itself.
    pub(crate) fn describe(&self, describe: impl FnOnce(&mut KdsSubscription)) {
        self.change(true, describe);
    }

    pub(crate) fn sent(&self, type_url: &str) {
        self.count(type_url, |stats| stats.responses_sent += 1);
    }

    pub(crate) fn answered(&self, type_url: &str, rejected: bool) {
        self.count(type_url, |stats| {
            if rejected {
                stats.responses_rejected += 1;
            } else {
                stats.responses_acknowledged += 1;
            }
        });
    }

    fn count(&self, type_url: &str, count: impl Fn(&mut KdsServiceStats)) {
        self.change(false, |subscription| {
            let status = subscription.status.get_or_insert_default();
            count(status.total.get_or_insert_default());
            count(status.stat.entry(type_url.to_owned()).or_default());
        });
    }

    fn change(&self, urgent: bool, change: impl FnOnce(&mut KdsSubscription)) {
        self.insights.change(&self.zone, urgent, |record| {
            if let Some(subscription) = record.subscriptions.get_mut(&self.id) {
                change(subscription);
                subscription.status.get_or_insert_default().last_update_time = Some(self.insights.now());
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.change(true, |subscription| subscription.disconnect_time = Some(self.insights.now()));
    }
}

struct Snapshot {
    subscriptions: Vec<KdsSubscription>,
    streams: BTreeMap<StreamKind, Timestamp>,
    health_check: Option<Timestamp>,
}

impl Snapshot {
    fn write_into(&self, insight: &mut ZoneInsight, settings: &InsightSettings, now: prost_types::Timestamp) {
        let mut ordered: Vec<_> = self.subscriptions.iter().collect();
        ordered.sort_by_key(|subscription| subscription.connect_time.map(|time| (time.seconds, time.nanos)));
        for subscription in ordered {
            match insight.subscriptions.iter_mut().find(|known| known.id == subscription.id) {
                Some(known) => known.clone_from(subscription),
                None => {
                    for earlier in &mut insight.subscriptions {
                        earlier.disconnect_time.get_or_insert(now);
                    }
                    insight.subscriptions.push(subscription.clone());
                }
            }
        }
        let excess = insight.subscriptions.len().saturating_sub(settings.subscription_limit);
        insight.subscriptions.drain(..excess);
        if settings.compact_finished
            && let Some((_, finished)) = insight.subscriptions.split_last_mut()
        {
            for subscription in finished {
                subscription.config.clear();
                if let Some(status) = &mut subscription.status {
                    status.stat.clear();
                }
            }
        }
        if let Some(time) = self.health_check {
            insight.health_check = Some(HealthCheck { time: Some(wire_time(time)) });
        }
        if !self.streams.is_empty() {
            self.write_streams(insight, &settings.instance);
        }
    }

    #[allow(deprecated)] // older readers look at the superseded member
    fn write_streams(&self, insight: &mut ZoneInsight, instance: &str) {
        let streams: &mut KdsStreams = insight.kds_streams.get_or_insert_default();
        let admin: &mut EnvoyAdminStreams = insight.envoy_admin_streams.get_or_insert_default();
        for (kind, time) in &self.streams {
            let stream = KdsStream { global_instance_id: instance.to_owned(), connect_time: Some(wire_time(*time)) };
            let (slot, superseded) = match kind {
                StreamKind::GlobalToZone => (&mut streams.global_to_zone, None),
                StreamKind::ZoneToGlobal => (&mut streams.zone_to_global, None),
                StreamKind::ConfigDump => (&mut streams.config_dump, Some(&mut admin.config_dump_global_instance_id)),
                StreamKind::Stats => (&mut streams.stats, Some(&mut admin.stats_global_instance_id)),
                StreamKind::Clusters => (&mut streams.clusters, Some(&mut admin.clusters_global_instance_id)),
            };
            *slot = Some(stream);
            if let Some(superseded) = superseded {
                instance.clone_into(superseded);
            }
        }
    }
}

fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
