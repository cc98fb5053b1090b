//! How far synchronization is, as it is told over HTTP by a global and a zone that are connected.

mod support;
#[path = "../../kds/tests/common/mod.rs"]
mod synchronization;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::{Api, Setup};
use synchronization::{PATIENCE, RunningGlobal, RunningZone, put, store, timeout};
use tandem_model::{Kind, Mode, ResourceKey};
use tandem_store::SharedStore;

const FEDERATED: Mode = Mode::Zone { federated: true };

/// A global and the zone `east`, with their APIs.
struct Pair {
    global: RunningGlobal,
    zone: RunningZone,
    global_store: SharedStore,
    above: Api,
    below: Api,
}

impl Pair {
    async fn start() -> Self {
        let (global_store, zone_store) = (store(), store());
        let global = RunningGlobal::start(&global_store).await;
        let zone = RunningZone::start("east", &zone_store, global.address);
        let (above, below) = (global.status.clone(), zone.status.clone());
        let above = Setup { store: global_store.clone(), status: above, ..Setup::new(Mode::Global) }.start().await;
        let below = Setup { store: zone_store, status: below, ..Setup::new(FEDERATED) }.start().await;
        Self { global, zone, global_store, above, below }
    }

    async fn stop(self) {
        self.zone.stop().await;
        self.global.stop().await;
    }
}

