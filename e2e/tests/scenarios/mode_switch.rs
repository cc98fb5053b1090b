//! The mode of MeshServices changes while requests are on their way: not one is dropped.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::{ports, wait};

use crate::support::addresses::{UNIFIED_NAMING, at_virtual_addresses, of_resource, of_service, reaches, settings};
use crate::support::load::Load;
use crate::support::{PATIENCE, Stage, answered, apps};

const MESH: &str = "shop";

/// A mesh without the policies that would repeat failed requests.
fn mesh(mode: &str) -> Value {
    // The mode `Disabled` is the one of a mesh that names none.
    let services = if mode == "Disabled" { json!({}) } else { json!({"mode": mode}) };
    json!({
        "type": "Mesh", "name": MESH, "meshServices": services,
        "skipCreatingInitialPolicies": ["*"],
        "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}
    })
}

#[tokio::test]
async fn no_request_is_dropped_when_the_mode_changes() -> Result<()> {
    switch(false).await
}

#[tokio::test]
async fn no_request_is_dropped_when_the_mode_changes_with_proxies_of_the_delta_variant() -> Result<()> {
    switch(true).await
}

async fn switch(delta: bool) -> Result<()> {
    let mut stage = Stage::empty().await?;
    let (settings, port) = settings()?;
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    stage.world.add_zone_with("east", &settings).await?;
    stage.mesh(&mesh("Disabled")).await?;
    let (path, permission) = tandem_e2e::api::traffic_permission(MESH, "everyone", "Allow");
    stage.global().put(&path, &permission).await?;

    let zone = stage.zone(0);
    let server = EchoServer::start("web").await?;
    let mut web = apps::sidecar(MESH, "web-1", "web", server.port(), &[])?;
    let inbound = web.resource["networking"]["inbound"][0]["port"].clone();
    // Written by a person, so it is there in every mode.
    let (front, listed) = (ports::free()?, [ports::free()?, ports::free()?]);
    let service = json!({"type": "MeshService", "mesh": MESH, "name": "front", "labels": {"kuma.io/origin": "zone"},
        "spec": {"selector": {"dataplaneTags": {"kuma.io/service": "web"}},
            "ports": [{"port": front, "targetPort": inbound, "appProtocol": "http"}]}});
    zone.api.put(&format!("/meshes/{MESH}/meshservices/front"), &service).await?;
    let at_resource =
        format!("{}:{front}", of_resource(&zone.api, &format!("/meshes/{MESH}/meshservices/front")).await?);

    let mut listing = apps::caller(MESH, "listing", &[(listed[0], "web")])?;
    let reference = json!({"port": listed[1], "backendRef": {"kind": "MeshService", "name": "front", "port": front}});
    listing.resource["networking"]["outbound"].as_array_mut().context("outbounds")?.push(reference);
    let mut virtual_client = at_virtual_addresses(apps::caller(MESH, "virtual", &[])?);
    for spec in [&mut web, &mut listing, &mut virtual_client] {
        spec.features.push(UNIFIED_NAMING);
        spec.delta = delta;
    }
    let web = zone.start_sidecar(web).await?;
    let listing = zone.start_sidecar(listing).await?;
    let virtual_client = zone.start_sidecar(virtual_client).await?;
    let proxies = [&web, &listing, &virtual_client];

    for port in listed {
        answered(port, StatusCode::OK).await?;
    }
    let at_tags = of_service(&virtual_client, "web", port).await?;
    for address in [&at_resource, &at_tags] {
        reaches(address, true).await?;
    }
    let url = |address: &str| format!("http://{address}/");
    let lasting = [
        Load::start("an outbound by tags", &url(&format!("127.0.0.1:{}", listed[0]))),
        Load::start("an outbound by reference", &url(&format!("127.0.0.1:{}", listed[1]))),
        Load::start("a virtual address of a MeshService", &url(&at_resource)),
    ];
    // Services by tags have no virtual address in the mode Exclusive.
    let by_tags = Load::start("a virtual address by tags", &url(&at_tags));
    for load in lasting.iter().chain([&by_tags]) {
        load.go_on().await?;
    }

    stage.mesh(&mesh("Everywhere")).await?;
    let made = of_resource(&zone.api, &format!("/meshes/{MESH}/meshservices/web")).await?;
    reaches(&format!("{made}:{inbound}"), true).await?;
    for load in lasting.iter().chain([&by_tags]) {
        load.go_on().await?;
    }
    by_tags.finish().await?;

    let by_made = Load::start("a virtual address of a MeshService made here", &url(&format!("{made}:{inbound}")));
    by_made.go_on().await?;
    stage.mesh(&mesh("Exclusive")).await?;
    named(&proxies, true).await?;
    reaches(&at_tags, false).await?;
    for load in lasting.iter().chain([&by_made]) {
        load.go_on().await?;
    }
    by_made.finish().await?;

    stage.mesh(&mesh("Disabled")).await?;
    named(&proxies, false).await?;
    reaches(&at_tags, true).await?;
    for load in lasting {
        load.go_on().await?;
        load.finish().await?;
    }
    for proxy in proxies {
        let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
        assert_eq!(rejected, 0, "{} refused a configuration:\n{}", proxy.spec.name, proxy.log_tail());
    }
    stage.passed();
    Ok(())
}

/// Waits until the listeners of proxies have the names of the mode Exclusive, or those of the other modes.
async fn named(proxies: &[&Proxy], exclusive: bool) -> Result<()> {
    for proxy in proxies {
        let renamed = || async {
            let listeners = proxy.admin("listeners").await?;
            Ok((listeners.contains("self_inbound_dp_") == exclusive).then_some(()))
        };
        wait::until(&format!("{} has the names of the mode", proxy.spec.name), PATIENCE, renamed).await?;
    }
    Ok(())
}
