//! MeshTrace: spans of requests arrive at the collector that a policy names, from the client's proxy and from the server's.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::wait;

use crate::support::collector::{Collector, attribute};
use crate::support::recorder::Recorder;
use crate::support::web::{By, Web};
use crate::support::{PATIENCE, answered};

const POLICY: &str = "MeshTrace";

/// A policy with one backend: every request is traced, and spans have two tags.
fn trace(backend: Value) -> Value {
    let tags = json!([
        {"name": "team", "literal": "shop"},
        {"name": "asked", "header": {"name": "x-nothing", "default": "nobody"}},
    ]);
    let sampling = json!({"overall": 100, "random": "100", "client": 100});
    json!({"default": {"backends": [backend], "sampling": sampling, "tags": tags}})
}

/// Waits until requests make this happen.
async fn after_requests(web: &Web, what: &str, happened: impl Fn() -> Result<bool>) -> Result<()> {
    let condition = || async {
        answered(web.outbound, StatusCode::OK).await?;
        Ok(happened()?.then_some(()))
    };
    wait::until(what, PATIENCE, condition).await
}

#[tokio::test]
async fn spans_reach_collectors_of_zipkin_datadog_and_open_telemetry() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let recorder = Recorder::tcp("{}").await?;
    let port = recorder.port;
    let zipkin = json!({"url": format!("http://127.0.0.1:{port}/api/v2/spans"), "traceId128bit": true});
    web.put(POLICY, "everywhere", trace(json!({"type": "Zipkin", "zipkin": zipkin}))).await?;
    let is_complete = |span: &Value, kind: &str| {
        let tags = &span["tags"];
        span["kind"] == kind
            && span["traceId"].as_str().is_some_and(|id| id.len() == 32)
            && [&tags["team"], &tags["asked"], &tags["http.status_code"]] == ["shop", "nobody", "200"]
    };
    after_requests(&web, "spans of both proxies arrive as Zipkin has them", || {
        let requests = recorder.requests().into_iter().filter(|request| request.target == "/api/v2/spans");
        let spans: Vec<Value> = requests.filter_map(|request| serde_json::from_slice(&request.body).ok()).collect();
        let has = |kind: &str| spans.iter().filter_map(Value::as_array).flatten().any(|span| is_complete(span, kind));
        Ok(has("CLIENT") && has("SERVER"))
    })
    .await?;

    // Where Datadog is told which way requests go, a destination that is a resource is told by the name it has for clusters.
    let agent = json!({"url": format!("http://127.0.0.1:{port}"), "splitService": true});
    web.put(POLICY, "everywhere", trace(json!({"type": "Datadog", "datadog": agent}))).await?;
    let destination = format!("client_OUTBOUND_default_web__zone-1_msvc_{}", web.inbound);
    after_requests(&web, "spans of both proxies arrive as Datadog has them", || {
        let requests = recorder.requests().into_iter().filter(|request| request.target == "/v0.4/traces");
        let bodies: Vec<String> = requests.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
        let has = |wanted: &str| bodies.iter().any(|body| body.contains(wanted));
        Ok(has(&destination) && has("web_INBOUND"))
    })
    .await?;

    let collector = Collector::start().await?;
    let endpoint = json!({"endpoint": format!("127.0.0.1:{}", collector.port)});
    let backend = json!({"type": "OpenTelemetry", "openTelemetry": endpoint});
    web.put(POLICY, "everywhere", trace(backend)).await?;
    after_requests(&web, "spans of both proxies arrive over OpenTelemetry", || {
        let spans = collector.spans();
        let has = |wanted: &str| {
            spans.iter().any(|(service, span)| {
                let tag = |name: &str| attribute(&span.attributes, name);
                service == wanted && tag("team") == Some("shop") && tag("asked") == Some("nobody")
            })
        };
        Ok(has("client") && has("web"))
    })
    .await?;

    // Without a backend nothing is traced.
    web.put(POLICY, "everywhere", json!({"default": {"backends": []}})).await?;
    let is_off = || async {
        let clusters = [&web.client, &web.server];
        let mut known = 0;
        for proxy in clusters {
            known +=
                proxy.stat_sum(|name| name.starts_with("cluster.meshtrace_opentelemetry.membership_total")).await?;
        }
        Ok((known == 0).then_some(()))
    };
    wait::until("the proxies know no collector", PATIENCE, is_off).await?;
    web.passed(&[]).await
}
