//! What is known of each proxy's stream, written to its insight.
//!
//! Counting is cheap and happens on the stream; writing is coalesced: at once (after a short pause that gathers what happens
//! together) when a stream opens or closes or a certificate changes, else every flush interval, and only what changed.
//! Source of the format: Kuma `api/mesh/v1alpha1/dataplane_insight.proto`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{SharedStore, StoreError, Write};
use tandem_xds::ResourceType;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock;

/// Pause that gathers openings and closings into one write.
const GATHER: Duration = Duration::from_millis(50);

/// How often an insight is tried to be written that others write, too.
const ATTEMPTS: usize = 5;

/// Settings of the writer.
#[derive(Debug, Clone)]
pub struct InsightSettings {
    /// This instance, as recorded in subscriptions.
    pub instance_id: String,
    /// How often counters are written.
    pub flush_interval: Duration,
    /// How many subscriptions an insight keeps; 0 keeps none.
    pub subscription_limit: usize,
}

/// The certificate a proxy was given.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuedCertificate {
    /// When it ends.
    pub not_after: Timestamp,
    /// Backend of the mesh that signed it.
    pub backend: String,
    /// Backends the proxy trusts.
    pub supported_backends: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    /// Tells the streams of one proxy apart.
    serial: u64,
    subscription: pb::DiscoverySubscription,
    /// Node metadata; dropped after it is written once.
    metadata: Option<prost_types::Struct>,
    certificate: Option<Option<IssuedCertificate>>,
    problems: Vec<pb::ProxyProblem>,
    dirty: bool,
    closed: bool,
}

/// Writer of all insights of one instance.
#[derive(Debug)]
pub struct Insights {
    settings: InsightSettings,
    entries: Mutex<HashMap<ResourceKey, Entry>>,
    /// Counts streams.
    opened: AtomicU64,
    soon: Notify,
    later: Notify,
}

/// The kind of insight that belongs to a kind of proxy.
pub fn insight_key(proxy: &ResourceKey) -> ResourceKey {
    let kind = match proxy.kind {
        Kind::ZoneIngress => Kind::ZoneIngressInsight,
        Kind::ZoneEgress => Kind::ZoneEgressInsight,
        _ => Kind::DataplaneInsight,
    };
    ResourceKey::new(kind, proxy.mesh.clone(), proxy.name.clone())
}

/// A time as insights hold it.
pub(super) fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

impl Insights {
    /// A writer without entries; [`Insights::run`] writes.
    pub fn new(settings: InsightSettings) -> Arc<Self> {
        let entries = Mutex::default();
        Arc::new(Self { settings, entries, opened: AtomicU64::new(0), soon: Notify::new(), later: Notify::new() })
    }

    /// Begins the subscription of a proxy.
    pub fn open(
        self: &Arc<Self>,
        proxy: &ResourceKey,
        version: Option<pb::Version>,
        metadata: Option<prost_types::Struct>,
    ) -> Subscription {
        let stats = || Some(pb::DiscoveryServiceStats::default());
        let subscription = pb::DiscoverySubscription {
            id: uuid::Uuid::new_v4().to_string(),
            control_plane_instance_id: self.settings.instance_id.clone(),
            connect_time: Some(to_proto(clock::now())),
            status: Some(pb::DiscoverySubscriptionStatus {
                last_update_time: None,
                total: stats(),
                cds: stats(),
                eds: stats(),
                lds: stats(),
                rds: stats(),
            }),
            version,
            ..Default::default()
        };
        let serial = self.opened.fetch_add(1, Ordering::Relaxed);
        let (certificate, problems) = (None, Vec::new());
        let entry = Entry { serial, subscription, metadata, certificate, problems, dirty: true, closed: false };
        self.entries.lock().insert(proxy.clone(), entry);
        self.soon.notify_one();
        Subscription { insights: self.clone(), proxy: proxy.clone(), serial }
    }

