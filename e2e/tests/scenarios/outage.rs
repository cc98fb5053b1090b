//! Control planes that go away, and what goes on meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::Value;
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::{api, ports, wait};

use crate::support::{PATIENCE, Stage, answered, apps, call, zone_proxies};

/// A client in the first zone that calls echo in the second.
struct Crossing {
    client: Proxy,
    server: Proxy,
    outbound: u16,
    _echo: EchoServer,
    zone_proxies: [(Proxy, Proxy); 2],
}

impl Crossing {
    async fn start(stage: &Stage) -> Result<Self> {
        stage.mesh(&api::mesh("default")).await?;
        let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
        stage.global().put(&path, &permission).await?;
        let first = zone_proxies(&stage.world, stage.zone(0), false).await?;
        let second = zone_proxies(&stage.world, stage.zone(1), false).await?;
        let echo = EchoServer::start("echo").await?;
        let spec = apps::sidecar("default", "echo-1", "echo", echo.port(), &[])?;
        let server = stage.zone(1).start_sidecar(spec).await?;
        let outbound = ports::free()?;
        let client = stage.zone(0).start_sidecar(apps::caller("default", "client", &[(outbound, "echo")])?).await?;
        answered(outbound, StatusCode::OK).await?;
        Ok(Self { client, server, outbound, _echo: echo, zone_proxies: [first, second] })
    }

    /// All proxies on the way.
    fn proxies(&self) -> [&Proxy; 6] {
        let [first, second] = &self.zone_proxies;
        [&self.client, &first.0, &first.1, &second.0, &second.1, &self.server]
    }

    /// Clusters and listeners of all proxies.
    async fn configuration(&self) -> Result<BTreeMap<String, Value>> {
        let mut configuration = BTreeMap::new();
        for proxy in self.proxies() {
            let dump = proxy.config_dump().await?;
            let parts = dump["configs"].as_array().cloned().unwrap_or_default();
            let all = |list: &str| -> Vec<Value> {
                parts.iter().filter_map(|part| part[list].as_array()).flatten().cloned().collect()
            };
            let clusters = all("dynamic_active_clusters").into_iter().map(|item| item["cluster"].clone());
            let listeners = all("dynamic_listeners").into_iter().map(|item| item["active_state"]["listener"].clone());
            for resource in clusters.chain(listeners) {
                let name = format!("{} {} {}", proxy.spec.name, resource["@type"], resource["name"]);
                configuration.insert(name, resource);
            }
        }
        anyhow::ensure!(configuration.len() > self.proxies().len(), "no proxy has any configuration");
        Ok(configuration)
    }

    /// Several requests, all of which must be served.
    async fn serves(&self) -> Result<()> {
        for _ in 0..20 {
            let (status, _) = call(self.outbound).await?;
            anyhow::ensure!(status == StatusCode::OK, "a request was answered with {status}");
        }
        Ok(())
    }
}

/// Denies everybody at global and waits until a client feels it.
async fn deny(global: &Api, outbound: u16) -> Result<()> {
    let (path, permission) = api::traffic_permission("default", "everyone", "Deny");
    global.put(&path, &permission).await?;
    answered(outbound, StatusCode::FORBIDDEN).await?;
    Ok(())
}

/// Names under which proxies are known in their zones, of all Dataplanes that a control plane has.
async fn dataplanes(api: &Api) -> Result<Vec<String>> {
    let list = api.get("/meshes/default/dataplanes").await?;
    let mut names: Vec<_> = list["items"].as_array().into_iter().flatten().map(display_name).collect();
    names.sort();
    Ok(names)
}

fn display_name(resource: &Value) -> String {
    resource["labels"]["kuma.io/display-name"].as_str().or(resource["name"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn zones_go_on_without_global_and_catch_up_when_it_returns() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    let crossing = Crossing::start(&stage).await?;
    let known = || async { Ok((dataplanes(stage.global()).await? == ["client", "echo-1"]).then_some(())) };
    wait::until("global knows both proxies", PATIENCE, known).await?;

    stage.world.global.kill().await?;
    crossing.serves().await?;

    // The zones still take in proxies.
    let outbound = ports::free()?;
    let late = apps::caller("default", "late", &[(outbound, "echo")])?;
    let late = stage.zone(0).start_sidecar(late).await?;
    let answer = answered(outbound, StatusCode::OK).await?.context("the answer is not echo's")?;
    assert!(answer.caller.is_some_and(|caller| caller.contains("URI=spiffe://default/late")));
    // They write nothing that is for global to write.
    let (path, permission) = api::traffic_permission("default", "everyone", "Deny");
    let answer = stage.zone(0).api.send(reqwest::Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);

    stage.world.global.start().await?;
    // Global has what it had, learns what happened meanwhile, and is heard again.
    assert_eq!(stage.global().get(&path).await?["spec"]["from"][0]["default"]["action"], "Allow");
    let known = || async { Ok((dataplanes(stage.global()).await? == ["client", "echo-1", "late"]).then_some(())) };
    wait::until("global learns of the proxy that joined meanwhile", PATIENCE, known).await?;
    crossing.serves().await?;
    deny(stage.global(), crossing.outbound).await?;
    answered(outbound, StatusCode::FORBIDDEN).await?;

    // One that leaves now is gone everywhere.
    late.kill().await?;
    let known = || async { Ok((dataplanes(stage.global()).await? == ["client", "echo-1"]).then_some(())) };
    wait::until("global learns of the proxy that left", PATIENCE, known).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn zone_serves_from_its_own_store_after_a_crash_without_global() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    let crossing = Crossing::start(&stage).await?;

    let before = crossing.configuration().await?;
    stage.world.global.kill().await?;
    for zone in 0..2 {
        stage.zone_mut(zone).control_plane.kill().await?;
    }
    // The proxies have what they need, and go on with it while nobody is there.
    for proxy in crossing.proxies() {
        let alone = || async { Ok((proxy.stat("control_plane.connected_state").await? == 0).then_some(())) };
        wait::until(&format!("{} has lost its control plane", proxy.spec.name), PATIENCE, alone).await?;
    }
    crossing.serves().await?;
    assert_eq!(crossing.configuration().await?, before);
    for zone in 0..2 {
        stage.zone_mut(zone).control_plane.start().await?;
    }
    for proxy in crossing.proxies() {
        let connected = || async { Ok((proxy.stat("control_plane.connected_state").await? == 1).then_some(())) };
        wait::until(&format!("{} is connected again", proxy.spec.name), PATIENCE, connected).await?;
    }
    crossing.serves().await?;
    assert_eq!(crossing.configuration().await?, before, "the stores of the zones lead to the same configuration");
    assert_eq!(dataplanes(&stage.zone(0).api).await?, ["client"]);
    assert_eq!(dataplanes(&stage.zone(1).api).await?, ["echo-1"]);

    // New proxies in both zones get all they need: mesh, certificates, permissions, endpoints in the other zone.
    let outbound = ports::free()?;
    let late = apps::caller("default", "late", &[(outbound, "echo")])?;
    let _late = stage.zone(0).start_sidecar(late).await?;
    let answer = answered(outbound, StatusCode::OK).await?.context("the answer is not echo's")?;
    assert!(answer.caller.is_some_and(|caller| caller.contains("URI=spiffe://default/late")));

    stage.world.global.start().await?;
    deny(stage.global(), crossing.outbound).await?;
    answered(outbound, StatusCode::FORBIDDEN).await?;
    stage.passed();
    Ok(())
}
