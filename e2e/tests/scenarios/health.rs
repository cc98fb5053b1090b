//! Applications that their proxies probe.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::{api, ports, wait};

use crate::support::{PATIENCE, Stage, answered, apps, call};

#[tokio::test]
async fn an_application_that_does_not_answer_its_probe_gets_no_requests() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let zone = stage.zone(0);
    let (probed, other) = (EchoServer::start("probed").await?, EchoServer::start("other").await?);
    let mut spec = apps::sidecar("default", "probed", "echo", probed.port(), &[])?;
    spec.resource["networking"]["inbound"][0]["serviceProbe"] = json!({"tcp": {}, "interval": "1s", "timeout": "1s"});
    let sidecar = zone.start_sidecar(spec).await?;
    let inbound = || async {
        let dataplane = zone.api.get("/meshes/default/dataplanes/probed").await?;
        Ok::<Value, anyhow::Error>(dataplane["networking"]["inbound"][0].clone())
    };
    // It counts as ready when its proxy has seen so, not before.
    let ready = || async { Ok((inbound().await?["health"]["ready"] == true).then_some(())) };
    wait::until("the probe is answered", PATIENCE, ready).await?;
    assert_eq!(inbound().await?.get("state"), None, "the state of an inbound that is ready is left out");

    let outbound = ports::free()?;
    let client = zone.start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
    let answer = answered(outbound, StatusCode::OK).await?.context("the answer is not echo's")?;
    assert_eq!(answer.server, "probed");

    let _other = zone.start_sidecar(apps::sidecar("default", "other", "echo", other.port(), &[])?).await?;
    drop(probed);
    let unready = || async { Ok((inbound().await?["state"] == "NotReady").then_some(())) };
    wait::until("the probe is not answered", PATIENCE, unready).await?;
    let endpoint = format!("127.0.0.1:{}::", sidecar.spec.resource["networking"]["inbound"][0]["port"]);
    let left_out = || async {
        let clusters = client.admin("clusters").await?;
        let lines: Vec<_> = clusters.lines().filter(|line| line.contains(&endpoint)).collect();
        Ok(lines.iter().all(|line| !line.contains("health_flags") || line.contains("failed_eds_health")).then_some(()))
    };
    wait::until("the client leaves the endpoint out", PATIENCE, left_out).await?;
    for _ in 0..10 {
        let (status, echo) = call(outbound).await?;
        assert_eq!((status, echo.map(|echo| echo.server).as_deref()), (StatusCode::OK, Some("other")));
    }
    stage.passed();
    Ok(())
}
