//! MeshTimeout: requests and connections that take too long. Which timeout fired is told by the answer, so nothing is measured.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, ProxySpec};
use tandem_e2e::{ports, wait};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::outside::{OutsideServer, echoed};
use crate::support::web::{By, MESH, Web, counts, outbound, service};
use crate::support::workload::{answers, get};
use crate::support::{PATIENCE, apps};

const POLICY: &str = "MeshTimeout";

/// The answer when the whole request took too long.
const REQUEST: (StatusCode, &str) = (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout");

/// The answer when nothing was sent for too long.
const IDLE: (StatusCode, &str) = (StatusCode::GATEWAY_TIMEOUT, "stream timeout");

/// Timeouts of requests to a destination.
fn to(destination: &Value, http: Value) -> Value {
    json!({"to": [{"targetRef": destination, "default": {"http": http}}]})
}

/// A limit for whole requests.
fn request() -> Value {
    json!({"requestTimeout": "300ms", "streamIdleTimeout": "0s"})
}

/// A limit for streams without activity.
fn idle() -> Value {
    json!({"requestTimeout": "0s", "streamIdleTimeout": "300ms"})
}

/// No limit.
fn unlimited() -> Value {
    json!({"requestTimeout": "0s", "streamIdleTimeout": "0s"})
}

/// Waits until a timeout of the server's proxy, which its counter knows, is what the client is told.
async fn fires_at_server(web: &Web, expected: (StatusCode, &str), counter: &str) -> Result<()> {
    let fired = || async {
        answers(web.outbound, "/slow", expected).await?;
        Ok((web.server.stat_sum(|name| name.ends_with(counter)).await? > 0).then_some(()))
    };
    wait::until(&format!("the server counts {counter}"), PATIENCE, fired).await
}

#[tokio::test]
async fn requests_to_a_service_by_its_tag_time_out() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let all = json!({"kind": "Mesh"});
    web.put(POLICY, "everywhere", to(&all, request())).await?;
    answers(web.outbound, "/slow", REQUEST).await?;
    assert_eq!(get(web.outbound, "/hello").await?.0, StatusCode::OK);

    // Of two policies for the same proxies the one whose name comes first counts more.
    web.put(POLICY, "about-web", to(&web.service(), idle())).await?;
    answers(web.outbound, "/slow", IDLE).await?;
    web.put(POLICY, "about-web", to(&service("another", By::Tag), idle())).await?;
    answers(web.outbound, "/slow", REQUEST).await?;

    // A policy for gateways is not for sidecars.
    let (gateway, through_gateway) = web.start_gateway("edge").await?;
    let mut of_gateways = to(&all, idle());
    of_gateways["targetRef"] = json!({"kind": "Mesh", "proxyTypes": ["Gateway"]});
    web.put(POLICY, "about-gateways", of_gateways).await?;
    answers(through_gateway, "/slow", IDLE).await?;
    answers(web.outbound, "/slow", REQUEST).await?;

    // The server's proxy has limits of its own.
    web.put(POLICY, "everywhere", to(&all, unlimited())).await?;
    web.put(
        POLICY,
        "inbound",
        json!({
            "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}, "proxyTypes": ["Sidecar"]},
            "from": [{"targetRef": all, "default": {"http": request()}}],
        }),
    )
    .await?;
    let counter = format!("cluster.localhost_{}.upstream_rq_timeout", web.workload.port());
    fires_at_server(&web, REQUEST, &counter).await?;
    web.passed(&[&gateway]).await
}

