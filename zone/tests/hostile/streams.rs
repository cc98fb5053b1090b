//! Streams that do not keep to the protocol, or use it to use up what others need.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse};
use tonic::Code;

use super::peer::{Call, DELTA, HEALTH, Peer, SOTW, node};
use super::stage::{CLUSTER, MESH, Stage, acknowledgement, dataplane};

/// Type of endpoints.
const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

#[tokio::test]
async fn messages_that_are_none_are_refused() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, "web").await;
    for path in [SOTW, DELTA] {
        for (what, bytes, reason) in [
            ("an unknown wire type", &b"\0\0\0\0\x05\x0f\x0f\x0f\x0f\x0f"[..], "message_malformed"),
            ("compressed", b"\x01\0\0\0\x01x", "message_malformed"),
            ("a flag that does not exist", b"\x07\0\0\0\x01x", "message_malformed"),
            ("the end of the stream within a message", b"\0\0\0\0\x40\x0a", "message_malformed"),
            ("4 GB, of which nothing follows", b"\0\xff\xff\xff\xff", "message_too_large"),
        ] {
            let attempt = async {
                let mut call = Peer::connect(stage.port).await.open(path, &[&token]).await;
                call.send_raw(Bytes::from_static(bytes));
                call.finish();
                call.refusal().await
            };
            let (code, text) = stage.attempt(&format!("ads/{reason}"), 1, attempt).await;
            assert_ne!(code, Code::Ok, "{what}: {text}");
            assert!(!text.is_empty(), "{what}");
        }
    }
    let attempt = async {
        let call = stage.connect(&dataplane("web"), &token).await;
        call.send(&DiscoveryRequest::default());
        call.refusal().await
    };
    let (code, text) = stage.attempt("ads/protocol", 1, attempt).await;
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, "type URL is required for ADS"));
    let attempt = async { Peer::connect(stage.port).await.open("/no.such.Service/Method", &[]).await.refusal().await };
    let (code, _) = stage.attempt("http/unknown_path", 1, attempt).await;
    assert_eq!(code, Code::Unimplemented);
    stage.lets_in("newcomer").await;
}

async fn delta(stage: &Stage, name: &str, token: &str) -> Call {
    let call = Peer::connect(stage.port).await.open(DELTA, &[token]).await;
    let node = node(MESH, name, Some(&dataplane(name)));
    call.send(&DeltaDiscoveryRequest { node: Some(node), type_url: CLUSTER.to_owned(), ..Default::default() });
    call
}

#[tokio::test]
async fn a_stream_that_asks_for_too_much_ends() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, "web").await;
    // Names of 8 MB, in messages that are small enough.
    let attempt = async {
        let call = delta(&stage, "web", &token).await;
        for message in 0..4 {
            let names = (0..3_000).map(|number| format!("{message}-{number}-{}", "x".repeat(1_000))).collect();
            let request = DeltaDiscoveryRequest {
                type_url: ENDPOINT.to_owned(),
                resource_names_subscribe: names,
                ..DeltaDiscoveryRequest::default()
            };
            call.send(&request);
        }
        call.refusal().await
    };
    let (code, text) = stage.attempt("ads/too_many_names", 1, attempt).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.contains("dpServer.limits.maxSubscriptionSize"), "{text}");

    // More requests than a proxy has to make, each of them fine.
    let attempt = async {
        let call = stage.connect(&dataplane("web"), &token).await;
        let request = DiscoveryRequest {
            type_url: CLUSTER.to_owned(),
            response_nonce: "none of yours".to_owned(),
            ..DiscoveryRequest::default()
        };
        call.send_times(&request, 30_000);
        call.refusal().await
    };
    let (code, text) = stage.attempt("ads/too_many_requests", 1, attempt).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.contains("more than a proxy has to say"), "{text}");
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn a_nonce_of_a_megabyte_means_nothing() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, "web").await;
    let before = stage.refusals().await;
    let mut call = stage.connect(&dataplane("web"), &token).await;
    let response: DiscoveryResponse = call.message().await.expect("served");
    call.send(&DiscoveryRequest { response_nonce: "7".repeat(1 << 20), ..acknowledgement(&response) });
    call.send(&acknowledgement(&response));
    stage.works().await;
    call.message::<DiscoveryResponse>().await.expect("still served");
    assert_eq!(stage.refusals().await, before);
}

#[tokio::test]
async fn streams_that_never_read_hold_up_nobody() {
    let stage = Stage::new().await;
    let before = stage.refusals().await;
    let mut silent = Vec::new();
    for number in 0..20 {
        let name = format!("silent-{number}");
        let token = stage.dataplane_token(MESH, &name).await;
        // Takes not one byte of a response.
        let peer = Peer::with_window(stage.port, 0).await;
        let call = peer.open(SOTW, &[&token]).await;
        let node = node(MESH, &name, Some(&dataplane(&name)));
        for _ in 0..100 {
            call.send(&DiscoveryRequest {
                node: Some(node.clone()),
                type_url: CLUSTER.to_owned(),
                ..Default::default()
            });
        }
        silent.push((peer, call));
    }
    for _ in 0..5 {
        stage.works().await;
    }
    stage.lets_in("newcomer").await;
    assert_eq!(stage.refusals().await, before, "nothing is wrong with not reading");
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_ended() {
    let stage = Stage::with(&[("KUMA_DP_SERVER_LIMITS_FIRST_REQUEST_TIMEOUT", "2s")]).await;
    let attempt = async {
        let peer = Peer::connect(stage.port).await;
        let (quiet, health) = (peer.open(SOTW, &[]).await, peer.open(HEALTH, &[]).await);
        // One whose first request arrives byte by byte.
        let slow = peer.open(DELTA, &[]).await;
        let (mut prefix, drops) = (BytesMut::new(), slow.sender());
        prefix.put_u8(0);
        prefix.put_u32(1_000);
        slow.send_raw(prefix.freeze());
        let drip = async {
            loop {
                drops.send(Bytes::from_static(b"x"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let refused = async { tokio::join!(quiet.refusal(), slow.refusal(), health.refusal()) };
        tokio::select! {
            () = drip => unreachable!("it goes on for ever"),
            refused = refused => <[_; 3]>::from(refused),
        }
    };
    let refused = stage.attempts(&[("ads/no_first_request", 2), ("hds/no_first_request", 1)], attempt).await;
    for (code, text) in refused {
        assert_eq!(code, Code::DeadlineExceeded);
        assert!(
            text.starts_with("no request within 2s") && text.contains("dpServer.limits.firstRequestTimeout"),
            "{text}"
        );
    }
    stage.lets_in("newcomer").await;
}
