//! Who may call whom, and how.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::json;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Inbound;
use tandem_e2e::{api, ports, wait};

use crate::support::{PATIENCE, Stage, answered, apps, call};

#[tokio::test]
async fn callers_are_denied_without_a_permission_and_served_as_long_as_there_is_one() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("echo").await?;
    let echo = apps::sidecar("default", "echo-1", "echo", server.port(), &[])?;
    let inbound = echo.resource["networking"]["inbound"][0]["port"].as_u64().unwrap_or_default();
    let _echo = stage.zone(0).start_sidecar(echo).await?;
    let (first, second) = (ports::free()?, ports::free()?);
    let _first = stage.zone(0).start_sidecar(apps::caller("default", "first", &[(first, "echo")])?).await?;
    let _second = stage.zone(0).start_sidecar(apps::caller("default", "second", &[(second, "echo")])?).await?;

    // Nobody is permitted.
    answered(first, StatusCode::FORBIDDEN).await?;
    answered(second, StatusCode::FORBIDDEN).await?;

    // One caller is permitted by its identity.
    let (path, mut permission) = api::traffic_permission("default", "first-only", "Allow");
    permission["spec"]["from"][0]["targetRef"] = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "first"}});
    stage.global().put(&path, &permission).await?;
    answered(first, StatusCode::OK).await?;
    assert_eq!(call(second).await?.0, StatusCode::FORBIDDEN);

    // All callers are, then none again.
    let (everyone, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&everyone, &permission).await?;
    answered(second, StatusCode::OK).await?;
    stage.global().delete(&everyone).await?;
    answered(second, StatusCode::FORBIDDEN).await?;
    assert_eq!(call(first).await?.0, StatusCode::OK);
    stage.global().delete(&path).await?;
    answered(first, StatusCode::FORBIDDEN).await?;

    // A caller without a certificate does not even get that answer.
    let inbound = u16::try_from(inbound)?;
    assert!(call(inbound).await.is_err(), "a plain request was answered");
    let mut permissive = api::mesh("default");
    permissive["mtls"]["backends"][0]["mode"] = json!("PERMISSIVE");
    stage.mesh(&permissive).await?;
    let answer = answered(inbound, StatusCode::OK).await?;
    assert_eq!(answer.and_then(|answer| answer.caller), None, "a caller without a certificate has no identity");
    // Permissions are about identities, so a caller that shows one needs one. Callers do so as soon as they know that all
    // servers can take it.
    answered(first, StatusCode::FORBIDDEN).await?;

    // Without mutual TLS everybody is served.
    let mut plain = api::mesh("default");
    plain["mtls"] = json!({"backends": plain["mtls"]["backends"]});
    plain["routing"] = json!({"localityAwareLoadBalancing": true});
    stage.mesh(&plain).await?;
    answered(first, StatusCode::OK).await?;
    assert_eq!(call(inbound).await?.0, StatusCode::OK);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn tcp_connections_need_a_permission_too() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("echo").await?;
    let mut inbound = Inbound::http("echo", server.port())?;
    inbound.protocol = "tcp".to_owned();
    let spec = tandem_e2e::proxy::ProxySpec::sidecar("default", "echo-1", &inbound, &[]);
    let echo = stage.zone(0).start_sidecar(spec).await?;
    let outbound = ports::free()?;
    let _client = stage.zone(0).start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;

    let denied = || async {
        let denied = echo.stat_sum(|name| name.ends_with("rbac.denied")).await?;
        Ok((call(outbound).await.is_err() && denied > 0).then_some(()))
    };
    wait::until("the connection is closed by the server's proxy", PATIENCE, denied).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let answer = answered(outbound, StatusCode::OK).await?;
    // Nothing on the way understands HTTP, so nothing can have added a header.
    assert_eq!(answer.and_then(|answer| answer.caller), None);
    stage.passed();
    Ok(())
}
