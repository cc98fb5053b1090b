//! Deletes the resources of proxies that are disconnected for too long.
//!
//! The deadlines follow from the stored insights, so they survive restarts; the task sleeps until the next one. A resource without
//! insight, or whose insight tells of no connection, was never connected and stays.
//!
//! Source of the rules: Kuma `pkg/gc/collector.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::label::{ORIGIN, ORIGIN_GLOBAL};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{ChangeBatch, SharedStore};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::Registry;
use super::removal::{Removal, remove, subscriptions};
use crate::clock;

/// Pause before a deletion that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// How long a proxy may stay away.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// `runtime.universal.dataplaneCleanupAge`.
    pub dataplane: Duration,
    /// `runtime.universal.zoneResourceCleanupAge`: ZoneIngress and ZoneEgress.
    pub zone_proxy: Duration,
}

/// Deletes what expires, until cancelled or the store is closed.
pub async fn run(store: SharedStore, registry: Arc<Registry>, ages: Ages, shutdown: CancellationToken) {
    let mut feed = store.changes(0);
    let mut deadlines = Deadlines { ages, by_proxy: BTreeMap::new(), ordered: BTreeSet::new() };
    loop {
        let wait = deadlines.next().map(|at| until(at, clock::now()));
        tokio::select! {
            () = shutdown.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => deadlines.take(&batch),
                None => return,
            },
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                // What the feed has to say may move a deadline.
                if let Some(batch) = feed.pending() {
                    deadlines.take(&batch);
                }
                for proxy in deadlines.pass(clock::now()) {
                    // One that is connected is about to be recorded as such.
                    let Some(_vacancy) = registry.vacate(&proxy, None) else { continue };
                    if !delete(&store, &proxy, ages.of(proxy.kind)).await {
                        deadlines.set(proxy, clock::now() + RETRY);
                    }
                }
            }
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// False when it has to be tried again.
async fn delete(store: &SharedStore, proxy: &ResourceKey, age: Duration) -> bool {
    let is_gone = |subscriptions: &[pb::DiscoverySubscription]| {
        expires_at(subscriptions, age).is_some_and(|at| at <= clock::now())
    };
    match remove(store, proxy, is_gone).await {
        Ok(Removal::Done) => info!(%proxy, "deleted: its proxy is disconnected for too long"),
        // What was written meanwhile arrives over the feed.
        Ok(Removal::Absent | Removal::Kept) => {}
        Err(error) => {
            warn!(%proxy, %error, "cannot delete the resource of a proxy that is disconnected for too long, trying again");
            return false;
        }
    }
    true
}

impl Ages {
    fn of(&self, proxy: Kind) -> Duration {
        if proxy == Kind::Dataplane { self.dataplane } else { self.zone_proxy }
    }
}

/// When the resource of each disconnected proxy expires.
#[derive(Debug)]
struct Deadlines {
    ages: Ages,
    by_proxy: BTreeMap<ResourceKey, Timestamp>,
    ordered: BTreeSet<(Timestamp, ResourceKey)>,
}

impl Deadlines {
    fn next(&self) -> Option<Timestamp> {
        self.ordered.first().map(|(at, _)| *at)
    }

    fn take(&mut self, batch: &ChangeBatch) {
        if batch.is_reset() {
            self.by_proxy.clear();
            self.ordered.clear();
        }
        batch.iter().for_each(|(key, new)| self.apply(key, new.map(|resource| &**resource)));
    }

    fn apply(&mut self, key: &ResourceKey, insight: Option<&Resource>) {
        let kind = match key.kind {
            Kind::DataplaneInsight => Kind::Dataplane,
            Kind::ZoneIngressInsight => Kind::ZoneIngress,
            Kind::ZoneEgressInsight => Kind::ZoneEgress,
            _ => return,
        };
        let proxy = ResourceKey { kind, ..key.clone() };
        self.clear(&proxy);
        let local = insight.filter(|insight| insight.label(ORIGIN) != Some(ORIGIN_GLOBAL));
        if let Some(at) = local.and_then(|insight| expires_at(&subscriptions(insight), self.ages.of(kind))) {
            self.set(proxy, at);
        }
    }

    fn set(&mut self, proxy: ResourceKey, at: Timestamp) {
        self.ordered.insert((at, proxy.clone()));
        self.by_proxy.insert(proxy, at);
    }

    fn clear(&mut self, proxy: &ResourceKey) {
        if let Some((proxy, at)) = self.by_proxy.remove_entry(proxy) {
            self.ordered.remove(&(at, proxy));
        }
    }

    /// Takes out the proxies whose time has come.
    fn pass(&mut self, now: Timestamp) -> Vec<ResourceKey> {
        let mut passed = Vec::new();
        while self.next().is_some_and(|at| at <= now)
            && let Some((_, proxy)) = self.ordered.pop_first()
        {
            self.by_proxy.remove(&proxy);
            passed.push(proxy);
        }
        passed
    }
}

/// When the time of a proxy with these subscriptions is over; `None` while it is connected, and if it never was.
fn expires_at(subscriptions: &[pb::DiscoverySubscription], age: Duration) -> Option<Timestamp> {
    if tandem_insights::is_online(subscriptions) {
        return None;
    }
    let left = subscriptions.last()?.disconnect_time?;
    // A time that far ahead that it cannot be counted never comes.
    Timestamp::new(left.seconds, left.nanos).ok()?.checked_add(age).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_store::{MemoryStore, Write};

    const AGES: Ages = Ages { dataplane: Duration::from_secs(100), zone_proxy: Duration::from_secs(1000) };

    fn seconds(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    /// Connected and disconnected at these seconds.
    fn subscription((connected, disconnected): (i64, Option<i64>)) -> pb::DiscoverySubscription {
        pb::DiscoverySubscription {
            connect_time: seconds(connected),
            disconnect_time: disconnected.and_then(seconds),
            ..Default::default()
        }
    }

    fn dataplane(name: &str) -> ResourceKey {
        ResourceKey::new(Kind::Dataplane, "m", name)
    }

    fn insight(name: &str, subscriptions: &[(i64, Option<i64>)]) -> Resource {
        let subscriptions: Vec<_> = subscriptions.iter().copied().map(subscription).collect();
        let key = ResourceKey::new(Kind::DataplaneInsight, "m", name);
        let spec = pb::DataplaneInsight { subscriptions, ..Default::default() };
        Resource::from_proto(key, &spec).with_owner(dataplane(name))
    }

    #[test]
    fn deadlines_follow_the_last_connection() {
        let mut deadlines = Deadlines { ages: AGES, by_proxy: BTreeMap::new(), ordered: BTreeSet::new() };
        let mut apply = |resource: &Resource| {
            deadlines.apply(&resource.key, Some(resource));
            deadlines.next().map(Timestamp::as_second)
        };
        assert_eq!(apply(&insight("never", &[])), None);
        assert_eq!(apply(&insight("here", &[(1, Some(5)), (6, None)])), None);
        assert_eq!(apply(&insight("gone", &[(1, Some(5)), (6, Some(50))])), Some(150));
        assert_eq!(apply(&insight("earlier", &[(1, Some(20))])), Some(120));
        assert_eq!(apply(&insight("earlier", &[(1, Some(20)), (30, None)])), Some(150));
        let egress = pb::ZoneEgressInsight { subscriptions: vec![subscription((1, Some(2)))], ..Default::default() };
        let egress = Resource::from_proto(ResourceKey::global(Kind::ZoneEgressInsight, "e"), &egress);
        assert_eq!(apply(&egress), Some(150));
        deadlines.apply(&insight("gone", &[]).key, None);
        assert_eq!(deadlines.next().map(Timestamp::as_second), Some(1002));
        let passed = deadlines.pass(Timestamp::from_second(1002).expect("in range"));
        assert_eq!(passed, [ResourceKey::global(Kind::ZoneEgress, "e")]);
        assert_eq!(deadlines.next(), None);
    }

    #[tokio::test]
    async fn only_the_proxies_that_stay_away_are_deleted() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let now = clock::now().as_second();
        let proxies = [
            ("long-gone", Some(insight("long-gone", &[(1, Some(2))]))),
            ("soon-gone", Some(insight("soon-gone", &[(1, Some(now - 99))]))),
            ("just-left", Some(insight("just-left", &[(1, Some(now))]))),
            ("here", Some(insight("here", &[(1, None)]))),
            ("back", Some(insight("back", &[(1, Some(2))]))),
            ("never", None),
        ];
        for (name, insight) in proxies {
            let writes =
                std::iter::once(Resource::from_proto(dataplane(name), &pb::Dataplane::default())).chain(insight);
            store.commit(writes.map(Write::Create).collect()).await.expect("new");
        }
        let registry = Arc::new(Registry::default());
        // Its insight is about to be written.
        let _back = registry.connect(&dataplane("back")).expect("the only stream");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(store.clone(), registry, AGES, shutdown.clone()));
        let mut feed = store.changes(0);
        let names = async || -> Vec<String> {
            let left = store.list(Kind::Dataplane, None).await.expect("readable");
            left.iter().map(|resource| resource.key.name.clone()).collect()
        };
        let deleted = async {
            while names().await.len() > 4 {
                feed.next().await.expect("the store is open");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("two expire");
        assert_eq!(names().await, ["back", "here", "just-left", "never"]);
        let insights = store.list(Kind::DataplaneInsight, None).await.expect("readable");
        assert_eq!(insights.len(), 3, "insights go with their proxies");
        shutdown.cancel();
        task.await.expect("ended");
    }
}
