//! Connections that are no connections of zones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_kds::wire::DeltaResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::common::*;
use crate::frames::{self, Raw};
use crate::{BAD, BadZone, Stage, subscription};

/// Says something and reads what comes until the other side closes the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    // A side that has heard enough may close before everything is said.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    answer
}

const CLIENT_HELLO: [u8; 11] = [0x16, 0x03, 0x01, 0x00, 0x06, 0x01, 0x00, 0x00, 0x02, 0x03, 0x03];

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_turned_away() {
    let stage = Stage::new().await;
    let address = stage.global.address;
    let http1 = b"POST /kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync HTTP/1.1\r\nhost: g\r\n\
        content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let answer = String::from_utf8_lossy(&exchange(address, http1).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(!answer.contains("grpc-status: 0"), "{answer}");
    let answer = exchange(address, b"nonsense without end\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&answer).contains("400"), "{answer:?}");
    // TLS where there is none.
    let _ = exchange(address, &CLIENT_HELLO).await;
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend([0xff; 64]);
    let _ = exchange(address, &preface).await;
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_speaks_tls_to_a_plain_port_is_told_so_and_the_reverse() {
    let stage = Stage::new().await;
    let mut settings = settings(BAD, stage.global.address);
    settings.global.tls = true;
    settings.tls.skip_verify = true;
    let zone = RunningZone::start_with(settings, &store());
    let error = || zone.status.peer("global").and_then(|peer| peer.error);
    eventually("the zone notices", || error().is_some()).await;
    zone.stop().await;
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;

    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("generated");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into()),
        )
        .expect("usable");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let global_store = store();
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_at(&global_store, address, Some(Arc::new(tls))).await;
    put(&global_store, mesh("default")).await;
    let _ = exchange(global.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let plain = RunningZone::start(BAD, &store(), global.address);
    let error = || plain.status.peer("global").and_then(|peer| peer.error);
    eventually("the zone notices", || error().is_some()).await;
    plain.stop().await;
    let mut good = crate::common::settings("good", global.address);
    good.global.tls = true;
    good.tls.skip_verify = true;
    let zone = RunningZone::start_with(good, &store());
    wait_until_exists(&zone.store, &mesh("default").key).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_dropped_cost_nothing() {
    let stage = Stage::new().await;
    for round in 0..5 {
        let channel = frames::channel(stage.global.address).await;
        let mut opened = Vec::new();
        for _ in 0..200 {
            let (channel, method) = (channel.clone(), if round % 2 == 0 { frames::DOWN } else { frames::UP });
            // Given up before or after it is opened.
            opened.push(tokio::spawn(tokio::time::timeout(Duration::from_millis(round), async move {
                Raw::open_with(&channel, method, BAD, false).await
            })));
        }
        for stream in opened {
            // The server may have had enough of resets.
            drop(stream.await);
        }
    }
    stage.works().await;
    stage.serves_again().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_never_used_stand_in_nobodys_way() {
    let stage = Stage::new().await;
    let channel = frames::channel(stage.global.address).await;
    let mut idle = Vec::new();
    for index in 0..500 {
        let method = if index % 2 == 0 { frames::DOWN } else { frames::UP };
        idle.push(Raw::open(&channel, method, &format!("idle-{}", index % 7)).await);
    }
    stage.works().await;
    assert!(stage.global.status.peer("idle-1").is_none_or(|peer| peer.connected.is_none()));
    let known = stage.store.list(tandem_model::Kind::Zone, None).await.expect("readable");
    assert!(known.iter().all(|zone| !zone.key.name.starts_with("idle")), "who says nothing has not joined");
    // The same connection still serves.
    let mut used = Raw::open(&channel, frames::DOWN, BAD).await;
    used.say(&subscription("Mesh")).await;
    assert_eq!(used.hear::<DeltaResponse>().await.expect("answered").type_url, "Mesh");
    drop(idle);
    stage.works().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_the_headers_of_a_zone_are_refused() {
    let stage = Stage::new().await;
    let channel = frames::channel(stage.global.address).await;
    for (zone, part) in [("UPPER CASE", "client-id"), ("a..b", "client-id"), (&*"z".repeat(64), "client-id")] {
        let mut client = tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient::new(channel.clone());
        let mut request = tonic::Request::new(tokio_stream::pending());
        request.metadata_mut().insert("client-id", zone.parse().expect("plain text"));
        request.metadata_mut().append("features", "hash-suffix".parse().expect("plain text"));
        let status = client.global_to_zone_sync(request).await.expect_err(zone);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(part), "{status}");
    }
    // A method that there is not.
    let unknown = Raw::open_with(&channel, "/kuma.mesh.v1alpha1.KDSSyncService/Other", BAD, false).await;
    assert_eq!(unknown.err().map(|status| status.code()), Some(Code::Unimplemented));
    stage.works().await;
    drop(BadZone::join(&stage).await);
    stage.works().await;
    stage.stop().await;
}
