//! MeshProxyPatch: configuration of proxies that people change themselves.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::wait;

use crate::support::web::{By, MESH, Web};
use crate::support::workload::get;
use crate::support::{PATIENCE, answered, call};

const POLICY: &str = "MeshProxyPatch";
const ROUTER: &str = "envoy.filters.http.router";

/// Modifications for the proxies of the service.
fn patches(modifications: Value) -> Value {
    json!({
        "targetRef": {"kind": "MeshService", "name": "web"},
        "default": {"appendModifications": modifications},
    })
}

/// Waits until answers have this value of the header `x-patched`.
async fn patched(outbound: u16, expected: Option<&str>) -> Result<()> {
    let as_expected = || async {
        let response = reqwest::get(format!("http://127.0.0.1:{outbound}/hello")).await.context("no answer")?;
        let header = response.headers().get("x-patched").and_then(|value| value.to_str().ok());
        ensure!(header == expected, "answered with {} and {header:?}", response.status());
        Ok(Some(()))
    };
    wait::until(&format!("answers have the header {expected:?}"), PATIENCE, as_expected).await
}

/// A filter of inbounds that adds the header to answers.
fn header_filter(value: &str) -> Value {
    let header = json!({"header": {"key": "x-patched", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let filter = json!({
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"response_mutations": [{"append": header}]},
        },
    });
    let select = json!({"name": ROUTER, "origin": "inbound"});
    json!({"httpFilter": {"operation": "AddBefore", "match": select, "value": filter.to_string()}})
}

#[tokio::test]
async fn patched_listeners_and_clusters_serve_and_broken_patches_are_told() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    patched(web.outbound, None).await?;
    web.put(POLICY, "patch", patches(json!([header_filter("first")]))).await?;
    patched(web.outbound, Some("first")).await?;

    // Changes to JSON, and a cluster that is added and led to.
    let extra = json!({
        "name": "extra", "connectTimeout": "2s", "type": "STATIC",
        "loadAssignment": {"clusterName": "extra", "endpoints": [{"lbEndpoints": [{"endpoint": {
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": web.workload.port()}},
        }}]}]},
    });
    let route = json!({
        "match": {"path": "/patched"}, "route": {"cluster": "extra", "prefixRewrite": "/rewritten"},
    });
    let modifications = json!([
        header_filter("second"),
        {"cluster": {"operation": "Add", "value": extra.to_string()}},
        {"cluster": {"operation": "Patch", "match": {"name": "extra"},
            "jsonPatches": [{"op": "replace", "path": "/connectTimeout", "value": "3s"}]}},
        {"virtualHost": {"operation": "Patch", "match": {"origin": "inbound"},
            "jsonPatches": [{"op": "add", "path": "/routes/0", "value": route}]}},
    ]);
    web.put(POLICY, "patch", patches(modifications)).await?;
    patched(web.outbound, Some("second")).await?;
    assert_eq!(get(web.outbound, "/patched").await?, (StatusCode::OK, "web /rewritten".to_owned()));
    let dump = web.server.config_dump().await?.to_string();
    assert!(dump.contains(r#""connect_timeout":"3s""#), "{dump}");

    // What does not fit is told, and everything else is in effect.
    let echo = json!({
        "name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
    });
    let manager = json!({"name": "envoy.filters.network.http_connection_manager", "origin": "inbound"});
    let modifications = json!([
        {"networkFilter": {"operation": "Patch", "match": manager, "value": echo.to_string()}},
        {"cluster": {"operation": "Patch", "match": {"origin": "inbound"},
            "jsonPatches": [{"op": "replace", "path": "/not/there", "value": 1}]}},
        header_filter("third"),
    ]);
    web.put(POLICY, "patch", patches(modifications)).await?;
    patched(web.outbound, Some("third")).await?;
    let problems = || async {
        let problems = web.stage.zone(0).api.get(&format!("/meshes/{MESH}/dataplanes/web-1/_problems")).await?;
        let told: Vec<Value> = problems["items"].as_array().cloned().unwrap_or_default();
        let of_policy = told.iter().filter(|problem| problem["subject"]["type"] == POLICY).count();
        ensure!(of_policy == 2, "{problems}");
        Ok(Some(()))
    };
    wait::until("two modifications are told", PATIENCE, problems).await?;

    // What is no resource of Envoy is not taken.
    let typo = patches(json!([{"cluster": {"operation": "Patch", "value": "conectTimeout: 1s"}}]));
    let error = web.put(POLICY, "patch", typo).await.expect_err("the member does not exist").to_string();
    assert!(error.contains("native Envoy resource is not valid") && error.contains("conectTimeout"), "{error}");
    patched(web.outbound, Some("third")).await?;

    web.delete(POLICY, "patch").await?;
    patched(web.outbound, None).await?;
    answered(web.outbound, StatusCode::OK).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);
    web.passed(&[]).await
}
