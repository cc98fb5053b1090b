//! MeshHealthCheck: instances that fail their checks get no requests until they pass them again.

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::wait;

use crate::support::web::{By, MESH, Web, counts};
use crate::support::workload::{Workload, get};
use crate::support::{PATIENCE, apps};

const POLICY: &str = "MeshHealthCheck";

/// Requests in a row from which it is seen who answers.
const MANY: usize = 20;

/// Checks by request, as frequent as makes sense.
fn by_request(destination: &Value) -> Value {
    let conf = json!({
        "interval": "100ms", "noTrafficInterval": "100ms", "timeout": "5s",
        "unhealthyThreshold": 1, "healthyThreshold": 1, "healthyPanicThreshold": 0,
        "http": {"path": "/health", "requestHeadersToAdd": {"set": [{"name": "x-check", "value": "yes"}]}},
    });
    json!({"to": [{"targetRef": destination, "default": conf}]})
}

/// Starts another instance of the service.
async fn second(web: &Web) -> Result<(Workload, Proxy)> {
    let workload = Workload::start("second").await?;
    let inbound = Inbound { port: web.inbound, ..Inbound::http("web", workload.port())? };
    let mut spec = ProxySpec::sidecar(MESH, "web-2", &inbound, &[]);
    // The same port at another address, as instances of a MeshService have.
    spec.resource["networking"]["address"] = json!("127.0.0.2");
    spec.resource["networking"]["inbound"][0]["serviceAddress"] = json!("127.0.0.1");
    let proxy = web.stage.zone(0).start_sidecar(spec).await?;
    Ok((workload, proxy))
}

/// Waits until many requests in a row are answered by these servers, each of which answers some.
async fn answered_by(outbound: u16, servers: &[&str]) -> Result<()> {
    let condition = || async {
        let mut seen = vec![0; servers.len()];
        for _ in 0..MANY {
            let (status, body) = get(outbound, "/hello").await?;
            ensure!(status == StatusCode::OK, "answered with {status}: {body}");
            let server = servers.iter().position(|server| body.starts_with(server));
            let Some(server) = server else { anyhow::bail!("answered by {body}") };
            seen[server] += 1;
        }
        ensure!(!seen.contains(&0), "answered by {servers:?}: {seen:?}");
        Ok(Some(()))
    };
    wait::until(&format!("{servers:?} answer requests to port {outbound}"), PATIENCE, condition).await
}

async fn instances_come_and_go(by: By) -> Result<()> {
    let web = Web::start(by).await?;
    let (workload, proxy) = second(&web).await?;
    answered_by(web.outbound, &["web", "second"]).await?;
    web.workload.set_healthy(false);
    answered_by(web.outbound, &["web", "second"]).await?;

    web.put(POLICY, "of-web", by_request(&web.service())).await?;
    answered_by(web.outbound, &["second"]).await?;
    ensure!(web.workload.requests("/health") > 0, "the instance is asked");
    web.workload.set_healthy(true);
    answered_by(web.outbound, &["web", "second"]).await?;
    workload.set_healthy(false);
    answered_by(web.outbound, &["web"]).await?;

    // Without the policy nobody asks.
    web.delete(POLICY, "of-web").await?;
    answered_by(web.outbound, &["web", "second"]).await?;
    web.passed(&[&proxy]).await
}

#[tokio::test]
async fn instances_of_a_service_by_its_tag_come_and_go() -> Result<()> {
    instances_come_and_go(By::Tag).await
}

#[tokio::test]
async fn instances_of_a_service_that_is_a_resource_come_and_go() -> Result<()> {
    instances_come_and_go(By::Resource).await
}

#[tokio::test]
async fn what_is_outside_is_checked_by_the_egress() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let (egress, traveller, to_outside) = web.start_outside("outside").await?;
    web.put(POLICY, "everywhere", by_request(&json!({"kind": "Mesh"}))).await?;
    counts(&egress, "health_check.success").await?;
    web.workload.set_healthy(false);
    // The egress has nobody else to ask.
    let refused = || async {
        let (status, _) = apps::call(to_outside).await?;
        Ok((status == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    };
    wait::until("the egress sends no requests to what fails its checks", PATIENCE, refused).await?;
    web.workload.set_healthy(true);
    apps::answered(to_outside, StatusCode::OK).await?;
    let checks = |name: &str| name.contains("outside") && name.ends_with("health_check.attempt");
    ensure!(traveller.stat_sum(checks).await? == 0, "the client checks what the egress stands for");
    web.passed(&[&egress, &traveller]).await
}