    /// How many connected proxies have a problem of each of these kinds.
    pub fn count_problems(&self, kinds: &[&str]) -> Vec<usize> {
        let entries = self.entries.lock();
        let open: Vec<_> = entries.values().filter(|entry| !entry.closed && !entry.problems.is_empty()).collect();
        let has = |entry: &Entry, kind: &str| entry.problems.iter().any(|problem| problem.r#type == kind);
        kinds.iter().map(|kind| open.iter().filter(|entry| has(entry, kind)).count()).collect()
    }

    fn count(
        &self,
        stream: &Subscription,
        resource_type: ResourceType,
        count: impl Fn(&mut pb::DiscoveryServiceStats),
    ) {
        stream.update(|entry| {
            let status = entry.subscription.status.get_or_insert_default();
            status.last_update_time = Some(to_proto(clock::now()));
            count(status.total.get_or_insert_default());
            let group = match resource_type {
                ResourceType::Cluster => &mut status.cds,
                ResourceType::Endpoint => &mut status.eds,
                ResourceType::Listener => &mut status.lds,
                ResourceType::Route => &mut status.rds,
                _ => return,
            };
            count(group.get_or_insert_default());
        });
        self.later.notify_one();
    }

    /// Writes until the token is cancelled, and once more then.
    pub async fn run(&self, store: &SharedStore, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.soon.notified() => tokio::time::sleep(GATHER).await,
                () = self.later.notified() => tokio::select! {
                    () = self.soon.notified() => tokio::time::sleep(GATHER).await,
                    () = tokio::time::sleep(self.settings.flush_interval) => {}
                    () = shutdown.cancelled() => {}
                },
                () = shutdown.cancelled() => {}
            }
            self.flush(store).await;
            if shutdown.is_cancelled() {
                return;
            }
        }
    }

    /// Writes every changed entry, in one transaction if possible.
    pub async fn flush(&self, store: &SharedStore) {
        let (mut proxies, mut writes) = (Vec::new(), Vec::new());
        let changed: Vec<ResourceKey> =
            self.entries.lock().iter().filter(|(_, entry)| entry.dirty).map(|(key, _)| key.clone()).collect();
        for proxy in changed {
            match self.compose(store, &proxy).await {
                Ok(Some(write)) => {
                    proxies.push(proxy);
                    writes.push(write);
                }
                Ok(None) => {}
                Err(error) => warn!(%proxy, %error, "cannot read the insight of a proxy"),
            }
        }
        if writes.is_empty() {
            return;
        }
        if store.commit(writes).await.is_ok() {
            proxies.iter().for_each(|proxy| self.written(proxy));
            return;
        }
        // Somebody else wrote one of them, or deleted a proxy: one after the other, from what is there now.
        for proxy in proxies {
            if let Err(error) = self.write(store, &proxy).await {
                warn!(%proxy, %error, "cannot write the insight of a proxy");
            }
            self.written(&proxy);
        }
    }

    async fn write(&self, store: &SharedStore, proxy: &ResourceKey) -> Result<(), StoreError> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let Some(write) = self.compose(store, proxy).await? else { return Ok(()) };
            match store.commit(vec![write]).await {
                Ok(_) | Err(StoreError::OwnerNotFound { .. }) => return Ok(()),
                Err(StoreError::Conflict(_) | StoreError::NotFound(_) | StoreError::AlreadyExists(_))
                    if attempts > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What was to be written of a proxy is, unless there is more already.
    fn written(&self, proxy: &ResourceKey) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(proxy).filter(|entry| !entry.dirty) else { return };
        (entry.metadata, entry.certificate) = (None, None);
        if entry.closed {
            entries.remove(proxy);
        }
    }

    /// Writes the insight of a proxy with the current subscription merged into what is stored, if that is there still; `None` if the
    /// proxy does not exist (any more).
    async fn compose(&self, store: &SharedStore, proxy: &ResourceKey) -> Result<Option<Write>, StoreError> {
        let key = insight_key(proxy);
        let stored = store.get(&key).await?;
        let exists = store.get(proxy).await?.is_some();
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(proxy) else { return Ok(None) };
        entry.dirty = false;
        if !exists {
            if entry.closed {
                entries.remove(proxy);
            }
            return Ok(None);
        }
        let subscription = entry.subscription.clone();
        let (metadata, certificate) = (entry.metadata.clone(), entry.certificate.clone());
        let problems = entry.problems.clone();
        drop(entries);
        let limit = self.settings.subscription_limit;
        let resource = match key.kind {
            Kind::DataplaneInsight => {
                let mut insight: pb::DataplaneInsight = decode(stored.as_deref());
                merge(&mut insight.subscriptions, subscription, limit);
                if metadata.is_some() {
                    insight.metadata = metadata;
                }
                if let Some(certificate) = certificate {
                    insight.m_tls = certificate_state(insight.m_tls.take(), certificate);
                }
                insight.problems = problems;
                Resource::from_proto(key, &insight)
            }
            Kind::ZoneIngressInsight => {
                let mut insight: pb::ZoneIngressInsight = decode(stored.as_deref());
                merge(&mut insight.subscriptions, subscription, limit);
                insight.metadata = metadata.or(insight.metadata);
                insight.problems = problems;
                Resource::from_proto(key, &insight)
            }
            _ => {
                let mut insight: pb::ZoneEgressInsight = decode(stored.as_deref());
                merge(&mut insight.subscriptions, subscription, limit);
                insight.metadata = metadata.or(insight.metadata);
                insight.problems = problems;
                Resource::from_proto(key, &insight)
            }
        };
        let resource = resource.with_owner(proxy.clone());
        Ok(Some(match stored {
            Some(stored) => Write::Update { resource, expected: Some(stored.version) },
            None => Write::Create(resource),
        }))
    }
}

