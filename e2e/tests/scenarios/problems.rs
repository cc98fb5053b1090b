//! What cannot be served is told at the proxy, and everything else is served.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::world::Zone;
use tandem_e2e::{ports, wait};

use crate::support::{PATIENCE, Stage, answered, apps, call};

/// Problems of the Dataplane `client`, by its address at a control plane.
async fn problems(api: &Api, name: &str) -> Result<Vec<Value>> {
    let answer = api.get(&format!("/meshes/default/dataplanes/{name}/_problems")).await?;
    let items = answer["items"].as_array().cloned().context("no list")?;
    assert_eq!(answer["total"], items.len());
    Ok(items)
}

/// Waits until a Dataplane has one problem.
async fn one_problem(api: &Api, name: &str) -> Result<Value> {
    let told = || async {
        let problems = problems(api, name).await?;
        Ok(if problems.len() == 1 { problems.into_iter().next() } else { None })
    };
    wait::until(&format!("{} tells a problem of {name}", api.url()), PATIENCE, told).await
}

/// Waits until a Dataplane has no problem.
async fn no_problem(api: &Api, name: &str) -> Result<()> {
    let gone = || async {
        let problems = problems(api, name).await?;
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        Ok(Some(()))
    };
    wait::until(&format!("{} tells no problem of {name}", api.url()), PATIENCE, gone).await
}

/// Name under which global has a Dataplane of a zone.
async fn name_at_global(stage: &Stage, name: &str) -> Result<String> {
    let list = stage.global().get("/meshes/default/dataplanes").await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let item = items.into_iter().find(|item| item["labels"]["kuma.io/display-name"] == name);
    Ok(item.context("global does not know it")?["name"].as_str().context("no name")?.to_owned())
}

/// Adds an outbound to a Dataplane that is connected.
async fn add_outbound(zone: &Zone, name: &str, port: u16, service: &str) -> Result<()> {
    let path = format!("/meshes/default/dataplanes/{name}");
    let mut dataplane = zone.api.get(&path).await?;
    let outbounds = dataplane["networking"]["outbound"].as_array_mut().context("no outbounds")?;
    outbounds.push(json!({"port": port, "tags": {"kuma.io/service": service}}));
    for computed in ["creationTime", "modificationTime", "kri"] {
        dataplane.as_object_mut().context("no object")?.shift_remove(computed);
    }
    zone.api.put(&path, &dataplane).await?;
    Ok(())
}

