//! MeshRetry: requests, calls and connections that are tried again, counted where they arrive.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, ProxySpec};
use tandem_e2e::{ports, wait};
use tokio::net::{TcpListener, TcpStream};

use crate::support::web::{By, MESH, Web, outbound, service};
use crate::support::workload::{Workload, answers, get};
use crate::support::{PATIENCE, outside};

const POLICY: &str = "MeshRetry";

/// Retries of HTTP requests to a destination, at once.
fn to(destination: &Value, times: u32, on: &[&str]) -> Value {
    let mut http = json!({"numRetries": times, "backOff": {"baseInterval": "10ms", "maxInterval": "20ms"}});
    if !on.is_empty() {
        http["retryOn"] = json!(on);
    }
    json!({"to": [{"targetRef": destination, "default": {"http": http}}]})
}

#[tokio::test]
async fn requests_to_a_service_by_its_tag_are_tried_again() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let all = json!({"kind": "Mesh"});
    web.tries("/fail", 1).await?;
    web.put(POLICY, "everywhere", to(&all, 3, &["5xx"])).await?;
    web.tries("/fail", 4).await?;

    // Of two policies for the same proxies the one whose name comes first counts more, member by member.
    web.put(POLICY, "about-web", json!({"to": [{"targetRef": web.service(), "default": {"http": {"numRetries": 1}}}]}))
        .await?;
    web.tries("/fail", 2).await?;
    web.put(POLICY, "about-web", to(&web.service(), 0, &[])).await?;
    web.tries("/fail", 1).await?;
    web.delete(POLICY, "about-web").await?;
    web.tries("/fail", 4).await?;

    // Only upon what is listed: a condition, a status.
    web.put(POLICY, "everywhere", to(&all, 2, &["ConnectFailure"])).await?;
    web.tries("/fail", 1).await?;
    web.put(POLICY, "everywhere", to(&all, 2, &["503"])).await?;
    web.tries("/fail", 3).await?;

    // A try that takes too long is one that failed.
    let mut short = to(&all, 2, &["GatewayError"]);
    short["to"][0]["default"]["http"]["perTryTimeout"] = json!("300ms");
    web.put(POLICY, "everywhere", short).await?;
    web.tries("/slow", 3).await?;

    // A gateway has policies like everybody else.
    let (gateway, through_gateway) = web.start_gateway("edge").await?;
    let mut of_gateways = to(&all, 5, &["5xx"]);
    of_gateways["targetRef"] = json!({"kind": "Mesh", "proxyTypes": ["Gateway"]});
    web.put(POLICY, "about-gateways", of_gateways).await?;
    let six_times = || async {
        let before = web.workload.requests("/fail");
        get(through_gateway, "/fail").await?;
        Ok((web.workload.requests("/fail") - before == 6).then_some(()))
    };
    wait::until("the gateway tries six times", PATIENCE, six_times).await?;
    web.passed(&[&gateway]).await
}

#[tokio::test]
async fn another_instance_is_tried_when_one_cannot_be_reached() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    web.add_instance("web", "http", ports::free()?).await?;
    // Half of the requests go where nobody listens.
    answers(web.outbound, "/hello", (StatusCode::SERVICE_UNAVAILABLE, "")).await?;
    let mut policy = to(&web.service(), 3, &["ConnectFailure"]);
    let http = &mut policy["to"][0]["default"]["http"];
    http["hostSelection"] = json!([{"predicate": "OmitPreviousHosts"}]);
    http["hostSelectionMaxAttempts"] = json!(5);
    web.put(POLICY, "of-web", policy).await?;
    let all_answered = || async {
        for _ in 0..10 {
            let (status, body) = get(web.outbound, "/hello").await?;
            ensure!(status == StatusCode::OK, "answered with {status}: {body}");
        }
        Ok(Some(()))
    };
    wait::until("all requests are answered", PATIENCE, all_answered).await?;
    web.passed(&[]).await
}

#[tokio::test]
async fn requests_and_calls_to_a_mesh_service_are_tried_again() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    web.put(POLICY, "of-web", to(&web.service(), 2, &["5xx"])).await?;
    web.tries("/fail", 3).await?;
    web.put(POLICY, "of-web", to(&service("another", By::Resource), 2, &["5xx"])).await?;
    web.tries("/fail", 1).await?;

    // Calls of gRPC, by their status.
    let calls = Workload::start("calls").await?;
    let mut inbound = Inbound::http("calls", calls.port())?;
    inbound.protocol = "grpc".to_owned();
    let spec = ProxySpec::sidecar(MESH, "calls-1", &inbound, &[]);
    let server = web.stage.zone(0).start_sidecar(spec).await?;
    let port = ports::free()?;
    let client = web.start_client("second", outbound(port, "calls", inbound.port, By::Resource)).await?;
    let tries = |expected: usize| {
        let calls = &calls;
        async move {
            let before = calls.requests("/Service/Unavailable");
            outside::call(port, "/Service/Unavailable").await?;
            let tries = calls.requests("/Service/Unavailable") - before;
            ensure!(tries == expected, "{tries} tries");
            Ok(Some(()))
        }
    };
    wait::until("a call is tried once", PATIENCE, || tries(1)).await?;
    let grpc = json!({"numRetries": 2, "retryOn": ["Unavailable"], "backOff": {"baseInterval": "10ms"}});
    let policy = json!({"to": [{"targetRef": service("calls", By::Resource), "default": {"grpc": grpc}}]});
    web.put(POLICY, "of-calls", policy).await?;
    wait::until("a call is tried three times", PATIENCE, || tries(3)).await?;
    web.passed(&[&server, &client]).await
}

#[tokio::test]
async fn tcp_connections_are_tried_again() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    // Whoever connects is turned away before the handshake is over.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let inbound = listener.local_addr()?.port();
    let accepted = Arc::<AtomicUsize>::default();
    let counter = accepted.clone();
    let _server = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    web.add_instance("lines", "tcp", inbound).await?;
    let port = ports::free()?;
    let client = web.start_client("second", outbound(port, "lines", inbound, By::Tag)).await?;
    let tries = |expected: usize| {
        let accepted = &accepted;
        async move {
            let before = accepted.load(Ordering::Relaxed);
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            // Closed, or reset, when all tries are over.
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.ok();
            let tries = accepted.load(Ordering::Relaxed) - before;
            ensure!(tries == expected, "{tries} tries");
            Ok(Some(()))
        }
    };
    wait::until("connecting is tried once", PATIENCE, || tries(1)).await?;
    let conf = json!({"tcp": {"maxConnectAttempt": 4}});
    web.put(POLICY, "of-lines", json!({"to": [{"targetRef": service("lines", By::Tag), "default": conf}]})).await?;
    wait::until("connecting is tried four times", PATIENCE, || tries(4)).await?;
    web.passed(&[&client]).await
}
