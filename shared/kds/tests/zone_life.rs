//! The life of a zone: disabled and enabled, renamed, deleted, and many of them at once after a restart of global.

mod common;

use std::time::Duration;

use common::*;
use tandem_kds::global::{DisabledZones, GlobalSettings};
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::system::v1alpha1::{Zone, ZoneInsight};
use tandem_store::SharedStore;
use tokio::time::Instant;

fn zone_key(name: &str) -> ResourceKey {
    ResourceKey::global(Kind::Zone, name)
}

fn zone_resource(name: &str, enabled: bool) -> Resource {
    Resource::from_proto(zone_key(name), &Zone { enabled: Some(enabled) })
}

async fn insight(store: &SharedStore, zone: &str) -> ZoneInsight {
    let key = ResourceKey::global(Kind::ZoneInsight, zone);
    store.get(&key).await.expect("readable").map(|insight| insight.proto().expect("an insight")).unwrap_or_default()
}

async fn exists(store: &SharedStore, key: &ResourceKey) -> bool {
    store.get(key).await.expect("readable").is_some()
}

/// Waits until `zone` answers a question to one of its Envoys, which travels beside synchronization.
async fn answers(global: &RunningGlobal, zone: &str) {
    let proxy = Resource::new(ResourceKey::new(Kind::Dataplane, "default", "hashed"), Spec::Proto(Default::default()))
        .with_labels([(label::ZONE, zone), (label::DISPLAY_NAME, "web")]);
    let began = Instant::now();
    while let Err(error) = global.envoys.ask(&proxy, AdminOperation::Clusters { json: false }).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_zone_rests_and_goes_on_without_a_new_connection() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let west = RunningZone::start("west", &west_store, global.address);
    put(&global_store, timeout("before", "1s")).await;
    put(&east_store, service("redis")).await;
    let of_east = |name: &str| synced_from("east", &service(name).key);
    let below = |name: &str| synced_from_global(&timeout(name, "").key);
    wait_until_exists(&west_store, &of_east("redis")).await;
    wait_until_exists(&east_store, &below("before")).await;
    let since = global.status.peer("east").expect("connected").connected;
    assert!(since.is_some());

    put(&global_store, zone_resource("east", false)).await;
    wait_until_gone(&west_store, &of_east("redis")).await;
    // More than fits into the flow control window of a stream, so that leaving it unread would show.
    let mut large = service("large");
    large.spec = Spec::Json(serde_json::json!({
        "selector": {"dataplaneTags": {"app": "large"}},
        "ports": [{"port": 80, "targetPort": 80, "appProtocol": "http"}],
        "padding": "x".repeat(3 << 20),
    }));
    put(&east_store, large).await;
    put(&east_store, service("late")).await;
    put(&global_store, timeout("during", "1s")).await;
    put(&west_store, service("busy")).await;
    wait_until_exists(&west_store, &below("during")).await;
    wait_until_exists(&global_store, &synced_from("west", &service("busy").key)).await;
    answers(&global, "east").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!exists(&east_store, &below("during")).await, "nothing is sent to it");
    assert!(!exists(&global_store, &of_east("large")).await, "nothing of it is applied");
    assert!(!exists(&global_store, &of_east("late")).await, "nothing of it is applied");
    assert!(exists(&global_store, &of_east("redis")).await, "what was applied stays");
    assert!(insight(&global_store, "east").await.subscriptions.iter().any(|s| s.disconnect_time.is_none()));

    put(&global_store, zone_resource("east", true)).await;
    wait_until_exists(&east_store, &below("during")).await;
    for name in ["large", "late", "redis"] {
        wait_until_exists(&global_store, &of_east(name)).await;
        wait_until_exists(&west_store, &of_east(name)).await;
    }
    assert_eq!(global.status.peer("east").expect("connected").connected, since);
    east.stop().await;
    west.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_disabled_from_the_start_waits() {
    let (global_store, zone_store) = (store(), store());
    put(&global_store, zone_resource("east", false)).await;
    put(&global_store, mesh("default")).await;
    put(&zone_store, service("redis")).await;
    let global = RunningGlobal::start(&global_store).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    answers(&global, "east").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!exists(&zone_store, &mesh("default").key).await);
    assert!(!exists(&global_store, &synced_from("east", &service("redis").key)).await);
    put(&global_store, zone_resource("east", true)).await;
    wait_until_exists(&zone_store, &mesh("default").key).await;
    wait_until_exists(&global_store, &synced_from("east", &service("redis").key)).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_zones_are_synchronized_if_so_configured() {
    let (global_store, zone_store) = (store(), store());
    put(&global_store, zone_resource("east", false)).await;
    put(&global_store, mesh("default")).await;
    put(&zone_store, service("redis")).await;
    let settings = GlobalSettings { disabled_zones: DisabledZones::Sync, ..GlobalSettings::new(common("global-0001")) };
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_with(settings, &global_store, address, None).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &mesh("default").key).await;
    wait_until_exists(&global_store, &synced_from("east", &service("redis").key)).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_zone_whose_zone_is_deleted_registers_again() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&zone_store, service("redis")).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let above = synced_from("east", &service("redis").key);
    wait_until_exists(&global_store, &above).await;
    let first = global_store.get(&zone_key("east")).await.expect("readable").expect("exists").version;

    delete(&global_store, &zone_key("east")).await;
    wait_for(&global_store, &zone_key("east"), |zone| zone.is_some_and(|zone| zone.version > first)).await;
    wait_until_exists(&global_store, &above).await;
    wait_for(&global_store, &ResourceKey::global(Kind::ZoneInsight, "east"), |insight| {
        let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
        insight.subscriptions.iter().filter(|s| s.disconnect_time.is_none()).count() == 1
    })
    .await;
    assert!(zone_store.get(&service("redis").key).await.expect("readable").is_some());
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_zone_takes_all_it_owned_with_it() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&east_store, service("redis")).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let west = RunningZone::start("west", &west_store, global.address);
    let redis = synced_from("east", &service("redis").key);
    wait_until_exists(&west_store, &redis).await;
    east.stop().await;
    eventually("east is offline", || global.status.peer("east").is_some_and(|peer| peer.connected.is_none())).await;
    assert!(exists(&west_store, &redis).await, "what a zone offers outlives its connection");

    delete(&global_store, &zone_key("east")).await;
    wait_until_gone(&west_store, &redis).await;
    assert!(!exists(&global_store, &redis).await);
    eventually("nothing is remembered", || global.status.peer("east").is_none()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!exists(&global_store, &ResourceKey::global(Kind::ZoneInsight, "east")).await, "no insight comes back");
    west.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_zone_is_a_new_zone_and_the_old_one_can_be_deleted() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&zone_store, service("redis").with_labels([(label::ZONE, "east"), (label::ORIGIN, "zone")])).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let (old, new) = (synced_from("east", &service("redis").key), synced_from("north", &service("redis").key));
    wait_until_exists(&global_store, &old).await;
    zone.stop().await;

    let zone = RunningZone::start("north", &zone_store, global.address);
    wait_until_exists(&global_store, &new).await;
    let renamed = global_store.get(&new).await.expect("readable").expect("exists");
    assert_eq!(renamed.label(label::ZONE), Some("north"), "whatever the zone's store says");
    assert_eq!(renamed.owner, Some(zone_key("north")));
    assert!(exists(&global_store, &old).await, "the old Zone stays until somebody deletes it");
    assert!(insight(&global_store, "east").await.subscriptions.iter().all(|s| s.disconnect_time.is_some()));

    delete(&global_store, &zone_key("east")).await;
    assert!(!exists(&global_store, &old).await);
    assert!(exists(&global_store, &new).await);
    put(&global_store, mesh("later")).await;
    wait_until_exists(&zone_store, &mesh("later").key).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_zones_come_back_after_a_restart_of_global() {
    const ZONES: usize = 200;
    const LIMIT: Duration = Duration::from_secs(180);

    async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < LIMIT, "{what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    let global_store = store();
    let global = RunningGlobal::start(&global_store).await;
    let address = global.address;
    put(&global_store, timeout("t", "1s")).await;
    let mut zones = Vec::new();
    for index in 0..ZONES {
        let zone_store = store();
        put(&zone_store, service("redis")).await;
        zones.push(RunningZone::start(&format!("zone-{index}"), &zone_store, address));
    }
    let redis = |index: usize| synced_from(&format!("zone-{index}"), &service("redis").key);
    let below = synced_from_global(&timeout("t", "").key);
    for (index, zone) in zones.iter().enumerate() {
        until("a zone is in sync", async || {
            exists(&zone.store, &below).await && exists(&global_store, &redis(index)).await
        })
        .await;
    }

    global.stop().await;
    put(&global_store, timeout("t", "2s")).await;
    for zone in &zones {
        let mut redis = service("redis");
        redis.labels.insert("team".to_owned(), "b".to_owned());
        put(&zone.store, redis).await;
    }
    let global = RunningGlobal::start_at(&global_store, address, None).await;
    for (index, zone) in zones.iter().enumerate() {
        until("a zone is in sync again", async || {
            let (down, up) = (zone.store.get(&below).await, global_store.get(&redis(index)).await);
            down.expect("readable").is_some_and(|timeout_now| timeout_now.spec == timeout("", "2s").spec)
                && label_of(up.expect("readable").as_deref(), "team").as_deref() == Some("b")
        })
        .await;
    }
    // Nobody had to come more than once after the restart: one connection before it, one after it.
    for index in 0..ZONES {
        let name = format!("zone-{index}");
        until("the insight is written", async || {
            let connections = insight(&global_store, &name).await.subscriptions;
            connections.len() == 2
                && connections[0].disconnect_time.is_some()
                && connections[1].disconnect_time.is_none()
        })
        .await;
    }
    for zone in zones {
        zone.stop().await;
    }
    global.stop().await;
}