/// Asks until the answer is as wanted.
async fn until(api: &Api, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let answer = api.get(path).await;
        if answer.status == 200 && wanted(&answer.json()) {
            return answer.json();
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn of<'a>(peer: &'a Value, direction: &str, kind: &str) -> &'a Value {
    let types = peer[direction].as_array().expect("detailed");
    types.iter().find(|row| row["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_faces_tell_how_far_the_other_is() {
    let pair = Pair::start().await;
    put(&pair.global_store, timeout("good", "1s")).await;
    let east = until(&pair.above, "/zones/east/_sync", |zone| {
        zone["state"] == "in sync" && of(zone, "sent", "MeshTimeout")["resources"] == 1
    })
    .await;
    assert_eq!(
        (&east["name"], &east["instance"], &east["version"]),
        (&json!("east"), &json!("east-0001"), &json!("2.13.10"))
    );
    assert_eq!((&east["pending"], &east["lagSeconds"], &east["leftOut"]), (&json!(0), &json!(0.0), &json!(0)));
    assert!(east["connectedSince"].is_string() && east["disconnectedSince"].is_null());
    let timeouts = of(&east, "sent", "MeshTimeout");
    assert_eq!(timeouts["revision"], timeouts["acknowledgedRevision"]);
    assert!(timeouts["bytes"].as_u64() > Some(0) && timeouts["acknowledged"].as_u64() > Some(0), "{timeouts}");
    assert!(of(&east, "received", "Dataplane").is_object());

    let overview = pair.above.get("/_sync").await.json();
    assert_eq!(overview["total"]["states"]["in sync"], 1);
    assert_eq!(overview["items"].as_array().map(Vec::len), Some(1));
    assert!(overview["items"][0]["sent"].is_null(), "a line for each zone");

    let zone = until(&pair.below, "/_sync", |zone| zone["items"][0]["state"] == "in sync").await;
    assert_eq!(zone["items"][0]["name"], "global");
    assert_eq!(of(&zone["items"][0], "received", "MeshTimeout")["resources"], 1);
    assert!(of(&zone["items"][0], "sent", "Dataplane")["acknowledgedRevision"].is_number());

    // What the zone refuses is named on both sides.
    put(&pair.global_store, timeout("good", "2s").with_labels([("invalid", "spoiled")])).await;
    let east = until(&pair.above, "/zones/east/_sync", |zone| zone["leftOut"] == 1).await;
    let left_out = &of(&east, "sent", "MeshTimeout")["leftOut"];
    assert_eq!((&left_out["total"], &left_out["items"][0]["name"]), (&json!(1), &json!("good")));
    assert!(left_out["items"][0]["reason"].as_str().is_some_and(|reason| reason.contains("spec: spoiled")));
    assert!(left_out["items"][0]["since"].is_string());
    assert!(east["error"]["text"].as_str().is_some_and(|text| text.starts_with("MeshTimeout: ")), "{east}");
    let zone = until(&pair.below, "/_sync", |zone| zone["items"][0]["leftOut"] == 1).await;
    assert_eq!(of(&zone["items"][0], "received", "MeshTimeout")["leftOut"]["items"][0]["mesh"], "default");

    let Pair { zone, global, above, .. } = pair;
    zone.stop().await;
    // The last of its streams ends a moment after the first one.
    let is_away = |zone: &Value| zone["state"] == "offline" && zone["disconnectedSince"].is_string();
    until(&above, "/_sync", |sync| is_away(&sync["items"][0])).await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_there_is_told_so() {
    let pair = Pair::start().await;
    until(&pair.above, "/_sync", |sync| sync["items"][0]["state"] == "in sync").await;
    let title = "Could not retrieve the state of synchronization".to_owned();
    assert_eq!(pair.above.get("/zones/west/_sync").await.problem(), (404, title, "Not found".to_owned()));
    assert_eq!(pair.below.get("/zones/east/_sync").await.status, 404, "zones know global only");
    assert_eq!(pair.above.send(pair.above.request(Method::DELETE, "/_sync")).await.status, 405);

    let refused = "Could not release held deletions".to_owned();
    let release = async |api: &Api, path: &str| api.send(api.request(Method::POST, path)).await.problem();
    let nothing = (409, refused.clone(), "no deletion of this type is held back".to_owned());
    assert_eq!(release(&pair.above, "/zones/east/_sync/Dataplane/_release").await, nothing);
    assert_eq!(release(&pair.below, "/_sync/MeshTimeout/_release").await, nothing);
    let missing = (404, refused, "Not found".to_owned());
    assert_eq!(release(&pair.above, "/zones/west/_sync/Dataplane/_release").await, missing);
    assert_eq!(release(&pair.above, "/zones/east/_sync/NoSuchType/_release").await, missing);
    pair.stop().await;

    let alone = Api::start(Mode::Zone { federated: false }).await;
    assert_eq!(alone.get("/_sync").await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_secrets_and_releases_are_for_administrators() {
    let pair = Pair::start().await;
    let key = ResourceKey::new(Kind::Secret, "default", "hidden");
    let secret = tandem_proto::system::v1alpha1::Secret { data: Some(b"x".to_vec()) };
    put(&pair.global_store, synchronization::mesh("default")).await;
    let secret = tandem_model::Resource::from_proto(key, &secret).with_labels([("invalid", "a hidden reason")]);
    put(&pair.global_store, secret).await;
    let admin = until(&pair.above, "/zones/east/_sync", |zone| zone["leftOut"] == 1).await;
    assert_eq!(of(&admin, "sent", "Secret")["leftOut"]["items"][0]["name"], "hidden");

    let mut setup =
        Setup { store: pair.global_store.clone(), status: pair.global.status.clone(), ..Setup::new(Mode::Global) };
    setup.settings.localhost_is_admin = false;
    let public = setup.start().await;
    let shown = public.get("/zones/east/_sync").await;
    let secrets = of(&shown.json(), "sent", "Secret").clone();
    assert_eq!((&secrets["leftOut"]["total"], &secrets["leftOut"]["items"]), (&json!(1), &json!([])));
    assert!(!shown.text.contains("hidden"), "{}", shown.text);
    assert!(!public.get("/_sync").await.text.contains("hidden"));
    let release = public.send(public.request(Method::POST, "/zones/east/_sync/Dataplane/_release")).await;
    assert_eq!(release.status, 403, "{}", release.text);
    pair.stop().await;
}