#[tokio::test]
async fn requests_to_services_that_are_resources_time_out() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    web.put(POLICY, "of-web", to(&web.service(), request())).await?;
    answers(web.outbound, "/slow", REQUEST).await?;
    let mut port = web.service();
    port["sectionName"] = json!(web.inbound.to_string());
    web.put(POLICY, "of-its-port", to(&port, idle())).await?;
    answers(web.outbound, "/slow", IDLE).await?;

    // The same service as part of one of all zones.
    let everywhere = json!({
        "type": "MeshMultiZoneService", "mesh": MESH, "name": "everywhere",
        "spec": {
            "selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "web"}}},
            "ports": [{"port": web.inbound, "appProtocol": "http"}],
        }
    });
    web.stage.global().put(&format!("/meshes/{MESH}/meshmultizoneservices/everywhere"), &everywhere).await?;
    let reference = json!({"kind": "MeshMultiZoneService", "labels": {"kuma.io/display-name": "everywhere"}});
    let mut backend = reference.clone();
    backend["port"] = json!(web.inbound);
    let to_everywhere = ports::free()?;
    let client = web.start_client("second", json!({"port": to_everywhere, "backendRef": backend})).await?;
    apps::answered(to_everywhere, StatusCode::OK).await?;
    web.put(POLICY, "of-everywhere", to(&reference, request())).await?;
    answers(to_everywhere, "/slow", REQUEST).await?;
    answers(web.outbound, "/slow", IDLE).await?;

    // The application as a service outside of the mesh.
    let (egress, traveller, to_outside) = web.start_outside("outside").await?;
    web.put(POLICY, "of-outside", to(&json!({"kind": "MeshExternalService", "name": "outside"}), request())).await?;
    answers(to_outside, "/slow", REQUEST).await?;

    // The server's proxy has limits of its own.
    web.delete(POLICY, "of-its-port").await?;
    web.put(POLICY, "of-web", to(&web.service(), unlimited())).await?;
    let rules = json!([{"default": {"http": idle()}}]);
    web.put(POLICY, "inbound", json!({"targetRef": {"kind": "Dataplane"}, "rules": rules})).await?;
    fires_at_server(&web, IDLE, "downstream_rq_idle_timeout").await?;
    web.passed(&[&client, &egress, &traveller]).await
}

#[tokio::test]
async fn connections_time_out() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    // Connections are accepted by the system and by nobody else, so a handshake does not come to its end.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let silent_port = silent.local_addr()?.port();
    web.add_instance("silent", "http", silent_port).await?;
    let to_silent = ports::free()?;
    let client = web.start_client("second", outbound(to_silent, "silent", silent_port, By::Tag)).await?;
    let of_silent = |connection: &str, request: &str| {
        let conf = json!({"connectionTimeout": connection, "http": {"requestTimeout": request}});
        json!({"to": [{"targetRef": service("silent", By::Tag), "default": conf}]})
    };
    web.put(POLICY, "silent", of_silent("600s", "300ms")).await?;
    answers(to_silent, "/hello", REQUEST).await?;
    web.put(POLICY, "silent", of_silent("300ms", "600s")).await?;
    answers(to_silent, "/hello", (StatusCode::SERVICE_UNAVAILABLE, "timeout")).await?;
    counts(&client, "cluster.silent.upstream_cx_connect_timeout").await?;

    // Connections that carry no request, and connections that are old.
    let of_web = |conf: Value| json!({"to": [{"targetRef": service("web", By::Tag), "default": conf}]});
    for (conf, counter) in [
        (json!({"idleTimeout": "300ms"}), "cluster.web.upstream_cx_idle_timeout"),
        (json!({"http": {"maxConnectionDuration": "300ms"}}), "cluster.web.upstream_cx_max_duration_reached"),
    ] {
        web.put(POLICY, "web", of_web(conf)).await?;
        let closed = || async {
            get(web.outbound, "/hello").await?;
            // The connection has to be without a request for a while.
            tokio::time::sleep(Duration::from_millis(600)).await;
            Ok((web.client.stat(counter).await? > 0).then_some(()))
        };
        wait::until(&format!("the client counts {counter}"), PATIENCE, closed).await?;
    }
    web.passed(&[&client]).await
}

#[tokio::test]
async fn tcp_connections_without_traffic_are_closed() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let server = OutsideServer::tcp().await?;
    let mut inbound = Inbound::http("lines", server.port)?;
    inbound.protocol = "tcp".to_owned();
    let spec = ProxySpec::sidecar(MESH, "lines-1", &inbound, &[]);
    let lines = web.stage.zone(0).start_sidecar(spec).await?;
    let port = ports::free()?;
    let client = web.start_client("second", outbound(port, "lines", inbound.port, By::Tag)).await?;
    wait::until("a line comes back", PATIENCE, || async { echoed(port).await.map(Some) }).await?;
    let conf = json!({"idleTimeout": "300ms"});
    web.put(POLICY, "idle", json!({"to": [{"targetRef": service("lines", By::Tag), "default": conf}]})).await?;
    // A connection that a listener of before took may be closed for another reason, which does not count.
    let closed = || async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
        let counted = client.stat_sum(|name| name.starts_with("tcp.") && name.ends_with(".idle_timeout")).await?;
        Ok((read?? == 0 && counted > 0).then_some(()))
    };
    wait::until("a connection is closed", PATIENCE, closed).await?;
    web.passed(&[&lines, &client]).await
}
