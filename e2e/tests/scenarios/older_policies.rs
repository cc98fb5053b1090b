//! Policies of the older generation: where the traffic of proxies goes, whom it may reach, and what happens when something fails.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::{api, ports, wait};

use crate::support::workload::{Workload, answers, get};
use crate::support::{PATIENCE, Stage, answered, apps};

/// A mesh without the policies of the newer generation that come with one, so that nothing acts over the older ones.
async fn mesh(stage: &Stage, with_permission: bool) -> Result<()> {
    let mut mesh = api::mesh("default");
    mesh["skipCreatingInitialPolicies"] = json!(["*"]);
    mesh["routing"] = json!({});
    stage.mesh(&mesh).await?;
    if with_permission {
        let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
        stage.global().put(&path, &permission).await?;
    }
    Ok(())
}

/// Creates or replaces a policy from a service to another one, with further members or others in place of the usual ones.
async fn put(stage: &Stage, kind: &str, path: &str, between: [&str; 2], members: Value) -> Result<()> {
    let selectors = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    let [source, destination] = between;
    let mut body = json!({
        "type": kind, "mesh": "default", "name": "policy",
        "sources": selectors(source), "destinations": selectors(destination),
    });
    for (name, value) in members.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    stage.global().put(&format!("/meshes/default/{path}/policy"), &body).await?;
    Ok(())
}

async fn delete(stage: &Stage, path: &str) -> Result<()> {
    stage.global().delete(&format!("/meshes/default/{path}/policy")).await?;
    Ok(())
}

/// All requests go to the service they ask for.
async fn route_everything(stage: &Stage) -> Result<()> {
    let conf = json!({"conf": {"destination": {"kuma.io/service": "*"}}});
    put(stage, "TrafficRoute", "traffic-routes", ["*", "*"], conf).await
}

/// A sidecar of an instance of `web`.
async fn web(stage: &Stage, name: &str, version: &str, workload: &Workload) -> Result<Proxy> {
    let mut inbound = Inbound::http("web", workload.port())?;
    inbound.tags.push(("version".to_owned(), version.to_owned()));
    stage.zone(0).start_sidecar(ProxySpec::sidecar("default", name, &inbound, &[])).await
}

/// A sidecar that calls `web`, and the port at which it does.
async fn client(stage: &Stage, name: &str) -> Result<(Proxy, u16)> {
    let outbound = ports::free()?;
    let spec = apps::caller("default", name, &[(outbound, "web")])?;
    Ok((stage.zone(0).start_sidecar(spec).await?, outbound))
}

