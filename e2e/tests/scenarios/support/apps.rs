//! Applications and their proxies.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use tandem_e2e::echo::Echo;
use tandem_e2e::ports;
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::wait;
use tandem_e2e::world::{World, Zone};

use super::PATIENCE;

/// One request through the outbound of a sidecar: status, and echo's answer if it was echo that answered.
pub async fn call(outbound: u16) -> Result<(StatusCode, Option<Echo>)> {
    // A client of its own, so that no connection of an earlier request is used.
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let response = http.get(format!("http://127.0.0.1:{outbound}/hello")).send().await.context("no answer")?;
    let status = response.status();
    Ok((status, response.json().await.ok()))
}

/// Waits until a request through the outbound of a sidecar is answered with `expected`.
pub async fn answered(outbound: u16, expected: StatusCode) -> Result<Option<Echo>> {
    let condition = || async {
        let (status, echo) = call(outbound).await?;
        anyhow::ensure!(status == expected, "answered with {status}");
        Ok(Some(echo))
    };
    wait::until(&format!("a request to port {outbound} is answered with {expected}"), PATIENCE, condition).await
}

/// A sidecar with an HTTP inbound for `service`, whose application is at `service_port`, and outbounds `(port, service)`.
pub fn sidecar(
    mesh: &str,
    name: &str,
    service: &str,
    service_port: u16,
    outbounds: &[(u16, &str)],
) -> Result<ProxySpec> {
    Ok(ProxySpec::sidecar(mesh, name, &Inbound::http(service, service_port)?, outbounds))
}

/// A sidecar of an application that only calls others.
pub fn caller(mesh: &str, name: &str, outbounds: &[(u16, &str)]) -> Result<ProxySpec> {
    sidecar(mesh, name, name, ports::free()?, outbounds)
}

/// Starts the ingress and the egress of a zone: `(ingress, egress)`. An egress may not serve before there is a service for it.
pub async fn zone_proxies(world: &World, zone: &Zone, delta: bool) -> Result<(Proxy, Proxy)> {
    let token = world.zone_token(&zone.name).await?;
    let mut ingress = ProxySpec::ingress(&format!("ingress-{}", zone.name), ports::free()?).with_token(token.clone());
    let mut egress = ProxySpec::egress(&format!("egress-{}", zone.name), ports::free()?).with_token(token);
    (ingress.delta, egress.delta) = (delta, delta);
    Ok((zone.launch_proxy(ingress).await?, zone.launch_proxy(egress).await?))
}
