//! Keeps the index of all meshes current with the store and wakes the proxies that a change concerns.
//!
//! One task owns the index; everybody else reads immutable snapshots of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_model::Kind;
use tandem_store::{ChangeBatch, SharedStore};
use tandem_xds::{MeshIndex, Problem, Snapshot, Touched};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::hostnames::Hostnames;
use crate::left_out::LeftOut;
use crate::proxy::registry::Registry;
use crate::proxy::waking::Waking;

/// A new mesh comes before its secrets, so that what it lacks is a matter for the log only if it still does after this time.
const ARRIVAL: Duration = Duration::from_secs(5);

/// The newest snapshot of all meshes.
pub type CurrentSnapshot = Arc<ArcSwap<Snapshot>>;

/// Who is told of the state of the meshes.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    /// Where the newest snapshot is published.
    pub current: &'a CurrentSnapshot,
    /// The connected proxies.
    pub registry: &'a Registry,
    /// Who wants to know what is left out.
    pub left_out: &'a LeftOut,
    /// Counts the snapshots, for those who look at all of them.
    pub published: &'a watch::Sender<u64>,
}

/// Follows the store from the start until the token is cancelled. Calls `on_first` when the first snapshot is complete.
pub async fn follow(
    mut index: MeshIndex,
    mut hostnames: Hostnames,
    store: &SharedStore,
    audience: Audience<'_>,
    on_first: impl FnOnce(),
    shutdown: &CancellationToken,
) {
    let mut feed = store.changes(0);
    let mut on_first = Some(on_first);
    let Audience { current, registry, left_out, published } = audience;
    let mut problems = index.snapshot().problems_revision();
    let mut of_meshes = OfMeshes::default();
    let mut waking = Waking::default();
    loop {
        let touched = tokio::select! {
            () = shutdown.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => apply(&mut index, &batch, &hostnames),
                None => return,
            },
            (name, address) = hostnames.next() => index.resolve(&name, Some(address)),
            () = of_meshes.due() => {
                of_meshes.tell(&index.snapshot());
                continue;
            }
            () = waking.turn() => {
                waking.wake();
                continue;
            }
        };
        hostnames.follow(index.hostnames());
        for problem in index.take_problems() {
            match problem.key.kind {
                Kind::Mesh => of_meshes.found.push_back((Instant::now() + ARRIVAL, problem)),
                _ => tell(&problem),
            }
        }
        let snapshot = index.snapshot();
        if problems != snapshot.problems_revision() {
            problems = snapshot.problems_revision();
            let reasons = snapshot.problems().map(|(key, reasons)| (key.clone(), reasons.iter().cloned().collect()));
            left_out.of_all(reasons.collect());
        }
        current.store(snapshot);
        waking.add(registry.wake(&touched));
        published.send_modify(|count| *count += 1);
        if let Some(on_first) = on_first.take() {
            on_first();
        }
    }
}

fn tell(problem: &Problem) {
    warn!(%problem, "left out of the mesh");
}

/// Problems of meshes that may pass, with the time when they should have.
#[derive(Debug, Default)]
struct OfMeshes {
    found: VecDeque<(Instant, Problem)>,
}

impl OfMeshes {
    /// Waits until the first of them should have passed; for ever when there is none.
    async fn due(&self) {
        match self.found.front() {
            Some((time, _)) => sleep_until(*time).await,
            None => std::future::pending().await,
        }
    }

    /// Tells those that should have passed and did not.
    fn tell(&mut self, snapshot: &Snapshot) {
        while let Some((_, problem)) = self.found.pop_front_if(|(time, _)| *time <= Instant::now()) {
            if snapshot.problems_of(&problem.key).contains(&problem.reason) {
                tell(&problem);
            }
        }
    }
}

fn apply(index: &mut MeshIndex, batch: &ChangeBatch, hostnames: &Hostnames) -> Touched {
    match batch {
        ChangeBatch::Changes { changes, .. } => {
            index.apply(changes.iter().map(|change| (&change.key, change.new.as_ref())))
        }
        ChangeBatch::Reset { resources, .. } => {
            let touched = index.reset(resources);
            for (name, address) in hostnames.known() {
                index.resolve(name, Some(address));
            }
            touched
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tandem_model::{Kind, Resource, ResourceKey};
    use tandem_proto::mesh::v1alpha1 as pb;
    use tandem_store::{MemoryStore, Write};
    use tandem_xds::ZoneSettings;

    use super::*;

    #[tokio::test]
    async fn a_proxy_with_a_host_name_for_address_joins_when_the_name_was_looked_up() {
        let mesh = Resource::from_proto(ResourceKey::global(Kind::Mesh, "m"), &pb::Mesh::default());
        let networking = pb::dataplane::Networking { address: "localhost".to_owned(), ..Default::default() };
        let dataplane = pb::Dataplane { networking: Some(networking), ..Default::default() };
        let dataplane = Resource::from_proto(ResourceKey::new(Kind::Dataplane, "m", "d"), &dataplane);
        let store: SharedStore = Arc::new(MemoryStore::new());
        store.commit(vec![Write::Create(mesh), Write::Create(dataplane)]).await.expect("both are new");

        let index = MeshIndex::new(ZoneSettings::new("zone"));
        let current: CurrentSnapshot = Arc::new(ArcSwap::new(index.snapshot()));
        let registry = Arc::new(Registry::default());
        let waiting = registry.connect(&ResourceKey::new(Kind::Dataplane, "m", "d")).expect("the only stream");
        let (hostnames, shutdown) = (Hostnames::new(Duration::from_secs(10)), CancellationToken::new());
        let (left_out, published) = (LeftOut::default(), watch::Sender::default());
        let audience = Audience { current: &current, registry: &registry, left_out: &left_out, published: &published };
        let follow = follow(index, hostnames, &store, audience, || {}, &shutdown);
        let joined = async {
            while current.load().dataplane("m", "d").is_none() {
                waiting.dirty().notified().await;
            }
            shutdown.cancel();
        };
        let done = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(follow, joined) }).await;
        done.expect("the proxy is woken when the address of its host is known");
    }
}
