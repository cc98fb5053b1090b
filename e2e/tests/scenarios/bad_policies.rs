//! Policies that refer to what does not exist, contradict each other, or ask for what Envoy does not do: all others stay in effect,
//! and Envoy refuses nothing.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::answered;
use crate::support::web::{By, Web};
use crate::support::workload::{answers, get};

/// Policies that are accepted when they are written.
fn bad(web: &Web) -> Vec<(&'static str, &'static str, Value)> {
    let nowhere = json!({"kind": "MeshService", "name": "nowhere"});
    let all = json!({"kind": "Mesh"});
    let to = |target: &Value, conf: Value| json!({"to": [{"targetRef": target, "default": conf}]});
    let of_nobody = |mut spec: Value| {
        spec["targetRef"] = json!({"kind": "Dataplane", "name": "nobody"});
        spec
    };
    let retries = json!({"http": {
        "numRetries": 1, "retryOn": ["ConnectFailure"], "perTryTimeout": "-1s",
        "backOff": {"baseInterval": "10s", "maxInterval": "1s"},
        "rateLimitedBackOff": {"resetHeaders": []},
        "retriableRequestHeaders": [{"type": "RegularExpression", "name": "x-retry", "value": "("}],
    }});
    let limits = json!({
        "connectionLimits": {"maxConnections": u32::MAX, "maxRequests": u32::MAX, "maxRetries": u32::MAX},
        "outlierDetection": {"detectors": {"successRate": {"standardDeviationFactor": "4294967295.9"}}},
    });
    let matches = |kind: &str, path: &str| json!([{"path": {"type": kind, "value": path}}]);
    let rule = |matches: Value, target: &Value| json!({"matches": matches, "default": {"backendRefs": [target]}});
    let mut renamed = rule(matches("Exact", "/renamed"), &web.service());
    let path = json!({"type": "ReplaceFullPath", "replaceFullPath": "/new-name"});
    renamed["default"]["filters"] = json!([{"type": "URLRewrite", "urlRewrite": {"path": path}}]);
    let rules = json!([
        rule(matches("Exact", "/nowhere"), &nowhere),
        rule(matches("RegularExpression", "/("), &web.service()),
        renamed,
        rule(matches("PathPrefix", "/"), &web.service()),
    ]);
    let patch = |change: Value| json!({"default": {"appendModifications": [change]}});
    let section = json!({"kind": "Dataplane", "sectionName": "no-such-port"});
    vec![
        ("MeshTimeout", "of-nobody", of_nobody(to(&all, json!({"http": {"requestTimeout": "1ms"}})))),
        ("MeshTimeout", "of-nowhere", to(&nowhere, json!({"http": {"requestTimeout": "1ms"}}))),
        ("MeshRetry", "beyond-limits", to(&all, retries)),
        ("MeshCircuitBreaker", "beyond-limits", to(&web.service(), limits)),
        (
            "MeshTrafficPermission",
            "of-no-section",
            json!({"targetRef": section, "from": [{"targetRef": all, "default": {"action": "Deny"}}]}),
        ),
        ("MeshHTTPRoute", "to-nowhere", json!({"to": [{"targetRef": web.service(), "rules": rules}]})),
        (
            "MeshProxyPatch",
            "no-such-member",
            patch(json!({"cluster": {
                "operation": "Patch", "jsonPatches": [{"op": "remove", "path": "/noSuchMember/0/atAll"}],
            }})),
        ),
        (
            "MeshProxyPatch",
            "no-such-filter",
            patch(json!({"httpFilter": {"operation": "Remove", "match": {"name": "envoy.filters.http.nothing"}}})),
        ),
    ]
}

#[tokio::test]
async fn policies_that_make_no_sense_take_no_other_down() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let request = (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout");
    let timeout = |http: Value| json!({"to": [{"targetRef": web.service(), "default": {"http": http}}]});
    web.put("MeshTimeout", "good", timeout(json!({"requestTimeout": "300ms", "streamIdleTimeout": "0s"}))).await?;
    answers(web.outbound, "/slow", request).await?;
    for (kind, name, spec) in bad(&web) {
        web.put(kind, name, spec).await?;
    }
    // Of a route, what makes sense is in effect.
    answers(web.outbound, "/renamed", (StatusCode::OK, "web /new-name")).await?;
    answered(web.outbound, StatusCode::OK).await?;
    answers(web.outbound, "/slow", request).await?;

    // Later policies take effect as well, and those of before when the bad ones go.
    let later = timeout(json!({"requestTimeout": "0s", "streamIdleTimeout": "300ms"}));
    web.put("MeshTimeout", "a-later-one", later).await?;
    answers(web.outbound, "/slow", (StatusCode::GATEWAY_TIMEOUT, "stream timeout")).await?;
    for (kind, name, _) in bad(&web) {
        web.delete(kind, name).await?;
    }
    answers(web.outbound, "/renamed", (StatusCode::OK, "web /renamed")).await?;
    assert_eq!(get(web.outbound, "/hello").await?.0, StatusCode::OK);
    web.passed(&[]).await
}
