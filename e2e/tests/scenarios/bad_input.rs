//! Input that makes no sense: an answer for the one who sent it, and nothing changes for anybody else.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::process::{ControlPlane, ControlPlaneOptions};
use tandem_e2e::proxy::ProxySpec;
use tandem_e2e::world::Zone;
use tandem_e2e::{api, ports, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::ads::{self, CLUSTER};
use crate::support::raw::{self, GrpcAnswer};
use crate::support::stage::programs;
use crate::support::{Ads, DeltaAds, PATIENCE, Stage, answered, apps};

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA_ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const HDS: &str = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck";
const GLOBAL_TO_ZONE: &str = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync";
const ZONE_TO_GLOBAL: &str = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync";

/// Bytes that are neither TLS nor HTTP.
const GARBAGE: [&[u8]; 4] = [
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"PUT \xff\xfe / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x16\x03\x01\xff\xff\x01garbage that only begins like a TLS handshake",
];

#[tokio::test]
async fn garbage_at_any_port_disturbs_nobody() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let echo = EchoServer::start("echo").await?;
    let spec = apps::sidecar("default", "echo-1", "echo", echo.port(), &[])?;
    let _server = stage.zone(0).start_sidecar(spec).await?;
    let outbound = ports::free()?;
    let client = stage.zone(0).start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
    answered(outbound, StatusCode::FORBIDDEN).await?;

    let (global, zone) = (&stage.world.global, &stage.zone(0).control_plane);
    let api_ports = [port_of(&global.api_url())?, port_of(&zone.api_url())?];
    let diagnostics = [port_of(&global.diagnostics_url())?, port_of(&zone.diagnostics_url())?];
    let tls = [global.peer_port(), zone.peer_port()];
    for port in api_ports.into_iter().chain(diagnostics).chain(tls) {
        for garbage in GARBAGE {
            closed(port, garbage).await.with_context(|| format!("port {port}"))?;
        }
    }
    // Garbage behind a proper handshake.
    for port in tls {
        for garbage in GARBAGE {
            raw::closed_behind_tls(port, garbage).await.with_context(|| format!("port {port}"))?;
        }
    }
    // Messages that are none, on streams that exist.
    for (port, path) in [
        (zone.peer_port(), ADS),
        (zone.peer_port(), DELTA_ADS),
        (zone.peer_port(), HDS),
        (global.peer_port(), GLOBAL_TO_ZONE),
        (global.peer_port(), ZONE_TO_GLOBAL),
    ] {
        for body in [
            // A message of five bytes with an unknown wire type.
            Bytes::from_static(b"\0\0\0\0\x05\x0f\x0f\x0f\x0f\x0f"),
            // A message of 4 GB, of which nothing follows.
            Bytes::from_static(b"\0\xff\xff\xff\xff"),
            // A message that ends early.
            Bytes::from_static(b"\0\0\0\0\x40\x0a"),
        ] {
            let answer = raw::grpc(port, path, body.clone(), &[("client-id", "zone-9")]).await;
            let answer = answer.with_context(|| format!("port {port}, {path}, {body:?}"))?;
            assert_ne!(answer.code, Code::Ok, "port {port}, {path}, {body:?}: {answer:?}");
        }
    }
    let GrpcAnswer { code, .. } = raw::grpc(zone.peer_port(), "/no.such.Service/Method", Bytes::new(), &[]).await?;
    assert_eq!(code, Code::Unimplemented);

    // All are still at work, and together.
    assert_eq!(client.stat("control_plane.connected_state").await?, 1, "the proxy lost its control plane");
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    answered(outbound, StatusCode::OK).await?;
    stage.passed();
    Ok(())
}

/// Sends bytes and waits until the other side closes the connection, whatever it says before.
async fn closed(port: u16, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.map(drop).with_context(|| format!("{bytes:?} is neither answered nor closed"))
}

