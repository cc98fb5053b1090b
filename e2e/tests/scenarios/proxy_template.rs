//! Configuration that people write for proxies themselves.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::{ports, wait};

use crate::support::{PATIENCE, Stage, apps};

const PATH: &str = "/meshes/default/proxytemplates/edits";

/// Value of the header `x-edited` in the answer to a request.
async fn header(outbound: u16) -> Result<Option<String>> {
    let response = reqwest::get(format!("http://127.0.0.1:{outbound}/hello")).await?;
    ensure!(response.status().is_success(), "answered with {}", response.status());
    let value = response.headers().get("x-edited");
    Ok(value.and_then(|value| value.to_str().ok()).map(str::to_owned))
}

async fn has_header(outbound: u16, expected: Option<&str>) -> Result<()> {
    let condition = || async { Ok((header(outbound).await?.as_deref() == expected).then_some(())) };
    wait::until(&format!("answers have the header {expected:?}"), PATIENCE, condition).await
}

fn template(modifications: Value) -> Value {
    json!({
        "type": "ProxyTemplate", "mesh": "default", "name": "edits",
        "selectors": [{"match": {"kuma.io/service": "echo"}}],
        "conf": {"imports": ["default-proxy"], "modifications": modifications},
    })
}

#[tokio::test]
async fn modifications_take_effect_one_by_one_and_go_with_the_template() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let server = EchoServer::start("echo").await?;
    let outbound = ports::free()?;
    let echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let client = apps::caller("default", "client", &[(outbound, "echo")])?;
    let _client = stage.zone(0).start_sidecar(client).await?;
    has_header(outbound, None).await?;

    let host = json!({"responseHeadersToAdd": [{"header": {"key": "x-edited", "value": "yes"}}]}).to_string();
    let edit = json!({"virtualHost": {"operation": "patch", "match": {"origin": "inbound"}, "value": host}});
    stage.global().put(PATH, &template(json!([edit]))).await?;
    has_header(outbound, Some("yes")).await?;

    // One that fails at the filter it is about leaves the others in effect.
    let other = json!({
        "name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
    });
    let fails = json!({"networkFilter": {
        "operation": "patch", "value": other.to_string(),
        "match": {"name": "envoy.filters.network.http_connection_manager", "origin": "inbound"},
    }});
    let again = json!({"virtualHost": {"operation": "patch", "match": {"origin": "inbound"}, "value": json!({
        "responseHeadersToAdd": [{"header": {"key": "x-edited", "value": "again"}}]}).to_string(),
    }});
    stage.global().put(PATH, &template(json!([fails, again]))).await?;
    has_header(outbound, Some("again")).await?;
    assert_eq!(echo.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0, "{}", echo.log_tail());

    stage.global().delete(PATH).await?;
    has_header(outbound, None).await?;
    stage.passed();
    Ok(())
}
