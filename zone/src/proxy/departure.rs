//! What happens when a proxy that brought its own resource disconnects.
//!
//! The resource stays for the deregistration delay, so that a proxy that comes back is served at once and nobody notices; then
//! it is deleted. It stays for good when this control plane stops, or when the proxy meanwhile connected to another instance.

use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::insight::insight_key;
use super::registry::Registry;

/// Removes the resource of a proxy some time after its stream ended; made when the stream opens, acts when dropped.
pub struct Departure {
    /// The proxy.
    pub proxy: ResourceKey,
    /// Number of the connection that ends.
    pub connection: u64,
    /// The proxy brought its resource, so it goes with the proxy.
    pub registered: bool,
    /// How long the resource stays.
    pub delay: Duration,
    /// This instance.
    pub instance_id: String,
    /// Where the resource is.
    pub store: SharedStore,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Cancelled when this control plane stops.
    pub shutdown: CancellationToken,
}

impl Drop for Departure {
    fn drop(&mut self) {
        // Without a runtime the process is ending, which keeps the resource anyway.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Self { proxy, connection, registered, delay, instance_id, store, registry, shutdown } = self;
        let (proxy, connection, registered, delay) = (proxy.clone(), *connection, *registered, *delay);
        let (instance_id, store, registry) = (instance_id.clone(), store.clone(), registry.clone());
        let shutdown = shutdown.clone();
        if shutdown.is_cancelled() {
            return;
        }
        runtime.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            if !registry.forget(&proxy, connection) || !registered {
                return;
            }
            if let Err(error) = deregister(&store, &proxy, &instance_id).await {
                warn!(%proxy, %error, "cannot remove a proxy that left");
            }
        });
    }
}

async fn deregister(store: &SharedStore, proxy: &ResourceKey, instance_id: &str) -> Result<(), StoreError> {
    if let Some(insight) = store.get(&insight_key(proxy)).await?
        && last_instance(&insight).is_some_and(|last| last != instance_id)
    {
        return Ok(());
    }
    match store.commit(vec![Write::Delete { key: proxy.clone(), expected: None }]).await {
        Ok(_) => {
            info!(%proxy, "proxy left and was removed");
            Ok(())
        }
        Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The instance that the proxy was last connected to, as far as its insight tells.
fn last_instance(insight: &Resource) -> Option<String> {
    let subscriptions = match insight.kind() {
        Kind::ZoneIngressInsight => insight.proto::<pb::ZoneIngressInsight>().ok()?.subscriptions,
        Kind::ZoneEgressInsight => insight.proto::<pb::ZoneEgressInsight>().ok()?.subscriptions,
        _ => insight.proto::<pb::DataplaneInsight>().ok()?.subscriptions,
    };
    subscriptions.into_iter().next_back().map(|subscription| subscription.control_plane_instance_id)
}
