//! MeshRateLimit: how many requests and connections the proxy of a server takes.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Inbound, ProxySpec};
use tandem_e2e::{ports, wait};

use crate::support::web::{By, MESH, Web, counts, outbound};
use crate::support::workload::Workload;
use crate::support::{PATIENCE, answered, call};

const POLICY: &str = "MeshRateLimit";

/// One, and no other one within the time of a test.
fn one() -> Value {
    json!({"num": 1, "interval": "1h"})
}

/// Limits of the proxies of a service.
fn of(service: &str, local: Value) -> Value {
    json!({"targetRef": {"kind": "MeshService", "name": service}, "rules": [{"default": {"local": local}}]})
}

/// Waits until requests are answered with a status and a value of the header `x-limited`.
async fn limited(outbound: u16, expected: (StatusCode, Option<&str>)) -> Result<()> {
    let as_expected = || async {
        let response = reqwest::get(format!("http://127.0.0.1:{outbound}/hello")).await.context("no answer")?;
        let header = response.headers().get("x-limited").and_then(|value| value.to_str().ok());
        let found = (response.status(), header);
        ensure!(found == expected, "answered with {found:?}");
        Ok(Some(()))
    };
    wait::until(&format!("requests are answered with {expected:?}"), PATIENCE, as_expected).await
}

#[tokio::test]
async fn requests_beyond_the_limit_are_answered_as_the_policy_says() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let other = Workload::start("other").await?;
    let inbound = Inbound::http("other", other.port())?;
    let other_proxy = web.stage.zone(0).start_sidecar(ProxySpec::sidecar(MESH, "other-1", &inbound, &[])).await?;
    let to_other = ports::free()?;
    let traveller = web.start_client("traveller", outbound(to_other, "other", inbound.port, By::Tag)).await?;
    answered(to_other, StatusCode::OK).await?;

    let headers = json!({"set": [{"name": "x-limited", "value": "yes"}]});
    let requests = json!({"http": {"requestRate": one(), "onRateLimit": {"headers": headers}}});
    web.put(POLICY, "limit", of("web", requests)).await?;
    limited(web.outbound, (StatusCode::TOO_MANY_REQUESTS, Some("yes"))).await?;
    for _ in 0..3 {
        assert_eq!(call(to_other).await?.0, StatusCode::OK, "other inbounds are not limited");
    }

    // Another status, from another policy; and one that Envoy does not know, which is told and answered with 429.
    let status = |status: u16| of("web", json!({"http": {"onRateLimit": {"status": status}}}));
    web.put(POLICY, "answer", status(503)).await?;
    limited(web.outbound, (StatusCode::SERVICE_UNAVAILABLE, Some("yes"))).await?;
    web.put(POLICY, "answer", status(444)).await?;
    limited(web.outbound, (StatusCode::TOO_MANY_REQUESTS, Some("yes"))).await?;
    let told = || async {
        let problems = web.stage.zone(0).api.get(&format!("/meshes/{MESH}/dataplanes/web-1/_problems")).await?;
        ensure!(problems["items"][0]["subject"]["type"] == POLICY, "{problems}");
        Ok(problems.to_string().contains("444").then_some(()))
    };
    wait::until("the status is told", PATIENCE, told).await?;

    web.put(POLICY, "answer", of("web", json!({"http": {"disabled": true}}))).await?;
    limited(web.outbound, (StatusCode::OK, None)).await?;
    limited(web.outbound, (StatusCode::OK, None)).await?;

    // The older form.
    web.delete(POLICY, "answer").await?;
    let all = json!({"kind": "Mesh"});
    let conf = json!({"local": {"http": {"requestRate": one(), "onRateLimit": {"status": 423}}}});
    let older = json!({
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]}, "from": [{"targetRef": all, "default": conf}],
    });
    web.put(POLICY, "limit", older).await?;
    limited(web.outbound, (StatusCode::LOCKED, None)).await?;
    web.delete(POLICY, "limit").await?;
    limited(web.outbound, (StatusCode::OK, None)).await?;
    web.passed(&[&other_proxy, &traveller]).await
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let echo = EchoServer::start("tcp").await?;
    let inbound = Inbound { protocol: "tcp".to_owned(), ..Inbound::http("tcp", echo.port())? };
    let server = web.stage.zone(0).start_sidecar(ProxySpec::sidecar(MESH, "tcp-1", &inbound, &[])).await?;
    let port = ports::free()?;
    let client = web.start_client("traveller", outbound(port, "tcp", inbound.port, By::Tag)).await?;
    answered(port, StatusCode::OK).await?;

    web.put(POLICY, "limit", of("tcp", json!({"tcp": {"connectionRate": one()}}))).await?;
    let refused = || async { Ok(call(port).await.is_err().then_some(())) };
    wait::until("connections are closed", PATIENCE, refused).await?;
    counts(&server, "tcp_rate_limit.rate_limited").await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK, "other inbounds are not limited");
    web.put(POLICY, "limit", of("tcp", json!({"tcp": {"disabled": true, "connectionRate": one()}}))).await?;
    answered(port, StatusCode::OK).await?;
    answered(port, StatusCode::OK).await?;
    web.passed(&[&server, &client]).await
}
