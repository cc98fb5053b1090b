//! Keeps the index of all meshes current with the store and wakes the proxies that a change concerns.
//!
//! One task owns the index; everybody else reads immutable snapshots of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tandem_store::{ChangeBatch, SharedStore};
use tandem_xds::{MeshIndex, Snapshot, Touched};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::proxy::registry::Registry;

/// The newest snapshot of all meshes.
pub type CurrentSnapshot = Arc<ArcSwap<Snapshot>>;

/// Follows the store from the start until the token is cancelled. Calls `on_first` when the first snapshot is complete.
pub async fn follow(
    mut index: MeshIndex,
    store: &SharedStore,
    current: &CurrentSnapshot,
    registry: &Registry,
    on_first: impl FnOnce(),
    shutdown: &CancellationToken,
) {
    let mut feed = store.changes(0);
    let mut on_first = Some(on_first);
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        let touched = match &batch {
            ChangeBatch::Changes { changes, .. } => {
                index.apply(changes.iter().map(|change| (&change.key, change.new.as_ref())))
            }
            ChangeBatch::Reset { resources, .. } => {
                index.reset(resources);
                Touched { everything: true, ..Touched::default() }
            }
        };
        for problem in index.take_problems() {
            warn!(%problem, "left out of the mesh");
        }
        current.store(index.snapshot());
        registry.wake(&touched);
        if let Some(on_first) = on_first.take() {
            on_first();
        }
    }
}
