//! What a zone may say on the stream from global.

use bytes::Bytes;
use prost::Message;
use tandem_kds::node::{self, Identity};
use tandem_kds::wire::{DeltaRequest, DeltaResponse, ErrorDetail};
use tandem_model::Kind;
use tonic::Code;

use crate::common::eventually;
use crate::frames::{self, Raw};
use crate::{BAD, Stage, acknowledgement, subscription};

async fn open(stage: &Stage) -> Raw {
    Raw::open(&frames::channel(stage.global.address).await, frames::DOWN, BAD).await
}

/// Field 2 of a request, with these bytes as its text.
fn type_url(bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0x12, u8::try_from(bytes.len()).expect("short")];
    message.extend_from_slice(bytes);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_understood_ends_its_stream_with_the_reason() {
    let stage = Stage::new().await;
    let named = |instance: String| {
        let identity = Identity { instance, ..Identity::default() };
        DeltaRequest { node: Some(identity.node(BAD)), ..subscription("Mesh") }
    };
    let cases: Vec<(&str, Vec<Vec<u8>>, Code, &str)> = vec![
        (
            "no node",
            vec![DeltaRequest { node: None, ..subscription("Mesh") }.encode_to_vec()],
            Code::InvalidArgument,
            "the first request names no node",
        ),
        ("an empty message", vec![Vec::new()], Code::InvalidArgument, "the first request names no node"),
        (
            "another node",
            vec![DeltaRequest { node: Some(node::bare("good")), ..subscription("Mesh") }.encode_to_vec()],
            Code::InvalidArgument,
            "node.id \"good\" is not the client-id \"bad\"",
        ),
        (
            "another node later",
            vec![
                subscription("Mesh").encode_to_vec(),
                DeltaRequest { node: Some(node::bare("good")), ..subscription("Secret") }.encode_to_vec(),
            ],
            Code::InvalidArgument,
            "node.id \"good\"",
        ),
        (
            "a long name of the instance",
            vec![named("i".repeat(2 << 20)).encode_to_vec()],
            Code::InvalidArgument,
            "the control-plane-id of the node is longer than 256 bytes",
        ),
        ("no type", vec![subscription("").encode_to_vec()], Code::InvalidArgument, "type URL is required"),
        ("garbage", vec![vec![0xff; 100]], Code::Internal, "failed to decode"),
        ("garbage later", vec![subscription("Mesh").encode_to_vec(), vec![0x0a, 0x7f]], Code::Internal, "decode"),
        ("invalid UTF-8", vec![type_url(&[0xff, 0xfe])], Code::Internal, "failed to decode"),
        (
            "a long type",
            vec![subscription(&"t".repeat(300)).encode_to_vec()],
            Code::InvalidArgument,
            "the type_url is longer than 256 bytes",
        ),
        (
            "a long nonce",
            vec![subscription("Mesh").encode_to_vec(), acknowledgement("Mesh", &"1".repeat(300)).encode_to_vec()],
            Code::InvalidArgument,
            "the nonce is longer than 256 bytes",
        ),
        (
            "11 MiB",
            vec![DeltaRequest { response_nonce: "1".repeat(11 << 20), ..subscription("Mesh") }.encode_to_vec()],
            Code::ResourceExhausted,
            "multizone.global.kds.maxMsgSize",
        ),
        (
            "11 MiB later",
            vec![
                subscription("Mesh").encode_to_vec(),
                DeltaRequest { response_nonce: "1".repeat(11 << 20), ..subscription("Mesh") }.encode_to_vec(),
            ],
            Code::ResourceExhausted,
            "multizone.global.kds.maxMsgSize",
        ),
    ];
    for (what, messages, code, text) in cases {
        let mut peer = open(&stage).await;
        for message in messages {
            peer.say_bytes(message).await;
        }
        let status = peer.end().await;
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(text), "{what}: {status}");
        stage.works().await;
    }
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_not_unpacked() {
    let stage = Stage::new().await;
    let channel = frames::channel(stage.global.address).await;
    let mut peer = Raw::open_with(&channel, frames::DOWN, BAD, true).await.expect("opened");
    peer.say(&subscription("Mesh")).await;
    peer.say_bytes(vec![0; 64 << 20]).await;
    let status = peer.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("maxMsgSize"), "{status}");
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_are_answered_up_to_a_number() {
    let stage = Stage::new().await;
    let mut peer = open(&stage).await;
    peer.say(&subscription("Mesh")).await;
    peer.hear::<DeltaResponse>().await.expect("answered");
    for index in 0..64 {
        let name = format!("Unknown{index}");
        peer.say(&subscription(&name)).await;
        let answer: DeltaResponse = peer.hear().await.expect("answered");
        assert_eq!((answer.type_url.as_str(), answer.resources.len()), (name.as_str(), 0));
    }
    // One of them again is no new one.
    peer.say(&acknowledgement("Unknown7", "9")).await;
    peer.say(&subscription("Secret")).await;
    assert_eq!(peer.hear::<DeltaResponse>().await.expect("answered").type_url, "Secret");
    for index in 64..5_000 {
        peer.say(&subscription(&format!("Unknown{index}"))).await;
    }
    let status = peer.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("64 types"), "{status}");
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_that_were_never_given_change_nothing() {
    let stage = Stage::new().await;
    let mut peer = open(&stage).await;
    // Confirms what was not sent, before anything was.
    peer.say(&DeltaRequest { response_nonce: "17".into(), ..subscription("MeshTimeout") }).await;
    peer.say(&acknowledgement("MeshTimeout", "-1")).await;
    peer.say(&acknowledgement("MeshTimeout", "\u{0}")).await;
    peer.say(&subscription("Mesh")).await;
    loop {
        if peer.hear::<DeltaResponse>().await.expect("answered").type_url == "Mesh" {
            break;
        }
    }
    // The same nonce twice, the nonce of another type, and a rejection of nothing.
    for nonce in ["1", "1", "2", "", "99999999999999999999999999"] {
        peer.say(&acknowledgement("Mesh", nonce)).await;
    }
    let rejection = ErrorDetail { code: -7, message: "no".repeat(2 << 20) };
    peer.say(&DeltaRequest { error_detail: Some(rejection), ..acknowledgement("Secret", "5") }).await;
    peer.say(&subscription("Config")).await;
    loop {
        if peer.hear::<DeltaResponse>().await.expect("answered").type_url == "Config" {
            break;
        }
    }
    let error = stage.global.status.peer(BAD).expect("known").sent[&Kind::Secret].error.clone();
    assert!(error.expect("told").text.len() < 20_000, "what a peer says is not kept at any length");
    stage.works().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_is_never_answered_with_ok() {
    let stage = Stage::new().await;
    let mut peer = crate::BadZone::join(&stage).await;
    peer.up.close();
    let status = peer.up.end().await;
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    stage.works().await;
    peer.down.close();
    let status = peer.down.end().await;
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    // Nothing was said at all.
    let mut silent = open(&stage).await;
    silent.close();
    assert_eq!(silent.end().await.code(), Code::Cancelled);
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_and_does_not_read_costs_nothing() {
    let stage = Stage::new().await;
    for index in 0..300 {
        crate::common::put(&stage.store, crate::common::timeout(&format!("much-{index}"), "1s")).await;
    }
    let mut peer = open(&stage).await;
    for round in 0..3_000_u32 {
        let kinds = ["MeshTimeout", "Mesh", "Secret", "Unknown"];
        peer.say(&subscription(kinds[round as usize % kinds.len()])).await;
    }
    stage.works().await;
    eventually("it is seen as connected", || stage.global.status.peer(BAD).is_some()).await;
    drop(peer);
    eventually("it is gone", || stage.global.status.peer(BAD).is_some_and(|peer| peer.connected.is_none())).await;
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_say_anything_about_itself() {
    let stage = Stage::new().await;
    // A structure nested deeper than anyone reads: field 1 (node), field 3 (metadata), then values inside of values.
    let mut value = Bytes::new();
    for _ in 0..3_000 {
        // Value.struct_value = Struct { fields: { "": Value } }
        value = field(5, &field(1, &[field(1, b""), field(2, &value)].concat()));
    }
    let metadata = field(1, &[field(1, b"version"), field(2, &value)].concat());
    let node = [field(1, BAD.as_bytes()), field(3, &metadata)].concat();
    let mut peer = open(&stage).await;
    peer.say_bytes([field(1, &node), field(2, b"Mesh")].concat()).await;
    let status = peer.end().await;
    assert_eq!(status.code(), Code::Internal, "{status}");

    let mut request = subscription("Mesh");
    let node = request.node.as_mut().expect("has one");
    let fields = &mut node.metadata.as_mut().expect("has some").fields;
    for name in ["version", "config", "features", "control-plane-id"] {
        fields.insert(
            name.to_owned(),
            prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) },
        );
    }
    let mut peer = open(&stage).await;
    peer.say(&request).await;
    assert_eq!(peer.hear::<DeltaResponse>().await.expect("answered").type_url, "Mesh");
    stage.works().await;
    stage.stop().await;
}

/// A field of a message, with its length.
fn field(number: u8, content: &[u8]) -> Bytes {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes.into()
}