#[tokio::test]
async fn a_traffic_permission_lets_in_whom_it_names() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    mesh(&stage, false).await?;
    let workload = Workload::start("v1").await?;
    let _web = web(&stage, "web-1", "v1", &workload).await?;
    let (_first, first) = client(&stage, "first").await?;
    let (_second, second) = client(&stage, "second").await?;
    answered(first, StatusCode::FORBIDDEN).await?;

    // The other one's connections are closed before a request is read.
    put(&stage, "TrafficPermission", "traffic-permissions", ["first", "web"], json!({})).await?;
    answers(first, "/hello", (StatusCode::OK, "v1 /hello")).await?;
    answered(second, StatusCode::SERVICE_UNAVAILABLE).await?;

    // A MeshTrafficPermission takes its place.
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    answers(second, "/hello", (StatusCode::OK, "v1")).await?;
    stage.global().delete(&path).await?;
    answered(second, StatusCode::SERVICE_UNAVAILABLE).await?;
    assert_eq!(get(first, "/hello").await?.0, StatusCode::OK);
    delete(&stage, "traffic-permissions").await?;
    answered(first, StatusCode::FORBIDDEN).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_traffic_route_splits_by_path_and_by_weight() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    mesh(&stage, true).await?;
    let (old, new) = (Workload::start("v1").await?, Workload::start("v2").await?);
    let _old = web(&stage, "web-1", "v1", &old).await?;
    let _new = web(&stage, "web-2", "v2", &new).await?;
    let (client, outbound) = client(&stage, "client").await?;
    answered(outbound, StatusCode::OK).await?;

    // By path, with another path and one more header on the way.
    let version = |version: &str| json!({"kuma.io/service": "web", "version": version});
    let modified = json!({"path": {"rewritePrefix": "/as-new"}});
    let rule = json!({"match": {"path": {"prefix": "/new"}}, "modify": modified, "destination": version("v2")});
    let conf = json!({"conf": {"http": [rule], "destination": version("v1"), "loadBalancer": {"leastRequest": {}}}});
    put(&stage, "TrafficRoute", "traffic-routes", ["client", "web"], conf).await?;
    answers(outbound, "/new/page", (StatusCode::OK, "v2 /as-new/page")).await?;
    let before = new.requests("/hello");
    for _ in 0..20 {
        assert_eq!(get(outbound, "/hello").await?, (StatusCode::OK, "v1 /hello".to_owned()));
    }
    assert_eq!(new.requests("/hello"), before, "nothing but /new goes to the new version");

    // By weight: Envoy draws lots, so nine of ten is what is expected of many.
    let share = |weight: u32, tags: Value| json!({"weight": weight, "destination": tags});
    let conf =
        json!({"conf": {"split": [share(90, version("v1")), share(10, version("v2")), share(0, version("v3"))]}});
    put(&stage, "TrafficRoute", "traffic-routes", ["client", "web"], conf).await?;
    answers(outbound, "/new/page", (StatusCode::OK, "v1 /new/page")).await?;
    let http = reqwest::Client::new();
    for _ in 0..300 {
        let answer = http.get(format!("http://127.0.0.1:{outbound}/lot")).send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let drawn = (old.requests("/lot"), new.requests("/lot"));
    assert!(drawn.0 + drawn.1 == 300 && (5..=80).contains(&drawn.1), "{drawn:?}");

    // Where routes decide, what no route leads to cannot be reached.
    put(&stage, "TrafficRoute", "traffic-routes", ["client", "other"], json!({"conf": {"destination": version("v1")}}))
        .await?;
    let closed = || async { Ok(get(outbound, "/hello").await.is_err().then_some(())) };
    wait::until("an outbound without a route is closed", PATIENCE, closed).await?;
    delete(&stage, "traffic-routes").await?;
    answered(outbound, StatusCode::OK).await?;
    assert_eq!(client.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0, "{}", client.log_tail());
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn timeouts_fire_and_failed_requests_are_tried_again() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    mesh(&stage, true).await?;
    let workload = Workload::start("v1").await?;
    let _web = web(&stage, "web-1", "v1", &workload).await?;
    let (_client, outbound) = client(&stage, "client").await?;
    route_everything(&stage).await?;
    answered(outbound, StatusCode::OK).await?;

    let conf = json!({"conf": {"http": {"requestTimeout": "1s"}}});
    put(&stage, "Timeout", "timeouts", ["client", "web"], conf).await?;
    answers(outbound, "/slow", (StatusCode::GATEWAY_TIMEOUT, "")).await?;
    delete(&stage, "timeouts").await?;

    let tries = |expected: usize| {
        let workload = &workload;
        async move {
            let before = workload.requests("/fail");
            anyhow::ensure!(
                get(outbound, "/fail").await?.0 == StatusCode::SERVICE_UNAVAILABLE,
                "not the server's answer"
            );
            Ok((workload.requests("/fail") - before == expected).then_some(()))
        }
    };
    assert_eq!(tries(1).await?, Some(()), "nothing is tried again yet");
    let back_off = json!({"baseInterval": "0.01s", "maxInterval": "0.02s"});
    let conf = json!({"conf": {"http": {"numRetries": 3, "backOff": back_off}}});
    put(&stage, "Retry", "retries", ["client", "web"], conf).await?;
    wait::until("a failed request reaches the server four times", PATIENCE, || tries(4)).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn endpoints_that_fail_are_left_out() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    mesh(&stage, true).await?;
    let workload = Workload::start("v1").await?;
    let _web = web(&stage, "web-1", "v1", &workload).await?;
    let (client, outbound) = client(&stage, "client").await?;
    route_everything(&stage).await?;
    answered(outbound, StatusCode::OK).await?;

    // By what is asked of them again and again.
    let http = json!({"path": "/health", "expectedStatuses": [200]});
    let conf = json!({"conf": {
        "interval": "0.2s", "timeout": "5s", "unhealthyThreshold": 1, "healthyThreshold": 1,
        "failTrafficOnPanic": true, "http": http,
    }});
    put(&stage, "HealthCheck", "health-checks", ["client", "web"], conf).await?;
    let checked = || async { Ok((workload.requests("/health") > 0).then_some(())) };
    wait::until("the server is asked how it is", PATIENCE, checked).await?;
    answered(outbound, StatusCode::OK).await?;
    workload.set_healthy(false);
    answered(outbound, StatusCode::SERVICE_UNAVAILABLE).await?;
    let before = workload.requests("/hello");
    assert_eq!(get(outbound, "/hello").await?.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(workload.requests("/hello"), before, "a server that is not well gets no requests");
    workload.set_healthy(true);
    answered(outbound, StatusCode::OK).await?;
    delete(&stage, "health-checks").await?;

    // By how they answer.
    let detectors = json!({"totalErrors": {"consecutive": 2}});
    let conf = json!({"conf": {
        "interval": "1s", "baseEjectionTime": "600s", "maxEjectionPercent": 100, "detectors": detectors,
        "thresholds": {"maxRequests": 1000},
    }});
    put(&stage, "CircuitBreaker", "circuit-breakers", ["client", "web"], conf).await?;
    let ejected = || async {
        get(outbound, "/fail").await?;
        Ok((client.stat("cluster.web.outlier_detection.ejections_active").await? == 1).then_some(()))
    };
    wait::until("the server that fails is ejected", PATIENCE, ejected).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn an_inbound_treats_callers_as_policies_say() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    mesh(&stage, true).await?;
    let workload = Workload::start("v1").await?;
    let _web = web(&stage, "web-1", "v1", &workload).await?;
    let (_first, first) = client(&stage, "first").await?;
    let (_second, second) = client(&stage, "second").await?;
    answered(first, StatusCode::OK).await?;

    // Faults are for what speaks HTTP, so they have to say that it does.
    let http = json!([{"match": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}]);
    let abort = json!({"destinations": http, "conf": {"abort": {"percentage": 100, "httpStatus": 418}}});
    put(&stage, "FaultInjection", "fault-injections", ["first", "web"], abort).await?;
    answered(first, StatusCode::IM_A_TEAPOT).await?;
    assert_eq!(get(second, "/hello").await?.0, StatusCode::OK, "the fault is for another caller");
    delete(&stage, "fault-injections").await?;
    answered(first, StatusCode::OK).await?;

    let limit = json!({"conf": {"http": {"requests": 1, "interval": "600s"}}});
    put(&stage, "RateLimit", "rate-limits", ["first", "web"], limit).await?;
    answered(first, StatusCode::TOO_MANY_REQUESTS).await?;
    for _ in 0..5 {
        assert_eq!(get(second, "/hello").await?.0, StatusCode::OK, "the limit is for another caller");
    }
    delete(&stage, "rate-limits").await?;
    answered(first, StatusCode::OK).await?;
    stage.passed();
    Ok(())
}