fn port_of(url: &str) -> Result<u16> {
    let (_, port) = url.rsplit_once(':').with_context(|| format!("{url} has no port"))?;
    Ok(port.parse()?)
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_with_the_reason() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let global = stage.global();
    let path = "/meshes/default/meshtimeouts/t";
    let url = format!("{}{path}", global.url());
    let http = reqwest::Client::new();
    let put = |body: Vec<u8>| http.put(&url).header("content-type", "application/json").body(body).send();

    // Longer than anything that is stored.
    let mut long = br#"{"type": "MeshTimeout", "mesh": "default", "name": "t", "spec": {"x": ""#.to_vec();
    long.resize(64 << 20, b'x');
    match put(long).await {
        Ok(answer) => assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE),
        // The server need not read to the end what it refuses.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:#}"),
    }
    // Cut off.
    let mut stream = TcpStream::connect(("127.0.0.1", port_of(global.url())?)).await?;
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    );
    stream.write_all(format!("{head}{{\"type\": \"MeshTimeout\",").as_bytes()).await?;
    drop(stream);
    // Not JSON, not an object, of wrong types.
    for (body, told) in [
        ("", "Bad Request"),
        (r#"{"type": "MeshTimeout", "#, "unexpected end of JSON input"),
        ("[]", "Bad Request"),
        (r#"{"type": "MeshTimeout", "mesh": "default", "name": 7, "spec": {}}"#, "name"),
        (r#"{"type": "MeshTimeout", "mesh": "default", "name": "t", "spec": {"to": {}}}"#, "spec.to"),
        (r#"{"type": "MeshTimeout", "mesh": "default", "name": "t", "spec": {"ot": []}}"#, "ot"),
        (r#"{"type": "MeshRetry", "mesh": "default", "name": "t", "spec": {}}"#, "MeshTimeout"),
    ] {
        let answer = put(body.as_bytes().to_vec()).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {text}");
        assert!(text.contains(told), "{body}: {told:?} is not in {text}");
    }
    assert_eq!(put(vec![0xff, 0xfe]).await?.status(), StatusCode::BAD_REQUEST);
    assert_eq!(global.send(Method::GET, path, None).await?.status, StatusCode::NOT_FOUND);

    // Requests of proxies.
    let zone = stage.zone(0);
    let http = zone.dp_server.client()?;
    let bootstrap = format!("https://localhost:{}/bootstrap", zone.dp_server.port);
    let post = |body: String| http.post(&bootstrap).body(body).send();
    let status = post("{".to_owned()).await?.status();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let request = json!({"mesh": "default", "name": "dp", "proxyType": "dataplane", "dataplaneResource": "{}"});
    let answer = post(request.to_string()).await?;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text().await?.starts_with("Dataplane Token is required."));
    let resource = json!({"type": "Dataplane", "mesh": "default", "name": "dp", "networking": {"address": ""}});
    let mut request = request;
    request["dataplaneToken"] = json!("some");
    request["dataplaneResource"] = json!(resource.to_string());
    let answer = post(request.to_string()).await?;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let text = answer.text().await?;
    assert!(text.contains("networking.address: address can't be empty"), "{text}");

    // The one who sends something proper is served.
    let fine = json!({
        "type": "MeshTimeout", "mesh": "default", "name": "t",
        "spec": {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "3s"}}]}
    });
    global.put(path, &fine).await?;
    zone.start_sidecar(apps::caller("default", "dp", &[])?).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn proxies_that_are_not_what_they_say_are_refused() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    for mesh in ["default", "other"] {
        stage.mesh(&json!({"type": "Mesh", "name": mesh})).await?;
    }
    let zone = stage.zone(0);
    let good = apps::caller("default", "dp-1", &[])?.with_token(zone.dataplane_token("default", "dp-1").await?);
    let mut served = Ads::open(&zone.dp_server, &good).await?;
    served.response_of(CLUSTER).await?;

    // Tokens.
    let with = |token: String| apps::caller("default", "dp-2", &[]).map(|spec| spec.with_token(token));
    let other_name = zone.dataplane_token("default", "dp-1").await?;
    refused(
        zone,
        &with(other_name)?,
        "authentication failed: proxy name from requestor: dp-2 is different than in token: dp-1",
    )
    .await?;
    for token in [
        String::new(),
        "garbage".to_owned(),
        format!("{}x", zone.dataplane_token("default", "dp-2").await?),
        zone.dataplane_token("other", "dp-2").await?,
        stage.world.zone_token("zone-1").await?,
    ] {
        let refusal = Ads::open(&zone.dp_server, &with(token.clone())?).await?.refusal().await;
        assert!(refusal.message().starts_with("authentication failed: "), "{token}: {refusal:?}");
    }
    let ingress = ProxySpec::ingress("zi", ports::free()?).with_token(stage.world.zone_token("zone-2").await?);
    refused(zone, &ingress, "authentication failed: zone from requestor: zone-1 is different than in token: zone-2")
        .await?;

    // A resource that is not the node's, or no resource at all.
    let mut node = ads::node(&good);
    node.id = "default.dp-9".to_owned();
    let refusal = Ads::open_as(&zone.dp_server, node, good.token.as_deref()).await?.refusal().await;
    assert_ne!(refusal.code(), Code::Ok, "{refusal:?}");
    let node = ads::node(&ProxySpec { name: String::new(), ..good.clone() });
    let refusal = Ads::open_as(&zone.dp_server, node, good.token.as_deref()).await?.refusal().await;
    assert_ne!(refusal.code(), Code::Ok, "{refusal:?}");
    let unknown = with(zone.dataplane_token("default", "dp-2").await?)?;
    let mut node = ads::node(&unknown);
    node.metadata = None;
    let refusal = Ads::open_as(&zone.dp_server, node, unknown.token.as_deref()).await?.refusal().await;
    let unknown =
        "resource \"default.dp-2\" not found; create a Dataplane in Kuma CP first or pass it as an argument to kuma-dp";
    assert!(refusal.message().ends_with(unknown), "{refusal:?}");

    // Requests that the protocol does not know.
    let spec = with(zone.dataplane_token("default", "dp-2").await?)?;
    let mut stream = Ads::open(&zone.dp_server, &spec).await?;
    stream.response_of(CLUSTER).await?;
    stream.send(DiscoveryRequest::default())?;
    let refusal = stream.refusal().await;
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "type URL is required for ADS"));

    // The good one is still served, and its place is taken by nobody else.
    let list = zone.api.get("/meshes/default/dataplanes?name=dp-1").await?;
    assert_eq!(list["total"], 1, "{list}");
    let left = tokio::time::timeout(Duration::from_millis(1), served.response()).await;
    assert!(left.is_err() || left.is_ok_and(|response| response.is_ok()), "the stream of the good one has ended");
    let second =
        || async { Ok(zone.api.get("/meshes/default/dataplanes").await?["total"].as_u64().filter(|&n| n == 1)) };
    wait::until("only the good one is registered", PATIENCE, second).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_zone_with_a_taken_name_is_told_so_and_the_first_one_stays() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let options = ControlPlaneOptions::new(programs().await?.zone, stage.folder().join("second"));
    let address = stage.world.global.kds_address();
    let second = ControlPlane::start_zone("zone-1", Some(&address), options).await?;
    let told = || async {
        let log = std::fs::read_to_string(second.log_path())?;
        Ok(log.contains("zone name \\\"zone-1\\\" is taken").then_some(()))
    };
    wait::until("the second zone logs the reason", PATIENCE, told).await?;

    // The first one is heard as before, the second one was told nothing.
    stage.mesh(&json!({"type": "Mesh", "name": "default", "networking": {"outbound": {"passthrough": false}}})).await?;
    let api = Api::new(second.api_url())?;
    assert_eq!(api.send(Method::GET, "/meshes/default", None).await?.status, StatusCode::NOT_FOUND);

    // When the name is free, it may have it.
    stage.zone_mut(0).control_plane.kill().await?;
    let joined = || async { api.get("/meshes/default").await.map(Some) };
    wait::until("the second zone joins", PATIENCE, joined).await?;
    stage.passed();
    Ok(())
}

/// Both variants of the protocol refuse a proxy with this reason.
async fn refused(zone: &Zone, spec: &ProxySpec, reason: &str) -> Result<()> {
    for refusal in [
        Ads::open(&zone.dp_server, spec).await?.refusal().await,
        DeltaAds::open(&zone.dp_server, spec).await?.refusal().await,
    ] {
        assert_eq!(refusal.message(), reason);
    }
    Ok(())
}
