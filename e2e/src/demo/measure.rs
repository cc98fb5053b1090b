//! What the demo measures.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};

use super::scene::{MESH, PERMISSION, Scene};
use crate::api;
use crate::proxy::Proxy;
use crate::wait;
use crate::world::World;

/// Longest time until a policy is felt.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests sent while zone-2 is cut off.
const REQUESTS_DURING_CUT: usize = 50;

/// One hop of a request, as counted by the proxy there.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Which proxy.
    pub proxy: String,
    /// Its counter that went up.
    pub evidence: String,
}

/// The way of a request.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The proxies it passed.
    pub hops: Vec<Hop>,
    /// Who answered.
    pub server: String,
    /// The caller as its certificate names it, as seen by the server's proxy.
    pub caller: String,
    /// The server as its certificate names it, as demanded by the client's proxy.
    pub callee: String,
}

/// Sends one request and follows it by the counters of the proxies.
///
/// # Errors
/// When the request fails or a proxy did not see it.
pub async fn journey(scene: &Scene) -> Result<Journey> {
    let cluster = |name: &str, counter: &str| format!("cluster.{name}.{counter}");
    // Connections between proxies are kept, so bytes tell of the request rather than connections.
    let watched: [(&Proxy, &str, String); 4] = [
        (&scene.client, "client's sidecar, zone-1", cluster("echo", "upstream_rq_total")),
        (&scene.egress, "ZoneEgress, zone-1", cluster("default_echo", "upstream_cx_tx_bytes_total")),
        (&scene.ingress, "ZoneIngress, zone-2", cluster("default_echo", "upstream_cx_tx_bytes_total")),
        (&scene.echo, "echo's sidecar, zone-2", workload_counter(&scene.echo)?),
    ];
    let mut before = Vec::new();
    for (proxy, _, counter) in &watched {
        before.push(proxy.stat(counter).await?);
    }
    let (status, echo) = scene.call().await?;
    ensure!(status == StatusCode::OK, "the request was answered with {status}");
    let echo = echo.context("the answer is not echo's")?;
    let mut hops = Vec::new();
    for ((proxy, place, counter), before) in watched.iter().zip(before) {
        let counted = || async {
            let now = proxy.stat(counter).await?;
            Ok((now > before).then_some(now))
        };
        // Envoy publishes counters with a short delay.
        let now = wait::until(&format!("{place} counts the request"), Duration::from_secs(10), counted).await?;
        hops.push(Hop { proxy: (*place).to_owned(), evidence: format!("{counter} {before} → {now}") });
    }
    let header = echo.caller.context("the server's proxy named no caller: the connection was not mutual TLS")?;
    let caller = header.split(';').find_map(|part| part.strip_prefix("URI=")).unwrap_or(&header).to_owned();
    Ok(Journey { hops, server: echo.server, caller, callee: demanded_identity(&scene.client).await? })
}

fn workload_counter(proxy: &Proxy) -> Result<String> {
    let port = &proxy.spec.resource["networking"]["inbound"][0]["servicePort"];
    Ok(format!("cluster.localhost_{}.upstream_rq_total", port.as_u64().context("echo has no service port")?))
}

/// The identity that the client's proxy demands of echo, from its own configuration.
async fn demanded_identity(client: &Proxy) -> Result<String> {
    let dump = client.config_dump().await?.to_string();
    let identity = dump.split('"').find(|text| text.starts_with("spiffe://") && text.ends_with("/echo"));
    identity.map(str::to_owned).context("the client's proxy demands no identity of echo")
}

/// Changes the permission at global and gives the time until the client feels it.
///
/// # Errors
/// When global refuses, or nothing happens in time.
pub async fn policy_change(world: &World, scene: &Scene, action: &str) -> Result<Duration> {
    let expected = if action == "Deny" { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let (path, body) = api::traffic_permission(MESH, PERMISSION, action);
    let started = Instant::now();
    world.api.put(&path, &body).await?;
    let felt = || async { Ok((scene.call().await?.0 == expected).then_some(())) };
    wait::until(&format!("the client feels {action}"), PATIENCE, felt).await?;
    Ok(started.elapsed())
}

/// What happened while a zone was cut off.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Requests sent meanwhile.
    pub sent: usize,
    /// Requests served meanwhile.
    pub served: usize,
    /// From mending the cut until the zone had what it missed.
    pub caught_up: Duration,
}

/// Cuts zone-2 off from global, sends requests meanwhile, changes the mesh at global, and mends the cut.
///
/// # Errors
/// When global does not notice the cut, or the zone does not catch up.
pub async fn global_loss(world: &mut World, scene: &Scene, progress: impl Fn(&str)) -> Result<Loss> {
    let api = world.api.clone();
    let zone = world.zone("zone-2")?;
    zone.network.cut();
    progress("waiting until global notices that zone-2 is away");
    let away = || async {
        let overview = api.get("/zones/zone-2/_overview").await?;
        Ok((!is_online(&overview["zoneInsight"])).then_some(()))
    };
    wait::until("global notices that zone-2 is away", PATIENCE, away).await?;
    progress("sending requests while zone-2 is away");
    let mut served = 0;
    for _ in 0..REQUESTS_DURING_CUT {
        served += usize::from(scene.call().await?.0 == StatusCode::OK);
        sleep(Duration::from_millis(10)).await;
    }
    let (path, body) = api::traffic_permission(MESH, "written-while-zone-2-was-away", "Allow");
    api.put(&path, &body).await?;
    progress("mending the cut");
    zone.network.mend();
    let mended = Instant::now();
    let zone_api = &zone.api;
    let arrived = || async {
        let list = zone_api.get(&format!("/meshes/{MESH}/meshtrafficpermissions?name=written-while")).await?;
        Ok((list["total"] == 1).then_some(()))
    };
    wait::until("zone-2 catches up", PATIENCE, arrived).await?;
    let caught_up = mended.elapsed();
    api.delete(&path).await?;
    Ok(Loss { sent: REQUESTS_DURING_CUT, served, caught_up })
}

/// True when a subscription of an insight is open.
fn is_online(insight: &serde_json::Value) -> bool {
    insight["subscriptions"].as_array().is_some_and(|subscriptions| {
        subscriptions.iter().any(|s| s.get("connectTime").is_some() && s.get("disconnectTime").is_none())
    })
}
