//! Proxies that were connected when an earlier process of this control plane ended, and never came back.
//!
//! Their insights say that they are connected. A proxy that lives comes back within seconds; after the idle timeout the others are
//! recorded as disconnected, from which time on they expire. Nothing is left to do after that, because this process closes its own
//! subscriptions itself. A process that ended between a proxy's registration and its first insight left a resource that nothing is
//! known of but who brought it: it is recorded as disconnected, too.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_instances::Instances;
use tandem_model::label::{ORIGIN, ORIGIN_GLOBAL};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{Author, Revision, SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::insight::{insight_key, to_proto};
use super::registry::Registry;
use crate::clock;

/// Waits for `patience`, then records as disconnected who is not connected to this instance or to another one that is alive.
pub async fn close(
    store: SharedStore,
    registry: Arc<Registry>,
    instances: Instances,
    patience: Duration,
    shutdown: CancellationToken,
) {
    let began = store.revision();
    if shutdown.run_until_cancelled(tokio::time::sleep(patience)).await.is_none() {
        return;
    }
    for kind in [Kind::Dataplane, Kind::ZoneIngress, Kind::ZoneEgress] {
        let proxies = match store.list(kind, None).await {
            Ok(proxies) => proxies,
            Err(error) => {
                warn!(%kind, %error, "cannot look for proxies that did not come back");
                continue;
            }
        };
        for proxy in proxies {
            // Another control plane's proxies are its own business: what came by synchronization is left alone.
            if proxy.label(ORIGIN) == Some(ORIGIN_GLOBAL) || registry.is_connected(&proxy.key) {
                continue;
            }
            match record(&store, &instances, began, &proxy).await {
                Ok(true) => info!(proxy = %proxy.key, "proxy did not come back after the restart"),
                // Written by somebody else meanwhile: the proxy is back, or gone.
                Ok(false) => {}
                Err(
                    StoreError::Conflict(_)
                    | StoreError::NotFound(_)
                    | StoreError::AlreadyExists(_)
                    | StoreError::OwnerNotFound { .. },
                ) => {}
                Err(error) => warn!(proxy = %proxy.key, %error, "cannot record that a proxy did not come back"),
            }
        }
    }
}

/// Records that a proxy is disconnected. False when there is nothing to record: what was registered after this process `began` is removed
/// by those who registered it.
async fn record(
    store: &SharedStore,
    instances: &Instances,
    began: Revision,
    proxy: &Resource,
) -> Result<bool, StoreError> {
    let now = clock::now();
    let write = match store.get(&insight_key(&proxy.key)).await? {
        Some(insight) => {
            let Some(closed) = closed(&insight, now, instances) else { return Ok(false) };
            Write::Update { resource: closed, expected: Some(insight.version) }
        }
        None if was_brought(store, &proxy.key, began).await? => {
            let subscription = pb::DiscoverySubscription {
                id: uuid::Uuid::new_v4().to_string(),
                control_plane_instance_id: instances.own_id().to_owned(),
                connect_time: Some(to_proto(proxy.modified)),
                disconnect_time: Some(to_proto(now)),
                ..pb::DiscoverySubscription::default()
            };
            Write::Create(first_insight(&proxy.key, subscription))
        }
        None => return Ok(false),
    };
    store.commit(vec![write]).await.map(|_| true)
}

/// True when a resource was there at a revision because a proxy brought it, and not because somebody made it over HTTP. Where its history
/// is too far back to be known, it stays.
async fn was_brought(store: &SharedStore, proxy: &ResourceKey, at: Revision) -> Result<bool, StoreError> {
    let author = Author::Proxy(proxy.name.clone()).to_string();
    let history = store.history(proxy).await?;
    let since_creation = history.iter().rev().scan(false, |created, entry| {
        let is_of_present_one = !*created;
        *created |= entry.before.is_none();
        is_of_present_one.then_some(entry)
    });
    Ok(since_creation.into_iter().any(|entry| entry.author == author && entry.revision <= at))
}

/// An insight that holds one subscription.
fn first_insight(proxy: &ResourceKey, subscription: pb::DiscoverySubscription) -> Resource {
    let (key, subscriptions) = (insight_key(proxy), vec![subscription]);
    let insight = match proxy.kind {
        Kind::ZoneIngress => {
            Resource::from_proto(key, &pb::ZoneIngressInsight { subscriptions, ..pb::ZoneIngressInsight::default() })
        }
        Kind::ZoneEgress => {
            Resource::from_proto(key, &pb::ZoneEgressInsight { subscriptions, ..pb::ZoneEgressInsight::default() })
        }
        _ => Resource::from_proto(key, &pb::DataplaneInsight { subscriptions, ..pb::DataplaneInsight::default() }),
    };
    insight.with_owner(proxy.clone())
}

/// The insight with all its subscriptions over, but for those of other instances that are alive; `None` when no such was open.
fn closed(insight: &Resource, now: Timestamp, instances: &Instances) -> Option<Resource> {
    let close = |subscriptions: &mut [pb::DiscoverySubscription]| {
        let is_abandoned = |subscription: &&mut pb::DiscoverySubscription| {
            let instance = &subscription.control_plane_instance_id;
            subscription.connect_time.is_some()
                && subscription.disconnect_time.is_none()
                && (instance == instances.own_id() || !instances.is_alive(instance))
        };
        let abandoned = subscriptions.iter_mut().filter(is_abandoned);
        abandoned.map(|subscription| subscription.disconnect_time = Some(to_proto(now))).count() > 0
    };
    let spec = match insight.kind() {
        Kind::DataplaneInsight => {
            let mut spec: pb::DataplaneInsight = insight.proto().ok()?;
            close(&mut spec.subscriptions).then(|| Resource::from_proto(insight.key.clone(), &spec))
        }
        Kind::ZoneIngressInsight => {
            let mut spec: pb::ZoneIngressInsight = insight.proto().ok()?;
            close(&mut spec.subscriptions).then(|| Resource::from_proto(insight.key.clone(), &spec))
        }
        _ => {
            let mut spec: pb::ZoneEgressInsight = insight.proto().ok()?;
            close(&mut spec.subscriptions).then(|| Resource::from_proto(insight.key.clone(), &spec))
        }
    }?;
    Some(Resource { spec: spec.spec, ..insight.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_store::MemoryStore;

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new(Kind::Dataplane, "default", name)
    }

    fn open(proxy: &str) -> Resource {
        let subscription = pb::DiscoverySubscription {
            connect_time: Some(to_proto(Timestamp::UNIX_EPOCH)),
            ..pb::DiscoverySubscription::default()
        };
        first_insight(&key(proxy), subscription)
    }

    /// Whether each of these is recorded as connected; `None` without a record.
    async fn connected(store: &SharedStore, names: &[&str]) -> Vec<Option<bool>> {
        let mut connected = Vec::new();
        for name in names {
            let insight = store.get(&insight_key(&key(name))).await.unwrap();
            let insight = insight.map(|insight| insight.proto::<pb::DataplaneInsight>().unwrap());
            connected.push(insight.map(|insight| tandem_insights::is_online(&insight.subscriptions)));
        }
        connected
    }

    #[tokio::test]
    async fn only_proxies_that_stay_away_are_recorded_as_disconnected() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let registry = Arc::new(Registry::default());
        let dataplane = |name: &str| Resource::from_proto(key(name), &pb::Dataplane::default());
        for name in ["back", "gone"] {
            store.commit(vec![Write::Create(dataplane(name)), Write::Create(open(name))]).await.unwrap();
        }
        // Of these nothing is recorded. One was made over HTTP, and one of those that a proxy brought was deleted and made so then.
        let user = Author::User("somebody".to_owned());
        let by_proxy = |name: &str| Author::Proxy(name.to_owned());
        for name in ["brought", "remade"] {
            store.commit_as(by_proxy(name), vec![Write::Create(dataplane(name))]).await.unwrap();
        }
        store.commit(vec![Write::Delete { key: key("remade"), expected: None }]).await.unwrap();
        for name in ["made", "remade"] {
            store.commit_as(user.clone(), vec![Write::Create(dataplane(name))]).await.unwrap();
        }
        let _back = registry.connect(&key("back")).unwrap();
        let instances = Instances::alone("this");
        close(store.clone(), registry, instances, Duration::ZERO, CancellationToken::new()).await;
        let names = ["back", "gone", "brought", "made", "remade"];
        assert_eq!(connected(&store, &names).await, [Some(true), Some(false), Some(false), None, None]);
    }
}
