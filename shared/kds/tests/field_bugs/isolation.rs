//! One resource that cannot be applied, and everything else.

use serde_json::json;
use tandem_kds::mapper;
use tandem_kds::wire::DeltaResponse;
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_store::{SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;

use super::common::*;
use super::global::{Line, ScriptedGlobal};

/// Changes of one resource that two sides make at the same time.
const CHANGES: usize = 200;

async fn idle_timeout(store: &SharedStore, key: &ResourceKey, idle: &str) {
    wait_for(store, key, |resource| resource.is_some_and(|r| r.spec == timeout("", idle).spec)).await;
}

// #12776, #11426: an invalid policy kept all others of its type away, also once it was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_resource_among_the_first_blocks_none_of_its_type() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    for name in ["a", "c"] {
        put(&global_store, timeout(name, "1s")).await;
    }
    put(&global_store, timeout("b", "1s").with_labels([("invalid", "spoiled")])).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let copy = |name: &str| synced_from_global(&timeout(name, "").key);
    for name in ["a", "c"] {
        idle_timeout(&zone_store, &copy(name), "1s").await;
    }
    let since = zone.status.peer("global").expect("connected").connected;
    // The type goes on while the invalid one is there, changes, and goes.
    put(&global_store, timeout("a", "2s")).await;
    idle_timeout(&zone_store, &copy("a"), "2s").await;
    put(&global_store, timeout("b", "2s").with_labels([("invalid", "still")])).await;
    put(&global_store, timeout("c", "2s")).await;
    idle_timeout(&zone_store, &copy("c"), "2s").await;
    delete(&global_store, &timeout("b", "").key).await;
    put(&global_store, timeout("d", "1s")).await;
    idle_timeout(&zone_store, &copy("d"), "1s").await;
    assert!(zone_store.get(&copy("b")).await.expect("readable").is_none());
    assert_eq!(zone.status.peer("global").expect("connected").connected, since, "the connection is the same");
    zone.stop().await;
    global.stop().await;
}

// #18077: a name that the store of the zone did not take ended the session, and the next one in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_store_refuses_is_left_out_alone() {
    let (global, zone_store) = (ScriptedGlobal::listen("east").await, store());
    let zone = RunningZone::start("east", &zone_store, global.address);
    global.until_connected().await;
    let body = |name: &str| {
        let resource = timeout(name, "1s").with_labels([(label::ORIGIN, label::ORIGIN_GLOBAL)]);
        mapper::encode_for_zones(&resource, false, &[]).expect("encodable").body
    };
    let response = |nonce: &str, names: &[&str]| DeltaResponse {
        type_url: "MeshTimeout".into(),
        nonce: nonce.into(),
        resources: names.iter().map(|name| body(name)).collect(),
        ..DeltaResponse::default()
    };
    let complaint = global.send(response("1", &["good", "", "with\0nul"])).await.expect("two are refused");
    assert_eq!(complaint.lines().count(), 2, "{complaint}");
    wait_until_exists(&zone_store, &timeout("good", "").key).await;
    assert_eq!(global.send(response("2", &["better"])).await, None);
    wait_until_exists(&zone_store, &timeout("better", "").key).await;
    assert_eq!(zone_store.list(Kind::MeshTimeout, None).await.expect("readable").len(), 2);
    assert_eq!((global.opened(Line::Down), global.opened(Line::Up)), (1, 1), "the session goes on");
    zone.stop().await;
}

/// Writes a status of its own again and again, as those do who give out addresses.
async fn keep_writing(store: SharedStore, key: ResourceKey, until: CancellationToken) -> usize {
    let mut written = 0;
    while !until.is_cancelled() {
        let present = store.get(&key).await.expect("readable").expect("nobody deletes it");
        let mut resource = Resource::clone(&present);
        resource.status = Some(json!({"vips": [{"ip": format!("241.0.{}.{}", written / 250, written % 250)}]}));
        match store.commit(vec![Write::Update { resource, expected: Some(present.version) }]).await {
            Ok(_) => written += 1,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    written
}

// #17738: a writer in the zone that was faster ended the stream, and what it had carried was taken as delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_in_the_zone_costs_neither_the_stream_nor_a_change() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let from_west = |port: usize| {
        let mut service = service("redis").with_labels([(label::ZONE, "west"), (label::ORIGIN, label::ORIGIN_ZONE)]);
        service.spec = tandem_model::Spec::Json(json!({
            "selector": {"dataplaneTags": {"app": "redis"}},
            "ports": [{"port": port, "targetPort": 80, "appProtocol": "http"}],
        }));
        service
    };
    put(&global_store, from_west(1)).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let copy = synced_from("west", &service("redis").key);
    wait_until_exists(&zone_store, &copy).await;
    let since = zone.status.peer("global").expect("connected").connected;

    let until = CancellationToken::new();
    let writer = tokio::spawn(keep_writing(zone_store.clone(), copy.clone(), until.clone()));
    for port in 2..=CHANGES {
        put(&global_store, from_west(port)).await;
        tokio::task::yield_now().await;
    }
    wait_for(&zone_store, &copy, |resource| resource.is_some_and(|r| r.spec == from_west(CHANGES).spec)).await;
    until.cancel();
    assert!(writer.await.expect("ended") > 0);
    let kept = zone_store.get(&copy).await.expect("readable").expect("exists");
    assert!(kept.status.as_ref().is_some_and(|status| !status["vips"].is_null()), "{:?}", kept.status);
    let peer = zone.status.peer("global").expect("connected");
    assert_eq!(peer.connected, since, "the connection is the same");
    assert_eq!(peer.received[&Kind::MeshService].rejected, 0);
    zone.stop().await;
    global.stop().await;
}
