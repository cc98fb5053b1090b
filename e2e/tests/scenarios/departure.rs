//! Proxies that leave, and proxies that only seem to.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::Value;
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::{api, ports, wait};

use crate::support::ads::CLUSTER;
use crate::support::{Ads, PATIENCE, Stage, answered, apps, call};

/// The Dataplane with this name in its zone, if a control plane has it.
async fn dataplane(api: &Api, name: &str) -> Result<Option<Value>> {
    let list = api.get("/meshes/default/dataplanes").await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().find(|item| item["labels"]["kuma.io/display-name"] == name || item["name"] == name))
}

#[tokio::test]
async fn a_proxy_that_leaves_is_removed_everywhere_and_others_lose_its_endpoint() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let zone = stage.zone(0);
    let (staying, leaving) = (EchoServer::start("staying").await?, EchoServer::start("leaving").await?);
    let _stays = zone.start_sidecar(apps::sidecar("default", "echo-1", "echo", staying.port(), &[])?).await?;
    let leaves = zone.start_sidecar(apps::sidecar("default", "echo-2", "echo", leaving.port(), &[])?).await?;
    let outbound = ports::free()?;
    let client = zone.start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
    let port = leaves.spec.resource["networking"]["inbound"][0]["port"].clone();
    let endpoint = format!("127.0.0.1:{port}::");

    answered(outbound, StatusCode::OK).await?;
    let known = || async { Ok(client.admin("clusters").await?.contains(&endpoint).then_some(())) };
    wait::until("the client has both endpoints", PATIENCE, known).await?;
    for api in [stage.global(), &zone.api] {
        let known = || async { Ok(dataplane(api, "echo-2").await?.map(drop)) };
        wait::until(&format!("{} knows the proxy", api.url()), PATIENCE, known).await?;
    }

    leaves.kill().await?;
    let lost = || async { Ok((!client.admin("clusters").await?.contains(&endpoint)).then_some(())) };
    wait::until("the client has lost the endpoint", PATIENCE, lost).await?;
    for _ in 0..10 {
        let (status, echo) = call(outbound).await?;
        assert_eq!((status, echo.map(|echo| echo.server).as_deref()), (StatusCode::OK, Some("staying")));
    }
    for api in [&zone.api, stage.global()] {
        let gone = || async { Ok(dataplane(api, "echo-2").await?.is_none().then_some(())) };
        wait::until(&format!("{} has removed the proxy", api.url()), PATIENCE, gone).await?;
        // What was known of its connection went with it.
        let gone = || async {
            let insights = api.get("/meshes/default/dataplanes/_overview").await?.to_string();
            Ok((!insights.contains("echo-2")).then_some(()))
        };
        wait::until(&format!("{} has removed its insight", api.url()), PATIENCE, gone).await?;
        assert!(dataplane(api, "echo-1").await?.is_some(), "the other proxy is still known");
    }
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_reconnects_before_its_removal_keeps_its_dataplane() -> Result<()> {
    let mut stage = Stage::empty().await?;
    let delay = Duration::from_secs(5);
    let settings = [("KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY", "5s")];
    stage.world.add_zone_with("zone-1", &settings).await?;
    stage.mesh(&api::mesh("default")).await?;
    let zone = stage.zone(0);
    let token = |name: &'static str| zone.dataplane_token("default", name);
    let returning = apps::caller("default", "returning", &[])?.with_token(token("returning").await?);
    let leaving = apps::caller("default", "leaving", &[])?.with_token(token("leaving").await?);

    let mut first = Ads::open(&zone.dp_server, &returning).await?;
    first.response_of(CLUSTER).await?;
    let mut other = Ads::open(&zone.dp_server, &leaving).await?;
    other.response_of(CLUSTER).await?;
    let before = dataplane(&zone.api, "returning").await?.context("the proxy is not registered")?;
    drop(first);
    // A stream that the zone has not yet seen to end may still be in the way.
    let again = || async {
        let mut stream = Ads::open(&zone.dp_server, &returning).await?;
        stream.response_of(CLUSTER).await?;
        Ok(Some(stream))
    };
    let second = wait::until("the proxy is served again", PATIENCE, again).await?;

    // The removal of one that left later shows that the time of the first is over.
    drop(other);
    let gone = || async { Ok(dataplane(&zone.api, "leaving").await?.is_none().then_some(())) };
    wait::until("the proxy that stays away is removed", delay + PATIENCE, gone).await?;
    let after = dataplane(&zone.api, "returning").await?.context("the proxy was removed although it came back")?;
    assert_eq!(after["creationTime"], before["creationTime"], "the Dataplane was made anew");
    drop(second);
    let gone = || async { Ok(dataplane(&zone.api, "returning").await?.is_none().then_some(())) };
    wait::until("the proxy is removed in the end", delay + PATIENCE, gone).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn proxies_do_not_leave_when_their_zone_is_restarted() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let zone = stage.zone(0);
    let spec = apps::caller("default", "dp", &[])?.with_token(zone.dataplane_token("default", "dp").await?);
    let mut stream = Ads::open(&zone.dp_server, &spec).await?;
    stream.response_of(CLUSTER).await?;
    let before = dataplane(&zone.api, "dp").await?.context("the proxy is not registered")?;
    let zone = stage.zone_mut(0);
    zone.control_plane.stop().await?;
    zone.control_plane.start().await?;
    assert_eq!(dataplane(&zone.api, "dp").await?, Some(before));
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_dataplane_made_over_http_stays_when_its_proxy_leaves() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let zone = stage.zone(0);
    let made = apps::caller("default", "made", &[])?;
    zone.api.put("/meshes/default/dataplanes/made", &made.resource).await?;
    let token = zone.dataplane_token("default", "made").await?;
    let brought =
        apps::caller("default", "brought", &[])?.with_token(zone.dataplane_token("default", "brought").await?);

    // This one brings no resource of its own, as it has been made already.
    let mut node = crate::support::ads::node(&made);
    if let Some(metadata) = &mut node.metadata {
        metadata.fields.remove("dataplane.resource");
    }
    let mut first = Ads::open_as(&zone.dp_server, node, Some(&token)).await?;
    first.response_of(CLUSTER).await?;
    let mut second = Ads::open(&zone.dp_server, &brought).await?;
    second.response_of(CLUSTER).await?;
    drop(first);
    let online = || async {
        let overview = zone.api.get("/meshes/default/dataplanes/made/_overview").await?;
        let subscriptions = overview["dataplaneInsight"]["subscriptions"].as_array().cloned().unwrap_or_default();
        Ok(subscriptions.last().and_then(|last| last.get("disconnectTime")).map(drop))
    };
    wait::until("the zone knows that the proxy left", PATIENCE, online).await?;
    drop(second);
    let gone = || async { Ok(dataplane(&zone.api, "brought").await?.is_none().then_some(())) };
    wait::until("the proxy that brought its Dataplane is removed", PATIENCE, gone).await?;
    assert!(dataplane(&zone.api, "made").await?.is_some(), "the Dataplane was not the proxy's to take away");
    stage.passed();
    Ok(())
}
