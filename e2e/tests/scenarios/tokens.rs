//! Tokens of proxies: keys that rotate, tokens that are taken back, and names that are taken already.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::ProxySpec;
use tandem_e2e::world::Zone;
use tandem_e2e::{ports, wait};

use crate::support::{Ads, PATIENCE, Stage, answered, apps};

const MESH: &str = "shop";

/// A part of a token: 0 for its header, 1 for its claims.
fn part(token: &str, index: usize) -> Result<Value> {
    let text = token.split('.').nth(index).context("a token has three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text)?)?)
}

async fn put_secret(api: &Api, name: &str, data: &str) -> Result<()> {
    let body = json!({"type": "Secret", "mesh": MESH, "name": name, "data": data});
    api.put(&format!("/meshes/{MESH}/secrets/{name}"), &body).await.map(drop)
}

/// Waits until a stream of a proxy is refused with a text.
async fn refused(zone: &Zone, spec: &ProxySpec, reason: &str) -> Result<()> {
    let condition = || async {
        let refusal = Ads::open(&zone.dp_server, spec).await?.refusal().await;
        ensure!(refusal.message() == reason, "{refusal:?}");
        Ok(Some(()))
    };
    wait::until(&format!("{} is refused", spec.name), PATIENCE, condition).await
}

#[tokio::test]
async fn keys_rotate_and_tokens_are_taken_back_under_running_proxies() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let (global, zone) = (stage.global(), stage.zone(0));
    for mesh in [MESH, "spare"] {
        stage.mesh(&json!({"type": "Mesh", "name": mesh})).await?;
    }
    let (server, outbound) = (EchoServer::start("echo").await?, ports::free()?);
    let old = zone.dataplane_token(MESH, "client").await?;
    assert_eq!(part(&old, 0)?["kid"], "1");
    let client = apps::caller(MESH, "client", &[(outbound, "echo")])?.with_token(old);
    let envoy = zone.start_proxy(client.clone()).await?;

    // The next key is there beside the first one, and signs from now on.
    let key = global.get("/meshes/spare/secrets/dataplane-token-signing-key-spare-1").await?;
    put_secret(global, &format!("dataplane-token-signing-key-{MESH}-2"), key["data"].as_str().context("a key")?)
        .await?;
    let signed = || async {
        let token = zone.dataplane_token(MESH, "echo-1").await?;
        Ok((part(&token, 0)?["kid"] == "2").then_some(token))
    };
    let new = wait::until("the new key signs in the zone", PATIENCE, signed).await?;
    let echo = apps::sidecar(MESH, "echo-1", "echo", server.port(), &[])?.with_token(new.clone());
    let echo_envoy = zone.start_proxy(echo.clone()).await?;
    answered(outbound, StatusCode::OK).await?;

    // Without the first key nobody comes in with its tokens, and who is in stays.
    global.delete(&format!("/meshes/{MESH}/secrets/dataplane-token-signing-key-{MESH}-1")).await?;
    let reason = format!(
        "authentication failed: there is no signing key with KID 1. Secret of name \"dataplane-token-signing-key-{MESH}-1\" in \
         mesh \"{MESH}\" is not found. If signing key was rotated, regenerate the token"
    );
    refused(zone, &client, &reason).await?;
    // What changes still reaches the proxy.
    let second = EchoServer::start("second").await?;
    let token = zone.dataplane_token(MESH, "echo-2").await?;
    let spec = apps::sidecar(MESH, "echo-2", "echo", second.port(), &[])?.with_token(token);
    let _second = zone.start_proxy(spec).await?;
    let reached = || async {
        let (_, answer) = crate::support::call(outbound).await?;
        Ok((answer.context("an answer of echo's")?.server == "second").then_some(()))
    };
    wait::until("the client reaches what came later", PATIENCE, reached).await?;

    // When it comes back, Envoy is told to get another token, and is served with one.
    envoy.kill().await?;
    let refused_envoy = zone.launch_proxy(client.clone()).await?;
    let told = || async { Ok(refused_envoy.log().contains(&reason).then_some(())) };
    wait::until("Envoy logs the reason", PATIENCE, told).await.with_context(|| refused_envoy.log_tail())?;
    refused_envoy.kill().await?;
    let renewed = client.with_token(zone.dataplane_token(MESH, "client").await?);
    let _client = zone.start_proxy(renewed).await?;
    answered(outbound, StatusCode::OK).await?;

    // A single token that is taken back.
    let id = part(&new, 1)?["jti"].as_str().context("an id")?.to_owned();
    put_secret(global, &format!("dataplane-token-revocations-{MESH}"), &BASE64.encode(format!("{id}\n"))).await?;
    refused(zone, &echo, "authentication failed: token is revoked").await?;
    answered(outbound, StatusCode::OK).await?;
    let rejected = echo_envoy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
    assert_eq!(rejected, 0, "{}", echo_envoy.log_tail());
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_dataplane_is_not_taken_over_with_the_token_of_another_service() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": MESH})).await?;
    let zone = stage.zone(0);
    zone.dataplane_token(MESH, "any").await?;
    let spec = apps::caller(MESH, "orders-1", &[])?;
    let owner = spec.clone().with_token(zone.dataplane_token(MESH, "orders-1").await?);
    let mut owner = Ads::open(&zone.dp_server, &owner).await?;
    owner.response().await?;
    drop(owner);

    // The name is right, and the token is for what is brought.
    let body = json!({"mesh": MESH, "tags": {"kuma.io/service": ["payments"]}, "validFor": "1h"});
    let issued = zone.api.send(reqwest::Method::POST, "/tokens/dataplane", Some(&body)).await?;
    let token = issued.body.as_str().context("a token")?.to_owned();
    let mut other = spec.clone().with_token(token);
    other.resource["networking"]["inbound"][0]["tags"]["kuma.io/service"] = json!("payments");
    let reason = "could not register proxy passed in kuma-dp run: a Dataplane \"orders-1\" is there already, and the token does \
                  not cover it: dataplane contains tag \"kuma.io/service\" with value \"orders-1\" which is not allowed with \
                  this token. Allowed values in token are [\"payments\"]. Use a token that covers both, delete that Dataplane, \
                  or wait until its proxy has left for xdsServer.dataplaneDeregistrationDelay";
    refused(zone, &other, reason).await?;
    let stored = zone.api.get(&format!("/meshes/{MESH}/dataplanes/orders-1")).await?;
    assert_eq!(stored["networking"]["inbound"][0]["tags"]["kuma.io/service"], "orders-1");

    // When the name is free again, it is anybody's whose token covers it.
    zone.api.delete(&format!("/meshes/{MESH}/dataplanes/orders-1")).await?;
    Ads::open(&zone.dp_server, &other).await?.response().await?;
    stage.passed();
    Ok(())
}
