//! MeshCircuitBreaker: limits of what is open at the same time, and instances that are left out because they fail.

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::wait;

use crate::support::PATIENCE;
use crate::support::web::{By, Web, counts};
use crate::support::workload::{Workload, answers, get};

const POLICY: &str = "MeshCircuitBreaker";

/// One request at a time.
fn one_request() -> Value {
    json!({"connectionLimits": {"maxRequests": 1, "maxConnections": 5, "maxPendingRequests": 5}})
}

/// An instance that fails once is left out, even if nobody else is left.
fn no_failure() -> Value {
    let detectors = json!({"totalFailures": {"consecutive": 1}});
    json!({"outlierDetection": {
        "interval": "500ms", "baseEjectionTime": "500ms", "maxEjectionPercent": 100, "healthyPanicThreshold": 0,
        "detectors": detectors,
    }})
}

fn to(destination: &Value, conf: Value) -> Value {
    json!({"to": [{"targetRef": destination, "default": conf}]})
}

/// Status and body of a second request, sent while a first one is at the application.
async fn second_request(workload: &Workload, outbound: u16) -> Result<(StatusCode, String)> {
    let before = workload.requests("/slow");
    let first = tokio::spawn(get(outbound, "/slow"));
    let arrived = || async { Ok((workload.requests("/slow") > before).then_some(())) };
    let arrived = wait::until("the first request arrives", PATIENCE, arrived).await;
    let answer = get(outbound, "/hello").await;
    // Its connection is closed, so that it is over for the proxies as well.
    first.abort();
    arrived?;
    answer
}

/// Waits until a second request is turned away, or let through again.
async fn overflows(workload: &Workload, outbound: u16, expected: bool) -> Result<()> {
    let condition = || async {
        answers(outbound, "/hello", (StatusCode::OK, "")).await?;
        let (status, body) = second_request(workload, outbound).await?;
        let overflows = status == StatusCode::SERVICE_UNAVAILABLE && body.contains("overflow");
        ensure!(overflows == expected, "answered with {status}: {body}");
        Ok(Some(()))
    };
    wait::until(&format!("a second request overflows: {expected}"), PATIENCE, condition).await
}

/// Waits until the only instance of a service is left out after a failure, and comes back.
async fn opens_and_closes(web: &Web) -> Result<()> {
    web.workload.set_healthy(false);
    let opened = || async {
        let (status, body) = get(web.outbound, "/health").await?;
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE && body.contains("no healthy upstream"),
            "answered with {status}: {body}"
        );
        Ok(Some(()))
    };
    wait::until("nobody is left", PATIENCE, opened).await?;
    web.workload.set_healthy(true);
    answers(web.outbound, "/health", (StatusCode::OK, "web")).await?;
    counts(&web.client, "outlier_detection.ejections_enforced_total").await
}

#[tokio::test]
async fn a_service_by_its_tag_has_limits() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let all = json!({"kind": "Mesh"});
    assert_eq!(second_request(&web.workload, web.outbound).await?.0, StatusCode::OK);
    web.put(POLICY, "everywhere", to(&all, one_request())).await?;
    overflows(&web.workload, web.outbound, true).await?;
    counts(&web.client, "cluster.web.upstream_rq_pending_overflow").await?;

    // Of two policies for the same proxies the one whose name comes first counts more.
    let mut two = one_request();
    two["connectionLimits"]["maxRequests"] = json!(2);
    web.put(POLICY, "about-web", to(&web.service(), two)).await?;
    overflows(&web.workload, web.outbound, false).await?;

    // The server's proxy has limits of its own.
    let inbound = json!({
        "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}, "proxyTypes": ["Sidecar"]},
        "from": [{"targetRef": all, "default": one_request()}],
    });
    web.put(POLICY, "inbound", inbound).await?;
    overflows(&web.workload, web.outbound, true).await?;
    let workload = format!("cluster.localhost_{}.upstream_rq_pending_overflow", web.workload.port());
    counts(&web.server, &workload).await?;
    web.delete(POLICY, "inbound").await?;

    let (gateway, through_gateway) = web.start_gateway("edge").await?;
    overflows(&web.workload, through_gateway, false).await?;
    let mut of_gateways = to(&all, one_request());
    of_gateways["targetRef"] = json!({"kind": "Mesh", "proxyTypes": ["Gateway"]});
    web.put(POLICY, "about-gateways", of_gateways).await?;
    overflows(&web.workload, through_gateway, true).await?;
    overflows(&web.workload, web.outbound, false).await?;

    web.put(POLICY, "about-web", to(&web.service(), no_failure())).await?;
    opens_and_closes(&web).await?;
    web.passed(&[&gateway]).await
}

#[tokio::test]
async fn services_that_are_resources_have_limits() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    web.put(POLICY, "of-web", to(&web.service(), one_request())).await?;
    overflows(&web.workload, web.outbound, true).await?;
    web.put(POLICY, "of-web", to(&web.service(), no_failure())).await?;
    opens_and_closes(&web).await?;
    overflows(&web.workload, web.outbound, false).await?;

    let inbound = json!({"targetRef": {"kind": "Dataplane"}, "rules": [{"default": one_request()}]});
    web.put(POLICY, "inbound", inbound).await?;
    overflows(&web.workload, web.outbound, true).await?;
    let workload = format!("cluster.localhost_{}.upstream_rq_pending_overflow", web.workload.port());
    counts(&web.server, &workload).await?;

    // A service outside of the mesh has its limits at the egress, where all clients meet.
    let (egress, traveller, to_outside) = web.start_outside("outside").await?;
    overflows(&web.workload, to_outside, false).await?;
    web.put(POLICY, "everywhere", to(&json!({"kind": "Mesh"}), one_request())).await?;
    overflows(&web.workload, to_outside, true).await?;
    counts(&egress, "upstream_rq_pending_overflow").await?;
    web.passed(&[&egress, &traveller]).await
}