/// Decodes a stored insight. One that does not decode is begun anew: it only holds what streams report.
fn decode<M: prost::Message + Default>(stored: Option<&Resource>) -> M {
    let Some(stored) = stored else { return M::default() };
    stored.proto().unwrap_or_else(|error| {
        warn!(%error, "beginning an undecodable insight anew");
        M::default()
    })
}

/// Puts a subscription in place of its earlier state, or behind those of earlier streams, which are then over.
fn merge(subscriptions: &mut Vec<pb::DiscoverySubscription>, subscription: pb::DiscoverySubscription, limit: usize) {
    match subscriptions.iter_mut().find(|stored| stored.id == subscription.id) {
        Some(stored) => *stored = subscription,
        None => {
            // What another instance began later stays behind it: that is where the proxy is now.
            let began = |of: &pb::DiscoverySubscription| of.connect_time.map(|time| (time.seconds, time.nanos));
            let later = subscriptions.iter().position(|stored| began(stored) > began(&subscription));
            let (now, at) = (to_proto(clock::now()), later.unwrap_or(subscriptions.len()));
            for earlier in subscriptions[..at].iter_mut().filter(|earlier| earlier.disconnect_time.is_none()) {
                earlier.disconnect_time = Some(now);
            }
            subscriptions.insert(at, subscription);
        }
    }
    let surplus = subscriptions.len().saturating_sub(limit);
    subscriptions.drain(..surplus);
}

fn certificate_state(
    stored: Option<pb::dataplane_insight::Mtls>,
    certificate: Option<IssuedCertificate>,
) -> Option<pb::dataplane_insight::Mtls> {
    let certificate = certificate?;
    let stored = stored.unwrap_or_default();
    let expiration = Some(to_proto(certificate.not_after));
    let unchanged = stored.certificate_expiration_time == expiration
        && stored.issued_backend == certificate.backend
        && stored.supported_backends == certificate.supported_backends;
    if unchanged {
        return Some(stored);
    }
    Some(pb::dataplane_insight::Mtls {
        certificate_expiration_time: expiration,
        last_certificate_regeneration: Some(to_proto(clock::now())),
        certificate_regenerations: stored.certificate_regenerations + 1,
        issued_backend: certificate.backend,
        supported_backends: certificate.supported_backends,
    })
}

/// The subscription of an open stream; closed when dropped.
#[derive(Debug)]
pub struct Subscription {
    insights: Arc<Insights>,
    proxy: ResourceKey,
    serial: u64,
}

impl Subscription {
    /// Changes the entry, unless it belongs to a later stream already.
    fn update(&self, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.insights.entries.lock();
        if let Some(entry) = entries.get_mut(&self.proxy).filter(|entry| entry.serial == self.serial) {
            change(entry);
            entry.dirty = true;
        }
    }

    /// Counts a response that was sent.
    pub fn sent(&self, resource_type: ResourceType) {
        self.insights.count(self, resource_type, |stats| stats.responses_sent += 1);
    }

    /// Counts a response that the proxy took.
    pub fn acknowledged(&self, resource_type: ResourceType) {
        self.insights.count(self, resource_type, |stats| stats.responses_acknowledged += 1);
    }

    /// Counts a response that the proxy refused.
    pub fn rejected(&self, resource_type: ResourceType) {
        self.insights.count(self, resource_type, |stats| stats.responses_rejected += 1);
    }

    /// Notes the certificate the proxy was given; `None` when it has none any more.
    pub fn certificate(&self, certificate: Option<IssuedCertificate>) {
        self.update(|entry| entry.certificate = Some(certificate));
        self.insights.soon.notify_one();
    }
}

impl Subscription {
    /// Notes what is wrong with the configuration of the proxy. It stays in the insight after the stream, until the next one opens.
    pub fn problems(&self, problems: Vec<pb::ProxyProblem>) {
        self.update(|entry| entry.problems = problems);
        self.insights.soon.notify_one();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.update(|entry| {
            entry.subscription.disconnect_time = Some(to_proto(clock::now()));
            entry.closed = true;
        });
        self.insights.soon.notify_one();
    }
}

#[cfg(test)]
mod tests;
