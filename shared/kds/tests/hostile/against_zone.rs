//! What a global may say to a zone of ours.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tandem_kds::wire::{self, Any, DeltaResource, DeltaResponse, KumaResource, Meta};
use tandem_model::Kind;
use tonic::Status;

use crate::common::*;
use crate::fake_global::{FakeGlobal, confirmation, question};

fn encoded_mesh(name: &str) -> Bytes {
    let spec = Any { type_url: format!("{}kuma.mesh.v1alpha1.Mesh", wire::TYPE_URL_PREFIX), value: Bytes::new() };
    encoded(name, Some(Meta { name: name.to_owned(), ..Meta::default() }), Some(spec))
}

fn encoded(name: &str, meta: Option<Meta>, spec: Option<Any>) -> Bytes {
    let value = KumaResource { meta, spec, status: None }.encode_to_vec().into();
    let content = Any { type_url: wire::RESOURCE_TYPE_URL.to_owned(), value };
    let resource = DeltaResource { version: "v".into(), resource: Some(content), name: format!("{name}.") };
    resource.encode_to_vec().into()
}

/// A response with these meshes.
pub fn meshes(names: &[&str], nonce: &str) -> DeltaResponse {
    let resources = names.iter().map(|name| encoded_mesh(name)).collect();
    DeltaResponse { type_url: "Mesh".into(), nonce: nonce.into(), resources, ..DeltaResponse::default() }
}

