//! Keeps current what Prometheus is told.

use std::sync::Arc;
use std::time::Duration;

use tandem_xds::monitoring::MonitoringAssignments;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::mesh_state::CurrentSnapshot;
use crate::pace::Pace;

/// What Prometheus is told, and every time that changes; `None` until the state of the meshes is known.
pub type Feed = watch::Receiver<Option<Arc<MonitoringAssignments>>>;

/// Makes assignments from each new snapshot, at most once per `min_interval`, until the token is cancelled. `changed` tells that
/// there is a new snapshot.
pub async fn follow(
    snapshot: CurrentSnapshot,
    mut changed: watch::Receiver<u64>,
    min_interval: Duration,
    out: watch::Sender<Option<Arc<MonitoringAssignments>>>,
    shutdown: CancellationToken,
) {
    let mut pace = Pace::new(min_interval);
    let mut told = Arc::new(MonitoringAssignments::default());
    // Before the first snapshot nothing is known, which is not the same as nothing.
    while shutdown.run_until_cancelled(changed.changed()).await.is_some_and(|changed| changed.is_ok()) {
        pace.want();
        if shutdown.run_until_cancelled(pace.round()).await.is_none() {
            return;
        }
        pace.begin();
        changed.borrow_and_update();
        let (before, now) = (told.clone(), snapshot.load_full());
        // All proxies of a mesh may be concerned, which takes a while for many.
        let next = tokio::task::spawn_blocking(move || Arc::new(before.following(&now))).await;
        match next {
            Ok(next) => told = next,
            Err(error) => {
                error!(%error, "cannot make monitoring assignments; the earlier ones stay");
                continue;
            }
        }
        out.send_if_modified(|last| {
            let differs = last.as_ref().is_none_or(|last| !last.tells_the_same(&told));
            if differs {
                *last = Some(told.clone());
            }
            differs
        });
    }
}
