//! The demo's mesh: a client in zone-1, an echo server in zone-2, an ingress and an egress in each.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;

use crate::api;
use crate::echo::{Echo, EchoServer};
use crate::ports;
use crate::proxy::{Inbound, Proxy, ProxySpec};
use crate::wait;
use crate::world::{World, Zone};

/// Mesh of the demo.
pub const MESH: &str = "default";

/// Name of the permission that the demo changes.
pub const PERMISSION: &str = "everyone";

/// The running proxies and applications.
pub struct Scene {
    /// Sidecar of the client.
    pub client: Proxy,
    /// Sidecar of the echo server.
    pub echo: Proxy,
    /// Egress of zone-1.
    pub egress: Proxy,
    /// Ingress of zone-2.
    pub ingress: Proxy,
    /// Port at which the client reaches echo: an outbound of its sidecar.
    pub outbound: u16,
    /// Proxies that only the way back would need.
    _others: Vec<Proxy>,
    _server: EchoServer,
    http: reqwest::Client,
}

impl Scene {
    /// Defines the mesh at global, starts the proxies, and waits until they are connected with each other.
    ///
    /// # Errors
    /// When a part does not start, or the client does not reach echo.
    pub async fn set(world: &World, progress: impl Fn(&str)) -> Result<Self> {
        world.api.put(&format!("/meshes/{MESH}"), &api::mesh(MESH)).await?;
        let (path, permission) = api::traffic_permission(MESH, PERMISSION, "Allow");
        world.api.put(&path, &permission).await?;
        let [one, two] = world.zones.as_slice() else { anyhow::bail!("the demo needs two zones") };
        for zone in [one, two] {
            let mesh = || async { zone.api.get(&format!("/meshes/{MESH}")).await.map(Some) };
            wait::until(&format!("the mesh arrives in {}", zone.name), Duration::from_secs(10), mesh).await?;
        }
        let (token_one, token_two) = (world.zone_token("zone-1").await?, world.zone_token("zone-2").await?);

        progress("starting ZoneIngress and ZoneEgress of both zones");
        let ingress = zone_proxy(two, "ingress", &token_two).await?;
        let egress = zone_proxy(one, "egress", &token_one).await?;
        let others = vec![zone_proxy(one, "ingress", &token_one).await?, zone_proxy(two, "egress", &token_two).await?];

        progress("starting echo and its sidecar in zone-2");
        let server = EchoServer::start("echo in zone-2").await?;
        let echo =
            two.start_sidecar(ProxySpec::sidecar(MESH, "echo", &Inbound::http("echo", server.port())?, &[])).await?;

        progress("starting the sidecar of the client in zone-1");
        let outbound = ports::free()?;
        let inbound = Inbound::http("client", ports::free()?)?;
        let client = one.start_sidecar(ProxySpec::sidecar(MESH, "client", &inbound, &[(outbound, "echo")])).await?;

        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let scene = Self { client, echo, egress, ingress, outbound, _others: others, _server: server, http };
        progress("waiting until the client reaches echo");
        let served = || async { Ok((scene.call().await?.0 == StatusCode::OK).then_some(())) };
        wait::until("the client reaches echo", Duration::from_secs(30), served).await?;
        Ok(scene)
    }

    /// One request of the client to echo, through the client's sidecar: status, and the answer if there was one.
    ///
    /// # Errors
    /// When the sidecar does not answer.
    pub async fn call(&self) -> Result<(StatusCode, Option<Echo>)> {
        let url = format!("http://127.0.0.1:{}/hello", self.outbound);
        let response = self.http.get(url).send().await.context("the client's sidecar does not answer")?;
        let status = response.status();
        Ok((status, response.json().await.ok()))
    }
}

async fn zone_proxy(zone: &Zone, sort: &str, token: &str) -> Result<Proxy> {
    let name = format!("{sort}-{}", zone.name);
    let port = ports::free()?;
    let spec = if sort == "ingress" { ProxySpec::ingress(&name, port) } else { ProxySpec::egress(&name, port) };
    // An egress serves once it has somewhere to send traffic to; the sidecars wait for that, not the start.
    zone.launch_proxy(spec.with_token(token.to_owned())).await
}
