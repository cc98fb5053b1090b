//! What a zone may say on the stream to global.

use bytes::Bytes;
use prost::Message;
use tandem_kds::wire::{self, Any, DeltaResource, DeltaResponse, KumaResource, Meta};
use tandem_model::Kind;
use tonic::Code;

use crate::common::wait_for;
use crate::{BadZone, Stage, good_service, json, key, meta, resource, with_meta, wrapped};

/// What stands beside a bad resource and must get through.
fn neighbour(index: usize) -> (String, Bytes) {
    let name = format!("neighbour-{index}");
    let encoded = resource(&name, good_service());
    (name, encoded)
}

fn nested(depth: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
}

/// Bad resources of type MeshService, with a part of the complaint about each.
fn bad_resources() -> Vec<(Bytes, &'static str)> {
    let named = |name: &str| with_meta(meta(name), good_service());
    let labelled = |labels: Vec<(String, String)>| {
        with_meta(Meta { labels: labels.into_iter().collect(), ..meta("labelled") }, good_service())
    };
    let status = |value: &'static str| {
        let status = Some(json(value));
        wrapped("s", KumaResource { meta: Some(meta("s")), spec: Some(good_service()), status }.encode_to_vec())
    };
    let spec = |text: String| with_meta(meta("spec"), json(text));
    // name: 0xff in field 1 of the meta, which is field 1.
    let not_utf8 = wrapped("n", vec![0x0a, 0x03, 0x0a, 0x01, 0xff]);
    let no_mesh = Meta { mesh: String::new(), ..meta("no-mesh") };
    let foreign = Any { type_url: format!("{}kuma.mesh.v1alpha1.Mesh", wire::TYPE_URL_PREFIX), value: Bytes::new() };
    let other_content = DeltaResource {
        version: "v".into(),
        resource: Some(Any { type_url: "type.googleapis.com/google.protobuf.Any".into(), value: Bytes::new() }),
        name: "other.default".into(),
    };
    vec![
        (Bytes::from_static(&[0xff, 0xff]), "not a resource"),
        (Bytes::new(), "no content"),
        (other_content.encode_to_vec().into(), "content of type"),
        (wrapped("garbage", vec![0xff; 9]), "not a KumaResource"),
        (wrapped("no-meta", Vec::new()), "no meta"),
        (not_utf8, "not a KumaResource"),
        (named(""), "the name is empty"),
        (named(&"n".repeat(300)), "longer than 253 bytes"),
        (named("a/b"), "not allowed"),
        (named("nul\0"), "not allowed"),
        (with_meta(no_mesh, good_service()), "names no mesh"),
        (with_meta(Meta { mesh: "m\0".into(), ..meta("mesh") }, good_service()), "not allowed"),
        (labelled((0..2_000).map(|index| (format!("l{index}"), String::new())).collect()), "labels"),
        (labelled(vec![("k".repeat(100_000), "v".into())]), "longer than 1024 bytes"),
        (labelled(vec![("k".into(), "v".repeat(100_000))]), "longer than 1024 bytes"),
        (labelled(vec![("k\0".into(), "v".into())]), "not allowed"),
        (
            wrapped("none", KumaResource { meta: Some(meta("none")), ..KumaResource::default() }.encode_to_vec()),
            "no spec",
        ),
        (with_meta(meta("foreign"), foreign), "could not decode"),
        (spec(String::new()), "spec: EOF"),
        (spec("[]".into()), "expected a JSON object"),
        (spec("{".into()), "spec: EOF"),
        (spec("{\"a\":1} trailing".into()), "trailing"),
        (spec(nested(10_000)), "recursion limit"),
        (spec("{\"ports\":[{\"port\":1e999}]}".into()), "out of range"),
        (spec("{\"ports\":[{\"port\":99999999999999999999999,\"targetPort\":80}]}".into()), "spec"),
        (spec("{\"ports\":[{\"port\":-1,\"targetPort\":80}]}".into()), "spec"),
        (with_meta(meta("bytes"), json(vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'])), "spec"),
        (status("nonsense"), "status"),
        (status("[1]"), "expected a JSON object"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_resource_is_rejected_alone() {
    let stage = Stage::new().await;
    let mut peer = BadZone::join(&stage).await;
    let mut all = Vec::new();
    for (index, (bad, part)) in bad_resources().into_iter().enumerate() {
        let (name, neighbour) = neighbour(index);
        let nonce = peer.offer(Kind::MeshService, vec![bad.clone(), neighbour.clone()]).await;
        let complaint = peer.answer(&nonce).await.unwrap_or_else(|| panic!("{part:?} is accepted: {bad:?}"));
        assert!(complaint.contains(part), "{part:?} is called {complaint:?}");
        assert!(complaint.len() < 100_000, "{} bytes of complaint", complaint.len());
        wait_for(&stage.store, &key(&name), |resource| resource.is_some()).await;
        all.extend([bad, neighbour]);
    }
    stage.works().await;

    // All at once, on a new stream, where what is not listed would be deleted.
    drop(peer);
    let mut peer = BadZone::join(&stage).await;
    let count = all.len() / 2;
    let nonce = peer.offer(Kind::MeshService, all).await;
    assert!(peer.answer(&nonce).await.is_some());
    for index in 0..count {
        assert!(stage.store.get(&key(&neighbour(index).0)).await.expect("readable").is_some(), "{index}");
    }
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_in_protobuf_must_be_one_of_its_type() {
    let stage = Stage::new().await;
    let mut peer = BadZone::join(&stage).await;
    let any = |message: &str, value: &'static [u8]| Any {
        type_url: format!("{}kuma.mesh.v1alpha1.{message}", wire::TYPE_URL_PREFIX),
        value: Bytes::from_static(value),
    };
    for (spec, part) in [
        (any("ZoneIngress", b""), "spec of type"),
        (any("Dataplane", b"\x0a\xff"), "spec: "),
        (json("{}"), "spec of type"),
        (any("Dataplane", b"\x0a\x04\x12\x02\x08\xff"), "spec: "),
    ] {
        let nonce = peer.offer(Kind::Dataplane, vec![resource("d", spec)]).await;
        let complaint = peer.answer(&nonce).await.expect(part);
        assert!(complaint.contains(part), "{part:?} is called {complaint:?}");
    }
    assert!(stage.store.list(Kind::Dataplane, None).await.expect("readable").is_empty());
    stage.works().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_odd_types_are_refused() {
    let stage = Stage::new().await;
    let mut peer = BadZone::join(&stage).await;
    for type_url in
        ["Nonsense", "", "Mesh", "Secret", "Zone", "type.googleapis.com/kuma.mesh.v1alpha1.Mesh", "mesh", "\0"]
    {
        let resources = vec![with_meta(Meta { mesh: String::new(), ..meta("stolen") }, good_service())];
        let response = DeltaResponse { type_url: type_url.into(), resources, ..DeltaResponse::default() };
        let nonce = peer.respond(response).await;
        let complaint = peer.answer(&nonce).await.expect("refused");
        assert!(complaint.contains("is not sent in this direction"), "{complaint}");
    }
    for kind in [Kind::Mesh, Kind::Secret] {
        let all = stage.store.list(kind, None).await.expect("readable");
        assert!(all.iter().all(|resource| resource.key.name != "stolen"));
    }
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_lists_are_taken_for_what_they_say() {
    let stage = Stage::new().await;
    let mut peer = BadZone::join(&stage).await;
    let kind = Kind::MeshService;
    // A resource twice is there once; a resource in two versions cannot be taken, and stands in nobody's way.
    let other = json(r#"{"selector":{"dataplaneTags":{"app":"b"}},"ports":[{"port":81,"targetPort":81}]}"#);
    let twice = vec![
        resource("twin", good_service()),
        resource("torn", good_service()),
        resource("single", good_service()),
        resource("torn", other.clone()),
        resource("twin", good_service()),
        resource("dotted.name.of.its.own", other),
    ];
    let nonce = peer.offer(kind, twice).await;
    let complaint = peer.answer(&nonce).await.expect("one cannot be taken");
    assert!(complaint.contains("torn") && complaint.contains("twice") && !complaint.contains("twin"), "{complaint}");
    let all = stage.store.list(kind, None).await.expect("readable");
    assert_eq!(all.iter().filter(|resource| resource.key.name == "twin").count(), 1);
    assert!(stage.store.get(&key("torn")).await.expect("readable").is_none());
    for name in ["single", "dotted.name.of.its.own"] {
        assert!(stage.store.get(&key(name)).await.expect("readable").is_some(), "{name}");
    }

    // Removing what was never there, what belongs to others, and names that are none.
    let good = crate::common::synced_from("good", &crate::common::service("round-0").key);
    let mut removed = vec![format!("{}.default", good.name), "never.default".into(), String::new(), ".".into()];
    removed.extend(["no-dot".to_owned(), "\0.\0".to_owned(), "x".repeat(100_000)]);
    removed.extend((0..100_000).map(|index| format!("r{index}.default")));
    let response =
        DeltaResponse { type_url: kind.name().into(), removed_resources: removed, ..DeltaResponse::default() };
    let nonce = peer.respond(response).await;
    let _ = peer.answer(&nonce).await;
    assert!(stage.store.get(&good).await.expect("readable").is_some(), "what another zone owns stays");
    assert!(stage.store.get(&key("single")).await.expect("readable").is_some());

    // Added and removed at once: it is there.
    let response = DeltaResponse {
        type_url: kind.name().into(),
        resources: vec![resource("both", good_service())],
        removed_resources: vec!["both.default".into(), "dotted.name.of.its.own.default".into()],
        ..DeltaResponse::default()
    };
    let nonce = peer.respond(response).await;
    assert_eq!(peer.answer(&nonce).await, None);
    assert!(stage.store.get(&key("both")).await.expect("readable").is_some());
    assert!(stage.store.get(&key("dotted.name.of.its.own")).await.expect("readable").is_none());

    // Many responses without waiting for answers: each is answered, in order.
    let mut nonces = Vec::new();
    for index in 0..500 {
        nonces.push(peer.offer(kind, vec![resource(&format!("many-{index}"), good_service())]).await);
        if index % 50 == 49 {
            for nonce in nonces.drain(..) {
                assert_eq!(peer.answer(&nonce).await, None);
            }
        }
    }
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_cannot_be_understood_ends_its_stream_with_the_reason() {
    let stage = Stage::new().await;
    let with_nonce = |nonce: String| {
        DeltaResponse { type_url: "MeshService".into(), nonce, ..DeltaResponse::default() }.encode_to_vec()
    };
    let long_type = DeltaResponse { type_url: "t".repeat(300), ..DeltaResponse::default() }.encode_to_vec();
    let cases: [(&str, Vec<u8>, Code, &str); 5] = [
        ("garbage", vec![0xff; 64], Code::Internal, "failed to decode"),
        ("invalid UTF-8", vec![0x22, 0x02, 0xff, 0xfe], Code::Internal, "failed to decode"),
        ("11 MiB", with_nonce("1".repeat(11 << 20)), Code::ResourceExhausted, "multizone.global.kds.maxMsgSize"),
        ("a long nonce", with_nonce("1".repeat(300)), Code::InvalidArgument, "the nonce is longer"),
        ("a long type", long_type, Code::InvalidArgument, "the type_url is longer"),
    ];
    for (what, message, code, text) in cases {
        let mut peer = BadZone::join(&stage).await;
        peer.up.say_bytes(message).await;
        let status = peer.up.end().await;
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(text), "{what}: {status}");
        stage.works().await;
    }
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_resources_is_answered_in_short() {
    let stage = Stage::new().await;
    let mut peer = BadZone::join(&stage).await;
    for round in 0..3 {
        let bad = (0..30_000).map(|index| resource(&format!("b{round}-{index}"), json("[]")));
        let nonce = peer.offer(Kind::MeshService, bad.collect()).await;
        let complaint = peer.answer(&nonce).await.expect("all are bad");
        assert!(complaint.len() < 2 << 20, "{} bytes of complaint", complaint.len());
        assert!(complaint.contains("more"), "that there are more is told");
    }
    let left_out = stage.global.status.peer(crate::BAD).expect("known").received[&Kind::MeshService].left_out.len();
    assert!(left_out <= 10_000, "{left_out} are remembered");
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}
