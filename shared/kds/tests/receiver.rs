//! What becomes of resources that a peer does not list any more: it deleted them, or it lost them.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use tandem_kds::DeletionGuard;
use tandem_kds::global::GlobalSettings;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Encryption, KeySource, SharedStore, SledStore};

const SERVICES: usize = 12;

/// A store on disk. The one before it in the directory may still be closing.
async fn on_disk(directory: &Path) -> SharedStore {
    let encryption = Encryption { enabled: true, keys: KeySource::FileOrNew(directory.join("store.key")) };
    Arc::new(SledStore::open(directory, &encryption).await.expect("an intact store"))
}

fn services(count: usize) -> Vec<Resource> {
    (0..count).map(|n| service(&format!("s{n}"))).collect()
}

async fn put_all(store: &SharedStore, resources: Vec<Resource>) {
    for resource in resources {
        put(store, resource).await;
    }
}

async fn count(store: &SharedStore, kind: Kind) -> usize {
    store.list(kind, None).await.expect("readable").len()
}

async fn wait_for_count(store: &SharedStore, kind: Kind, wanted: usize) {
    let mut feed = store.changes(0);
    let reached = async {
        while count(store, kind).await != wanted {
            feed.next().await.expect("the store is open");
        }
    };
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        panic!("there are {} of {kind}, not {wanted}", count(store, kind).await);
    }
}

fn held(global: &RunningGlobal, zone: &str, kind: Kind) -> usize {
    let peer = global.status.peer(zone);
    let held = peer.and_then(|peer| peer.received.get(&kind)?.held.clone());
    held.map_or(0, |held| held.resources.len())
}

fn holding(hold: Duration) -> GlobalSettings {
    let mut settings = global_settings();
    settings.common.deletion_guard = DeletionGuard { hold, ..DeletionGuard::default() };
    settings
}

async fn start_global(hold: Duration, store: &SharedStore) -> RunningGlobal {
    RunningGlobal::start_with(holding(hold), store, "127.0.0.1:0".parse().expect("an address"), None).await
}

/// `east` has come back with another disk on which there is one of its services, and a new one.
struct Lost {
    global: RunningGlobal,
    east: RunningZone,
    west: RunningZone,
    _disks: [tempfile::TempDir; 2],
}

async fn lost_disk(hold: Duration) -> Lost {
    let disks = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let (global_store, west_store) = (store(), store());
    let global = start_global(hold, &global_store).await;
    let west = RunningZone::start("west", &west_store, global.address);
    let east_store = on_disk(disks[0].path()).await;
    put_all(&east_store, services(SERVICES)).await;
    let east = RunningZone::start("east", &east_store, global.address);
    wait_for_count(&west_store, Kind::MeshService, SERVICES).await;
    east.stop().await;

    let east_store = on_disk(disks[1].path()).await;
    put_all(&east_store, services(1)).await;
    put(&east_store, service("new")).await;
    let east = RunningZone::start("east", &east_store, global.address);
    wait_until_exists(&west_store, &synced_from("east", &service("new").key)).await;
    Lost { global, east, west, _disks: disks }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_lost_its_disk_keeps_its_services_elsewhere_until_somebody_releases_them() {
    let Lost { global, east, west, .. } = lost_disk(Duration::ZERO).await;
    assert_eq!(held(&global, "east", Kind::MeshService), SERVICES - 1);
    assert_eq!(count(&west.store, Kind::MeshService).await, SERVICES + 1);
    // What comes back is not held any more, and what is deleted by name goes.
    put(&east.store, service("s1")).await;
    eventually("s1 is back", || held(&global, "east", Kind::MeshService) == SERVICES - 2).await;
    delete(&east.store, &service("s1").key).await;
    wait_until_gone(&west.store, &synced_from("east", &service("s1").key)).await;
    assert_eq!(count(&west.store, Kind::MeshService).await, SERVICES);

    assert_eq!(global.status.release("east", Kind::MeshService), Ok(SERVICES - 2));
    wait_for_count(&west.store, Kind::MeshService, 2).await;
    eventually("nothing is held", || held(&global, "east", Kind::MeshService) == 0).await;
    for zone in [east, west] {
        zone.stop().await;
    }
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_lost_its_disk_loses_its_services_elsewhere_after_a_while() {
    let Lost { global, east, west, .. } = lost_disk(Duration::from_millis(300)).await;
    wait_for_count(&west.store, Kind::MeshService, 2).await;
    eventually("nothing is held", || held(&global, "east", Kind::MeshService) == 0).await;
    for zone in [east, west] {
        zone.stop().await;
    }
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_zone_deleted_while_it_was_away_goes_at_once_also_after_both_were_restarted() {
    let disks = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let west_store = store();
    {
        let (global_store, east_store) = (on_disk(disks[0].path()).await, on_disk(disks[1].path()).await);
        put_all(&east_store, services(SERVICES)).await;
        let global = start_global(Duration::ZERO, &global_store).await;
        let west = RunningZone::start("west", &west_store, global.address);
        let east = RunningZone::start("east", &east_store, global.address);
        wait_for_count(&west_store, Kind::MeshService, SERVICES).await;
        for zone in [east, west] {
            zone.stop().await;
        }
        global.stop().await;
        for service in services(SERVICES) {
            delete(&east_store, &service.key).await;
        }
    }
    let (global_store, east_store) = (on_disk(disks[0].path()).await, on_disk(disks[1].path()).await);
    assert_eq!(count(&global_store, Kind::MeshService).await, SERVICES);
    let global = start_global(Duration::ZERO, &global_store).await;
    let west = RunningZone::start("west", &west_store, global.address);
    let east = RunningZone::start("east", &east_store, global.address);
    wait_for_count(&global_store, Kind::MeshService, 0).await;
    wait_for_count(&west_store, Kind::MeshService, 0).await;
    for zone in [east, west] {
        zone.stop().await;
    }
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_lost_its_store_takes_no_mesh_from_a_zone() {
    let zone_store = store();
    let owned = || service("inside").with_owner(mesh("payments").key);
    let first = store();
    put_all(&first, vec![mesh("default"), mesh("payments")]).await;
    let global = RunningGlobal::start(&first).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &mesh("payments").key).await;
    put(&zone_store, owned()).await;
    zone.stop().await;
    global.stop().await;

    let second = store();
    put_all(&second, vec![mesh("default"), timeout("t", "1s")]).await;
    let global = RunningGlobal::start(&second).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &synced_from_global(&timeout("t", "").key)).await;
    eventually("the mesh is held", || {
        let peer = zone.status.peer("global");
        peer.and_then(|peer| peer.received.get(&Kind::Mesh)?.held.clone()).is_some_and(|held| held.resources.len() == 1)
    })
    .await;
    assert!(zone_store.get(&ResourceKey::global(Kind::Mesh, "payments")).await.expect("readable").is_some());
    assert!(zone_store.get(&owned().key).await.expect("readable").is_some());

    assert_eq!(zone.status.release("global", Kind::Mesh), Ok(1));
    wait_until_gone(&zone_store, &owned().key).await;
    zone.stop().await;
    global.stop().await;
}
