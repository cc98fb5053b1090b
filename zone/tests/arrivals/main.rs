//! Proxies that come, come back and come twice: what that costs, and who is served. Over real sockets, with scripted Envoys.

mod client;
mod stage;

use std::time::Duration;

use client::{Delta, Held, Sotw, TYPES, dataplane};
use serde_json::json;
use stage::{MESH, PATIENCE, Zone, store};
use tandem_model::{Kind, ResourceKey};
use tandem_xds::ResourceType;
use tokio::task::JoinSet;
use tonic::Code;

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, MESH, name)
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

async fn stored_version(zone: &Zone, name: &str) -> u64 {
    zone.context.store.get(&key(name)).await.expect("readable").expect("registered").version
}

/// Ends a stream, and waits until the zone has noticed.
async fn leave(zone: &Zone, name: &str, delta: Delta) -> Held {
    let held = delta.held.clone();
    drop(delta);
    until("the stream is over", async || !zone.context.registry.is_connected(&key(name))).await;
    held
}

#[tokio::test]
async fn a_returning_proxy_costs_almost_nothing() {
    let zone = Zone::start(&store().await, 10).await;
    let mut delta = Delta::open(&zone, "a", Held::new()).await;
    let sent = delta.first_responses().await;
    let secrets = |sent: &[(ResourceType, Vec<String>)]| sent.iter().any(|(kind, _)| *kind == ResourceType::Secret);
    assert!(sent.len() == TYPES.len() && secrets(&sent), "{sent:?}");
    let (issued, version) = (zone.context.issuing.issued(), stored_version(&zone, "a").await);
    assert_eq!(issued, 1);

    let held = leave(&zone, "a", delta).await;
    assert_eq!(zone.context.returning.count(), 1);
    let mut delta = Delta::open(&zone, "a", held).await;
    assert_eq!(delta.first_responses().await, [], "nothing has changed");
    assert_eq!(zone.context.issuing.issued(), issued, "the certificate is good");
    assert_eq!(stored_version(&zone, "a").await, version, "the resource is as it was");
    assert_eq!(zone.context.returning.count(), 0);

    // What changed while it was away is all that it is sent.
    let held = leave(&zone, "a", delta).await;
    let mut other = dataplane("other");
    other["networking"]["address"] = json!("127.0.0.2");
    zone.put(other).await;
    until("the index knows it", async || zone.context.snapshot.load().dataplane(MESH, "other").is_some()).await;
    let mut delta = Delta::open(&zone, "a", held).await;
    let sent = delta.first_responses().await;
    assert!(matches!(&sent[..], [(ResourceType::Endpoint, names)] if names.len() == 1), "{sent:?}");
    assert_eq!(zone.context.issuing.issued(), issued);
    zone.stop().await;
}

#[tokio::test]
async fn a_returning_proxy_of_the_other_variant_is_sent_what_changed() {
    let zone = Zone::start(&store().await, 10).await;
    let mut first = Sotw::open(&zone, "a", Default::default()).await;
    while first.held.len() < TYPES.len() {
        first.next().await.expect("the stream goes on");
    }
    let held = first.held.clone();
    drop(first);
    until("the stream is over", async || !zone.context.registry.is_connected(&key("a"))).await;
    let mut again = Sotw::open(&zone, "a", held).await;
    until("it is back", async || zone.context.registry.is_connected(&key("a"))).await;
    until("it is served", async || zone.context.returning.count() == 0).await;
    let mut other = dataplane("other");
    other["networking"]["address"] = json!("127.0.0.2");
    zone.put(other).await;
    let response = again.next().await.expect("the stream goes on");
    let what = (ResourceType::from_type_url(&response.type_url), response.nonce.as_str());
    assert_eq!(what, (Some(ResourceType::Endpoint), "1"), "nothing was sent before");
    assert_eq!(zone.context.issuing.issued(), 1);
    zone.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_the_zone_only_certificates_are_sent() {
    let store = store().await;
    let zone = Zone::start(&store, 10).await;
    let mut delta = Delta::open(&zone, "a", Held::new()).await;
    delta.first_responses().await;
    let held = delta.held.clone();
    zone.stop().await;
    drop(delta);

    let zone = Zone::start(&store, 10).await;
    let mut delta = Delta::open(&zone, "a", held).await;
    let sent = delta.first_responses().await;
    let kinds: Vec<_> = sent.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ResourceType::Secret], "{sent:?}");
    assert_eq!(zone.context.issuing.issued(), 1);
    zone.stop().await;
}

#[tokio::test]
async fn a_live_stream_stays_and_a_second_one_is_refused() {
    let zone = Zone::start(&store().await, 10).await;
    let mut first = Delta::open(&zone, "a", Held::new()).await;
    first.first_responses().await;
    let second = Delta::open(&zone, "a", Held::new()).await;
    let (first_sees, second_sees) = tokio::join!(first.next(), second.end());
    let question = first_sees.expect("the first one is asked for a sign of life");
    assert!(question.resources.is_empty() && question.removed_resources.is_empty(), "{question:?}");
    let told = (second_sees.code(), second_sees.message());
    assert_eq!(told, (Code::Unknown, "there is already an active stream from this node, try again later"));
    assert!(zone.context.registry.is_connected(&key("a")));

    // The same in the other variant.
    let mut first = Sotw::open(&zone, "b", Default::default()).await;
    while first.held.len() < TYPES.len() {
        first.next().await.expect("the stream goes on");
    }
    let second = Delta::open(&zone, "b", Held::new()).await;
    let held = first.held.clone();
    let (question, second_sees) = tokio::join!(first.next(), second.end());
    question.expect("the first one is asked for a sign of life");
    assert_eq!((second_sees.code(), first.held == held), (Code::Unknown, true));
    zone.stop().await;
}

#[tokio::test]
async fn a_stream_without_a_sign_of_life_makes_room() {
    let zone = Zone::start(&store().await, 10).await;
    let mut first = Delta::open(&zone, "a", Held::new()).await;
    first.first_responses().await;
    // What an Envoy got is answered; from now on nobody is there.
    until("the last answer has arrived", async || {
        let insight = ResourceKey::new(Kind::DataplaneInsight, MESH, "a");
        zone.context.store.get(&insight).await.expect("readable").is_some()
    })
    .await;
    first.answers = false;
    let held = first.held.clone();
    let mut second = Delta::open(&zone, "a", held).await;
    let (sent, end) = tokio::join!(second.first_responses(), first.end());
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(sent, [], "what the first one had serves the second one");
    assert_eq!(zone.context.issuing.issued(), 1);
    until("the second one is connected", async || zone.context.registry.is_connected(&key("a"))).await;
    zone.stop().await;
}

#[tokio::test]
async fn many_that_come_at_once_are_all_served() {
    let zone = Zone::start(&store().await, 4).await;
    let mut streams = JoinSet::new();
    let mut all = Vec::new();
    for number in 0..60 {
        all.push(Delta::open(&zone, &format!("dp-{number}"), Held::new()).await);
    }
    for mut delta in all {
        streams.spawn(async move {
            let sent = delta.first_responses().await;
            assert_eq!(sent.len(), TYPES.len(), "{sent:?}");
            delta
        });
    }
    let all = streams.join_all().await;
    assert_eq!(zone.context.issuing.issued(), 60);
    drop(all);
    zone.stop().await;
}
