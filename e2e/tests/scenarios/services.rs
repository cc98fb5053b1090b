//! MeshServices made from Dataplanes: addresses and host names in every zone, which stay.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::wait;

use crate::support::{PATIENCE, Stage};

const LIST: &str = "/meshes/shop/meshservices";

/// The MeshService `web` of a zone, as a control plane has it.
async fn service(api: &Api, zone: &str) -> Result<Option<Value>> {
    let items = api.get(LIST).await?["items"].as_array().cloned().unwrap_or_default();
    let of_zone = |item: &Value| {
        let label = |name: &str| item["labels"][name].as_str().unwrap_or_default().to_owned();
        label("kuma.io/zone") == zone && label("kuma.io/display-name") == "web"
    };
    Ok(items.into_iter().find(of_zone))
}

/// Address and host names of the MeshService `web` of a zone, once it has both.
async fn address(api: &Api, zone: &str) -> Result<(String, Vec<String>)> {
    let complete = || async {
        let service = service(api, zone).await?.context("it is not there")?;
        let hostnames = service["status"]["addresses"].as_array().cloned().unwrap_or_default();
        let hostnames: Vec<_> = hostnames.iter().filter_map(|a| a["hostname"].as_str().map(str::to_owned)).collect();
        let vip = service["status"]["vips"][0]["ip"].as_str().with_context(|| format!("no address: {service}"))?;
        anyhow::ensure!(!hostnames.is_empty(), "no host name: {service}");
        Ok(Some((vip.to_owned(), hostnames)))
    };
    wait::until(&format!("web of {zone} has address and host name at {}", api.url()), PATIENCE, complete).await
}

fn dataplane(port: u16) -> Value {
    json!({
        "type": "Dataplane", "mesh": "shop", "name": "web-1",
        "labels": {"kuma.io/origin": "zone"},
        "networking": {
            "address": "127.0.0.1",
            "inbound": [{"port": port, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}]
        }
    })
}

#[tokio::test]
async fn services_of_dataplanes_have_addresses_everywhere_and_keep_them() -> Result<()> {
    let mut stage = Stage::with_zones(&["east", "west"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "shop", "meshServices": {"mode": "Exclusive"}})).await?;
    stage.zone(0).api.put("/meshes/shop/dataplanes/web-1", &dataplane(8080)).await?;

    let at_home = address(&stage.zone(0).api, "east").await?;
    assert_eq!(at_home.1, ["web.svc.mesh.local"]);
    let abroad = address(&stage.zone(1).api, "east").await?;
    assert_eq!(abroad.1, ["web.svc.east.mesh.local"]);
    // Global has what its zone says; the addresses of other zones are their own.
    assert_eq!(address(stage.global(), "east").await?, at_home);
    let at_global = service(stage.global(), "east").await?.context("it is there")?;
    assert_eq!(at_global["spec"]["state"], "Available");
    assert_eq!(at_global["status"]["dataplaneProxies"], json!({"healthy": 1, "total": 1}));
    let name = at_global["name"].as_str().unwrap_or_default();
    let shown = stage.global().get(&format!("{LIST}/{name}/_hostnames")).await?;
    let hostname = |name: &str| json!({"hostname": name, "zones": [{"name": "east"}]});
    let both = [hostname("web.svc.east.mesh.local"), hostname("web.svc.mesh.local")];
    assert_eq!(shown, json!({"items": both, "total": 2}));

    for index in [0, 1] {
        let zone = stage.zone_mut(index);
        zone.control_plane.kill().await?;
        zone.control_plane.start().await?;
    }
    stage.zone(1).api.put("/meshes/shop/dataplanes/web-1", &dataplane(9090)).await?;
    let second = address(&stage.zone(1).api, "west").await?;
    assert_eq!(second.1, ["web.svc.mesh.local"]);
    assert_eq!(address(&stage.zone(0).api, "east").await?, at_home);
    assert_eq!(address(&stage.zone(1).api, "east").await?, abroad);
    assert_ne!(second.0, abroad.0, "west has given out this address already");

    // The same service with another port keeps its address.
    stage.zone(0).api.put("/meshes/shop/dataplanes/web-1", &dataplane(8081)).await?;
    let moved = || async {
        let service = service(&stage.zone(1).api, "east").await?.context("it is there")?;
        Ok((service["spec"]["ports"][0]["port"] == 8081).then_some(()))
    };
    wait::until("the new port is known in the other zone", PATIENCE, moved).await?;
    assert_eq!(address(&stage.zone(0).api, "east").await?, at_home);
    assert_eq!(address(&stage.zone(1).api, "east").await?, abroad);
    stage.passed();
    Ok(())
}