/// Why the zone is not connected.
async fn reason(fake: &FakeGlobal, part: &str) {
    let error =
        || fake.zone.status.peer("global").and_then(|peer| peer.error).map(|error| error.text).unwrap_or_default();
    eventually(&format!("the zone tells {part:?}"), || error().contains(part)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_cannot_be_taken_costs_one_connection() {
    let mut fake = FakeGlobal::start().await;
    fake.works().await;
    let empty = DeltaResponse::default;
    let cases: [(DeltaResponse, &str); 4] = [
        (
            DeltaResponse { nonce: "1".repeat(11 << 20), type_url: "Mesh".into(), ..empty() },
            "multizone.zone.kds.maxMsgSize",
        ),
        // Compressed, these are some 64 KB.
        (
            DeltaResponse { resources: vec![vec![0; 64 << 20].into()], ..meshes(&[], "1") },
            "multizone.zone.kds.maxMsgSize",
        ),
        (DeltaResponse { type_url: "t".repeat(300), ..empty() }, "the type_url is longer"),
        (DeltaResponse { nonce: "1".repeat(300), ..meshes(&["lost"], "") }, "the nonce is longer"),
    ];
    for (response, part) in cases {
        let down = fake.down().await;
        down.say(response).await;
        reason(&fake, part).await;
        down.given_up().await;
        fake.works().await;
    }
    assert!(fake.zone.store.get(&mesh("lost").key).await.expect("readable").is_none());
    fake.zone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_resources_of_global_are_rejected_alone() {
    let mut fake = FakeGlobal::start().await;
    let mut down = fake.down().await;
    let spec = |message: &str, value: &'static [u8]| {
        Some(Any {
            type_url: format!("{}kuma.mesh.v1alpha1.{message}", wire::TYPE_URL_PREFIX),
            value: Bytes::from_static(value),
        })
    };
    let named = |name: &str| Some(Meta { name: name.to_owned(), ..Meta::default() });
    let bad: Vec<(Bytes, &str)> = vec![
        (Bytes::from_static(b"\xff"), "not a resource"),
        (encoded("x", None, spec("Mesh", b"")), "no meta"),
        (encoded("x", named("x"), None), "no spec"),
        (encoded("x", named("x"), spec("Retry", b"")), "kuma.mesh.v1alpha1.Retry"),
        (encoded("x", named("x"), spec("Mesh", b"\x0a\xff")), "spec: "),
        (encoded("x", named("x\0"), spec("Mesh", b"")), "not allowed"),
        (
            encoded("x", Some(Meta { mesh: "m".into(), name: "x".into(), ..Meta::default() }), spec("Mesh", b"")),
            "no mesh",
        ),
    ];
    for (index, (bad, part)) in bad.into_iter().enumerate() {
        let (name, nonce) = (format!("beside-{index}"), format!("n{index}"));
        let mut response = meshes(&[&name], &nonce);
        response.resources.push(bad);
        down.say(response).await;
        let answer = down.hear().await.expect("the stream goes on");
        assert_eq!(answer.response_nonce, nonce);
        let complaint = answer.error_detail.expect(part).message;
        assert!(complaint.contains(part), "{part:?} is called {complaint:?}");
        wait_until_exists(&fake.zone.store, &mesh(&name).key).await;
    }
    // Types that no global sends, lists that make no sense, and answers that nobody waits for.
    for type_url in ["", "Nonsense", "Dataplane", "ZoneInsight"] {
        down.say(DeltaResponse { type_url: type_url.into(), nonce: "odd".into(), ..DeltaResponse::default() }).await;
        let answer = down.hear().await.expect("the stream goes on");
        assert!(answer.error_detail.expect("refused").message.contains("is not sent in this direction"));
    }
    let mut lists = meshes(&["twin", "twin"], "lists");
    lists.removed_resources = vec!["never.".into(), "a.b.c".into(), String::new(), "\0.".into(), "twin.x".into()];
    lists.removed_resources.extend((0..100_000).map(|index| format!("r{index}.")));
    down.say(lists).await;
    assert_eq!(down.hear().await.expect("the stream goes on").response_nonce, "lists");
    wait_until_exists(&fake.zone.store, &mesh("twin").key).await;
    for index in 0..200 {
        down.say(meshes(&["twin"], &format!("again-{index}"))).await;
    }
    for index in 0..200 {
        let answer = down.hear().await.expect("the stream goes on");
        assert_eq!((answer.response_nonce, answer.error_detail), (format!("again-{index}"), None));
    }
    drop(down);
    fake.works().await;
    fake.zone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_global_may_not_ask_ends_the_connection_and_the_zone_comes_back() {
    let mut fake = FakeGlobal::start().await;
    put(&fake.zone.store, service("mine")).await;
    let up = fake.up().await;
    up.say(question("")).await;
    reason(&fake, "type URL is required").await;
    let mut up = fake.up().await;
    for index in 0..64 {
        up.say(question(&format!("Unknown{index}"))).await;
        assert_eq!(up.hear().await.expect("answered").resources.len(), 0);
    }
    up.say(confirmation("MeshService", "before anything was sent")).await;
    up.say(question("MeshService")).await;
    let response = up.hear().await.expect("answered");
    assert_eq!((response.type_url.as_str(), response.resources.len()), ("MeshService", 1));
    up.say(question("Unknown64")).await;
    reason(&fake, "64 types").await;
    let up = fake.up().await;
    up.say(tandem_kds::wire::DeltaRequest { response_nonce: "1".repeat(11 << 20), ..question("MeshService") }).await;
    reason(&fake, "multizone.zone.kds.maxMsgSize").await;

    offers_its_service(&mut fake).await;
    fake.works().await;
    fake.zone.stop().await;
}

/// Shows that the zone sends what it has when it is asked.
async fn offers_its_service(fake: &mut FakeGlobal) {
    let began = tokio::time::Instant::now();
    loop {
        // A stream may have been opened just before the zone gave its connection up.
        let mut up = fake.up().await;
        up.say(question("MeshService")).await;
        if up.hear().await.is_ok_and(|response| response.resources.len() == 1) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the zone sends nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_of_either_stream_opens_both_again() {
    let mut fake = FakeGlobal::start().await;
    put(&fake.zone.store, service("mine")).await;
    fake.works().await;
    let up = fake.up().await;
    // OK, while the other stream lives.
    let _said = up.close();
    offers_its_service(&mut fake).await;
    let down = fake.down().await;
    let _said = down.close();
    fake.works().await;
    offers_its_service(&mut fake).await;
    fake.zone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_fails_at_once_is_not_asked_at_full_speed() {
    let mut fake = FakeGlobal::start().await;
    let attempts = fake.attempts_within(Duration::from_secs(2)).await;
    // The shortest pauses of these tests are 80 ms, so 2 s have room for some 25.
    assert!((2..=40).contains(&attempts), "{attempts} attempts");
    // Other ways to fail: the first response already cannot be taken, or the stream is unavailable.
    for _ in 0..3 {
        let down = fake.down().await;
        down.fail(Status::unavailable("restarting")).await;
    }
    fake.works().await;
    assert!(fake.zone.store.list(Kind::Mesh, None).await.expect("readable").len() <= 1);
    fake.zone.stop().await;
}
