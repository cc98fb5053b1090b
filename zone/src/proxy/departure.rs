//! What happens when a proxy that brought its own resource disconnects.
//!
//! The resource stays for the deregistration delay, so that a proxy that comes back is served at once and nobody notices; then
//! it is deleted. It stays for good when this control plane stops, or when the proxy meanwhile connected to another instance.

use std::sync::Arc;
use std::time::Duration;

use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::Registry;
use super::removal::{Removal, remove};
use super::returning::Returning;

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
    /// What proxies left behind.
    pub returning: Arc<Returning>,
    /// Cancelled when this control plane stops.
    pub shutdown: CancellationToken,
}

impl Drop for Departure {
    fn drop(&mut self) {
        // Without a runtime the process is ending, which keeps the resource anyway.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Self { proxy, connection, registered, delay, instance_id, store, registry, returning, shutdown } = self;
        let (proxy, connection, registered, delay) = (proxy.clone(), *connection, *registered, *delay);
        let (instance_id, store, registry) = (instance_id.clone(), store.clone(), registry.clone());
        let (returning, shutdown) = (returning.clone(), shutdown.clone());
        if shutdown.is_cancelled() {
            return;
        }
        runtime.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            returning.forget(&proxy, connection);
            // It may have come back.
            let Some(vacancy) = registry.vacate(&proxy, Some(connection)) else { return };
            if registered {
                deregister(&store, &proxy, &instance_id).await;
            }
            vacancy.forget();
        });
    }
}

async fn deregister(store: &SharedStore, proxy: &ResourceKey, instance_id: &str) {
    let is_gone = |subscriptions: &[pb::DiscoverySubscription]| {
        subscriptions.last().is_none_or(|last| last.control_plane_instance_id == instance_id)
    };
    match remove(store, proxy, is_gone).await {
        Ok(Removal::Done) => info!(%proxy, "proxy left and was removed"),
        Ok(Removal::Kept) => info!(%proxy, "proxy left for another instance"),
        Ok(Removal::Absent) => {}
        Err(error) => warn!(%proxy, %error, "cannot remove a proxy that left"),
    }
}
