//! A request between zones.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::{api, ports, wait};

use crate::support::{PATIENCE, Stage, answered, apps, call, zone_proxies};

#[tokio::test]
async fn request_crosses_zones_under_mutual_tls_with_the_callers_identity() -> Result<()> {
    cross(false).await
}

#[tokio::test]
async fn request_crosses_zones_with_proxies_of_the_delta_variant() -> Result<()> {
    cross(true).await
}

async fn cross(delta: bool) -> Result<()> {
    let stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;

    let (_ingress_1, egress) = zone_proxies(&stage.world, stage.zone(0), delta).await?;
    let (ingress, _egress_2) = zone_proxies(&stage.world, stage.zone(1), delta).await?;
    let server = EchoServer::start("echo in zone-2").await?;
    let mut echo = apps::sidecar("default", "echo-1", "echo", server.port(), &[])?;
    let outbound = ports::free()?;
    let mut client = apps::caller("default", "client", &[(outbound, "echo")])?;
    (echo.delta, client.delta) = (delta, delta);
    let echo = stage.zone(1).start_sidecar(echo).await?;
    let client = stage.zone(0).start_sidecar(client).await?;
    answered(outbound, StatusCode::OK).await?;

    // Every proxy on the way counts the request.
    let workload = format!("cluster.localhost_{}.upstream_rq_total", server.port());
    let way: [(&Proxy, &str); 4] = [
        (&client, "cluster.echo.upstream_rq_total"),
        (&egress, "cluster.default_echo.upstream_cx_tx_bytes_total"),
        (&ingress, "cluster.default_echo.upstream_cx_tx_bytes_total"),
        (&echo, &workload),
    ];
    let mut before = Vec::new();
    for (proxy, counter) in way {
        before.push(proxy.stat(counter).await?);
    }
    let (status, answer) = call(outbound).await?;
    assert_eq!(status, StatusCode::OK);
    for ((proxy, counter), before) in way.into_iter().zip(before) {
        let counted = || async { Ok((proxy.stat(counter).await? > before).then_some(())) };
        wait::until(&format!("{} counts the request in {counter}", proxy.spec.name), PATIENCE, counted).await?;
    }

    let answer = answer.context("the answer is not echo's")?;
    assert_eq!((answer.server.as_str(), answer.path.as_str()), ("echo in zone-2", "/hello"));
    let caller = answer.caller.context("the server's proxy names no caller")?;
    assert!(caller.split([';', ',']).any(|part| part == "URI=spiffe://default/client"), "{caller}");

    // The connections were TLS, and in the variant asked for.
    assert!(echo.stat_sum(|name| name.starts_with("listener.") && name.ends_with("ssl.handshake")).await? > 0);
    for proxy in [&client, &egress, &ingress, &echo] {
        let api_type = if delta { "DELTA_GRPC" } else { "GRPC" };
        let dump = proxy.config_dump().await?;
        let bootstrap = dump["configs"].as_array().and_then(|configs| configs.first()).context("no bootstrap")?;
        assert_eq!(bootstrap["bootstrap"]["dynamic_resources"]["ads_config"]["api_type"], api_type);
        assert_eq!(rejected(proxy).await?, 0, "{} refused a configuration:\n{}", proxy.spec.name, proxy.log_tail());
    }
    stage.passed();
    Ok(())
}

/// How many configurations a proxy has refused.
async fn rejected(proxy: &Proxy) -> Result<u64> {
    proxy.stat_sum(|name| name.ends_with(".update_rejected")).await
}