/// Value of the series of a metric that has a label.
async fn metric(zone: &Zone, name: &str, label: &str) -> Result<Option<u64>> {
    let text = reqwest::get(format!("{}/metrics", zone.control_plane.diagnostics_url())).await?.text().await?;
    let series = text.lines().find(|line| line.starts_with(name) && line.contains(label));
    Ok(series.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
}

#[tokio::test]
async fn what_envoy_refuses_is_told_in_its_words_and_stops_nothing_else() -> Result<()> {
    refused(false).await
}

#[tokio::test]
async fn what_envoy_refuses_in_the_delta_variant_stops_nothing_else() -> Result<()> {
    refused(true).await
}

async fn refused(delta: bool) -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let zone = stage.zone(0);
    let echo = EchoServer::start("echo").await?;
    let _server = zone.start_sidecar(apps::sidecar("default", "server", "echo", echo.port(), &[])?).await?;
    let first = ports::free()?;
    let mut client = apps::caller("default", "client", &[(first, "echo")])?;
    client.delta = delta;
    let client = zone.start_sidecar(client).await?;
    answered(first, StatusCode::OK).await?;
    assert_eq!(problems(&zone.api, "client").await?, Vec::<Value>::new());

    // Somebody else has the port.
    let occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let taken = occupied.local_addr()?.port();
    add_outbound(zone, "client", taken, "echo").await?;
    let problem = one_problem(&zone.api, "client").await?;
    let listener = format!("outbound:127.0.0.1:{taken}");
    assert_eq!(problem["type"], "Rejected");
    assert_eq!(problem["resourceType"], "type.googleapis.com/envoy.config.listener.v3.Listener");
    assert_eq!(problem["resources"], json!([listener]));
    let words = problem["message"].as_str().unwrap_or_default();
    assert!(words.contains("Address already in use"), "{words}");
    let at_global = one_problem(stage.global(), &name_at_global(&stage, "client").await?).await?;
    assert_eq!(at_global, problem);
    assert_eq!(metric(zone, "xds_proxies_with_problems", "type=\"Rejected\"").await?, Some(1));

    // What it had before is served, and so is what comes later.
    assert_eq!(call(first).await?.0, StatusCode::OK);
    let second = ports::free()?;
    add_outbound(zone, "client", second, "echo").await?;
    answered(second, StatusCode::OK).await?;
    assert_eq!(call(first).await?.0, StatusCode::OK);

    // When the port is free, nobody has to do anything.
    drop(occupied);
    answered(taken, StatusCode::OK).await?;
    no_problem(&zone.api, "client").await?;
    assert_eq!(metric(zone, "xds_proxies_with_problems", "type=\"Rejected\"").await?, Some(0));
    drop(client);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_port_that_two_outbounds_want_is_served_for_the_first() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let zone = stage.zone(0);
    let (one, two) = (EchoServer::start("one").await?, EchoServer::start("two").await?);
    let _one = zone.start_sidecar(apps::sidecar("default", "one-1", "one", one.port(), &[])?).await?;
    let _two = zone.start_sidecar(apps::sidecar("default", "two-1", "two", two.port(), &[])?).await?;
    let (contested, other) = (ports::free()?, ports::free()?);
    let mut spec = apps::caller("default", "client", &[(contested, "one"), (contested, "two"), (other, "two")])?;
    // An outbound where the proxy itself is reached: the inbound comes first.
    let inbound = spec.resource["networking"]["inbound"][0]["port"].clone();
    let clash = json!({"port": inbound, "tags": {"kuma.io/service": "two"}});
    spec.resource["networking"]["outbound"].as_array_mut().context("no outbounds")?.push(clash);
    let client = zone.start_sidecar(spec).await?;
    for (port, expected) in [(contested, "one"), (other, "two")] {
        let echo = answered(port, StatusCode::OK).await?.context("the answer is not echo's")?;
        assert_eq!(echo.server, expected);
    }
    let both = || async {
        let problems = problems(&zone.api, "client").await?;
        Ok((problems.len() == 2).then_some(problems))
    };
    let problems = wait::until("both clashes are told", PATIENCE, both).await?;
    for (problem, port) in problems.iter().zip([json!(contested), inbound]) {
        assert_eq!(problem["type"], "LeftOut");
        let message = problem["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("already taken"), "{message}");
    }
    assert_eq!(client.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_dataplane_whose_host_has_no_address_keeps_nobody_from_being_served() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let zone = stage.zone(0);
    let nowhere = json!({
        "type": "Dataplane", "mesh": "default", "name": "nowhere",
        "networking": {
            "address": "no-such-host.invalid",
            "inbound": [{"port": 80, "tags": {"kuma.io/service": "echo", "kuma.io/protocol": "http"}}]
        }
    });
    zone.api.put("/meshes/default/dataplanes/nowhere", &nowhere).await?;
    let echo = EchoServer::start("echo").await?;
    let mut server = apps::sidecar("default", "server", "echo", echo.port(), &[])?;
    server.resource["networking"]["address"] = json!("localhost");
    let _server = zone.start_sidecar(server).await?;
    let outbound = ports::free()?;
    let _client = zone.start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
    answered(outbound, StatusCode::OK).await?;
    for _ in 0..10 {
        assert_eq!(call(outbound).await?.0, StatusCode::OK);
    }
    let told = || async {
        let resources = zone.api.get("/_problems").await?["resources"].clone();
        let left_out = json!({"type": "Dataplane", "mesh": "default", "name": "nowhere"});
        let resources = resources.as_array().cloned().unwrap_or_default();
        Ok(resources.into_iter().find(|item| item["resource"] == left_out))
    };
    let told = wait::until("the zone tells which Dataplane is left out", PATIENCE, told).await?;
    assert!(told["reasons"][0].as_str().is_some_and(|reason| reason.contains("no-such-host.invalid")), "{told}");
    assert_eq!(metric(zone, "xds_resources_left_out", "type=\"Dataplane\"").await?, Some(1));

    zone.api.delete("/meshes/default/dataplanes/nowhere").await?;
    let gone = || async { Ok((zone.api.get("/_problems").await?["resources"] == json!([])).then_some(())) };
    wait::until("nothing is left out any more", PATIENCE, gone).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn constraints_that_change_evict_nobody_and_are_told() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let zone = stage.zone(0);
    let echo = EchoServer::start("echo").await?;
    let server_spec = apps::sidecar("default", "server", "echo", echo.port(), &[])?;
    let server = zone.start_sidecar(server_spec.clone()).await?;
    let outbound = ports::free()?;
    let _client = zone.start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
    answered(outbound, StatusCode::OK).await?;

    let restrictions = json!({"restrictions": [{"tags": {"kuma.io/service": "echo"}}]});
    let closed = json!({"type": "Mesh", "name": "default", "constraints": {"dataplaneProxy": restrictions}});
    stage.mesh(&closed).await?;
    let problem = one_problem(&zone.api, "server").await?;
    assert_eq!(problem["type"], "NotPermitted");
    let reason = problem["message"].as_str().unwrap_or_default();
    assert!(reason.contains("matches restricted tags \"kuma.io/service=echo\""), "{reason}");
    one_problem(stage.global(), &name_at_global(&stage, "server").await?).await?;
    assert_eq!(problems(&zone.api, "client").await?, Vec::<Value>::new());
    assert_eq!(call(outbound).await?.0, StatusCode::OK, "a member that is connected stays one");

    // It is not taken again when it leaves.
    server.kill().await?;
    let token = zone.dataplane_token("default", "server").await?;
    let refused = zone.launch_proxy(server_spec.clone().with_token(token)).await?;
    let told = || async { Ok(refused.log().contains("matches restricted tags").then_some(())) };
    wait::until("the proxy is refused", PATIENCE, told).await.with_context(|| refused.log_tail())?;
    refused.kill().await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let _server = zone.start_sidecar(server_spec).await?;
    answered(outbound, StatusCode::OK).await?;
    no_problem(&zone.api, "server").await?;
    stage.passed();
    Ok(())
}
