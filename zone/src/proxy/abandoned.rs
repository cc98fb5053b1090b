//! Proxies that were connected when an earlier process of this control plane ended, and never came back.
//!
//! Their insights say that they are connected. A proxy that lives comes back within seconds; after the idle timeout the others are
//! recorded as disconnected. Nothing is left to do after that, because this process closes its own subscriptions itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::insight::to_proto;
use super::registry::Registry;

/// Waits for `patience`, then closes the subscriptions of proxies that are not connected.
pub async fn close(store: SharedStore, registry: Arc<Registry>, patience: Duration, shutdown: CancellationToken) {
    if shutdown.run_until_cancelled(tokio::time::sleep(patience)).await.is_none() {
        return;
    }
    let kinds = [
        (Kind::DataplaneInsight, Kind::Dataplane),
        (Kind::ZoneIngressInsight, Kind::ZoneIngress),
        (Kind::ZoneEgressInsight, Kind::ZoneEgress),
    ];
    for (kind, proxy) in kinds {
        let insights = match store.list(kind, None).await {
            Ok(insights) => insights,
            Err(error) => {
                warn!(%kind, %error, "cannot look for proxies that did not come back");
                continue;
            }
        };
        for insight in insights {
            let key = ResourceKey::new(proxy, insight.key.mesh.clone(), insight.key.name.clone());
            // Another control plane's proxies are its own business: what came by synchronization is left alone.
            let is_local = insight.label(tandem_model::label::ORIGIN) != Some(tandem_model::label::ORIGIN_GLOBAL);
            if !is_local || registry.is_connected(&key) {
                continue;
            }
            let Some(closed) = closed(&insight, Timestamp::now()) else { continue };
            match store.commit(vec![Write::Update { resource: closed, expected: Some(insight.version) }]).await {
                Ok(_) => info!(proxy = %key, "proxy did not come back after the restart"),
                // Written by somebody else meanwhile: the proxy is back, or gone.
                Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
                Err(error) => warn!(proxy = %key, %error, "cannot record that a proxy did not come back"),
            }
        }
    }
}

/// The insight with all its subscriptions over; `None` when none was open.
fn closed(insight: &Resource, now: Timestamp) -> Option<Resource> {
    let close = |subscriptions: &mut [pb::DiscoverySubscription]| {
        let open = subscriptions.iter_mut().filter(|s| s.connect_time.is_some() && s.disconnect_time.is_none());
        open.map(|subscription| subscription.disconnect_time = Some(to_proto(now))).count() > 0
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

    #[tokio::test]
    async fn only_proxies_that_stay_away_are_recorded_as_disconnected() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let registry = Arc::new(Registry::default());
        let key = |kind, name: &str| ResourceKey::new(kind, "default", name);
        for name in ["back", "gone"] {
            let open = pb::DiscoverySubscription {
                connect_time: Some(to_proto(Timestamp::UNIX_EPOCH)),
                ..pb::DiscoverySubscription::default()
            };
            let insight = pb::DataplaneInsight { subscriptions: vec![open], ..pb::DataplaneInsight::default() };
            let write = Write::Create(Resource::from_proto(key(Kind::DataplaneInsight, name), &insight));
            store.commit(vec![write]).await.unwrap();
        }
        let _back = registry.connect(&key(Kind::Dataplane, "back")).unwrap();
        close(store.clone(), registry.clone(), Duration::ZERO, CancellationToken::new()).await;
        for (name, is_open) in [("back", true), ("gone", false)] {
            let insight = store.get(&key(Kind::DataplaneInsight, name)).await.unwrap().unwrap();
            let insight: pb::DataplaneInsight = insight.proto().unwrap();
            assert_eq!(insight.subscriptions[0].disconnect_time.is_none(), is_open, "{name}");
        }
    }
}
