//! What proxies reach in the four modes of MeshServices, at virtual addresses and through outbounds that Dataplanes list.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::{ports, wait};

use crate::support::addresses::{at_virtual_addresses, of_resource, of_service, reaches, settings};
use crate::support::{PATIENCE, Stage, answered, apps};

const MESH: &str = "shop";

fn mesh(mode: &str) -> Value {
    // The mode `Disabled` is the one of a mesh that names none.
    let services = if mode == "Disabled" { json!({}) } else { json!({"mode": mode}) };
    json!({"type": "Mesh", "name": MESH, "meshServices": services})
}

/// Global and a zone whose virtual addresses are on loopback, and the port of services known by their tags.
async fn stage(mode: &str) -> Result<(Stage, u16)> {
    let mut stage = Stage::empty().await?;
    let (settings, port) = settings()?;
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    stage.world.add_zone_with("east", &settings).await?;
    stage.mesh(&mesh(mode)).await?;
    Ok((stage, port))
}

/// A proxy that listens on virtual addresses, with a section `transparentProxying`.
fn client(name: &str, section: Value) -> Result<ProxySpec> {
    let mut spec = apps::caller(MESH, name, &[])?;
    if !section.is_null() {
        spec.resource["networking"]["transparentProxying"] = section;
    }
    Ok(at_virtual_addresses(spec))
}

struct Scene {
    stage: Stage,
    port: u16,
    /// Port of `web`, and of its MeshService.
    web: u16,
    _server: EchoServer,
    _web: Proxy,
}

impl Scene {
    async fn new(mode: &str) -> Result<Self> {
        let (stage, port) = stage(mode).await?;
        let server = EchoServer::start("web").await?;
        let spec = apps::sidecar(MESH, "web-1", "web", server.port(), &[])?;
        let inbound = &spec.resource["networking"]["inbound"][0]["port"];
        let web = u16::try_from(inbound.as_u64().context("a port")?)?;
        let proxy = stage.zone(0).start_sidecar(spec).await?;
        Ok(Self { stage, port, web, _server: server, _web: proxy })
    }

    async fn start(&self, spec: ProxySpec) -> Result<Proxy> {
        self.stage.zone(0).start_sidecar(spec).await
    }

    /// Address and port of the MeshService that is made of `web`.
    async fn mesh_service(&self) -> Result<String> {
        let address = of_resource(&self.stage.zone(0).api, &format!("/meshes/{MESH}/meshservices/web")).await?;
        Ok(format!("{address}:{}", self.web))
    }

    async fn switch(&self, mode: &str) -> Result<()> {
        self.stage.mesh(&mesh(mode)).await
    }
}

#[tokio::test]
async fn each_mode_offers_what_it_says() -> Result<()> {
    let scene = Scene::new("Disabled").await?;
    let proxy = scene.start(client("client", Value::Null)?).await?;
    let legacy = of_service(&proxy, "web", scene.port).await?;
    reaches(&legacy, true).await?;
    let services = scene.stage.zone(0).api.get(&format!("/meshes/{MESH}/meshservices")).await?;
    assert_eq!(services["total"], 0, "nothing is made of Dataplanes");

    scene.switch("Everywhere").await?;
    let resource = scene.mesh_service().await?;
    reaches(&resource, true).await?;
    reaches(&legacy, true).await?;

    scene.switch("Exclusive").await?;
    reaches(&legacy, false).await?;
    reaches(&resource, true).await?;

    // Only those who ask for MeshServices get them.
    scene.switch("ReachableBackends").await?;
    reaches(&resource, false).await?;
    reaches(&legacy, true).await?;
    drop(proxy);
    let asks = json!({"reachableBackends": {"refs": [{"kind": "MeshService", "name": "web"}]}});
    let _asking = scene.start(client("asking", asks)?).await?;
    reaches(&resource, true).await?;
    reaches(&legacy, true).await?;

    scene.switch("Disabled").await?;
    reaches(&resource, false).await?;
    reaches(&legacy, true).await?;
    scene.stage.passed();
    Ok(())
}

#[tokio::test]
async fn proxies_reach_what_they_ask_for() -> Result<()> {
    let scene = Scene::new("Everywhere").await?;
    let resource = scene.mesh_service().await?;
    let everything = scene.start(client("everything", Value::Null)?).await?;
    let legacy = of_service(&everything, "web", scene.port).await?;
    reaches(&legacy, true).await?;
    reaches(&resource, true).await?;
    drop(everything);

    let by_service = scene.start(client("by-service", json!({"reachableServices": ["web"]}))?).await?;
    reaches(&legacy, true).await?;
    reaches(&resource, false).await?;
    let listeners = by_service.admin("listeners").await?;
    assert!(!listeners.contains("127.101."), "services by tags exclude resources:\n{listeners}");
    drop(by_service);

    let section = json!({"reachableServices": ["other"], "reachableBackends": {"refs": [
        {"kind": "MeshService", "labels": {"kuma.io/display-name": "web"}, "port": scene.web}]}});
    let _by_label = scene.start(client("by-label", section)?).await?;
    reaches(&resource, true).await?;
    reaches(&legacy, false).await?;
    scene.stage.passed();
    Ok(())
}

#[tokio::test]
async fn policies_and_external_services_give_names_of_their_own() -> Result<()> {
    let scene = Scene::new("Disabled").await?;
    let outside = EchoServer::start("outside").await?;
    let (first, second) = (ports::free()?, ports::free()?);
    let global = scene.stage.global();
    let virtual_outbound = json!({
        "type": "VirtualOutbound", "mesh": MESH, "name": "ports",
        "selectors": [{"match": {"kuma.io/service": "web"}}],
        "conf": {"host": "{{.service}}.example", "port": first.to_string(),
            "parameters": [{"name": "service", "tagKey": "kuma.io/service"}]}
    });
    global.put(&format!("/meshes/{MESH}/virtual-outbounds/ports"), &virtual_outbound).await?;
    let external = json!({
        "type": "ExternalService", "mesh": MESH, "name": "outside",
        "networking": {"address": format!("127.0.0.1:{}", outside.port()), "disableHostDNSEntry": true},
        "tags": {"kuma.io/service": "outside", "kuma.io/protocol": "http"}
    });
    global.put(&format!("/meshes/{MESH}/external-services/outside"), &external).await?;
    let proxy = scene.start(client("client", Value::Null)?).await?;
    reaches(&of_service(&proxy, "web", first).await?, true).await?;
    reaches(&of_service(&proxy, "outside", outside.port()).await?, true).await?;
    let legacy = of_service(&proxy, "web", scene.port).await?;
    reaches(&legacy, true).await?;

    // Another name for the same port of the same host is not possible; everything else stays.
    let mut clash = virtual_outbound.clone();
    clash["name"] = json!("clash");
    clash["selectors"] = json!([{"match": {"kuma.io/service": "*"}}]);
    clash["conf"]["host"] = json!("web.example");
    global.put(&format!("/meshes/{MESH}/virtual-outbounds/clash"), &clash).await?;
    let said = || async {
        let log = scene.stage.zone(0).control_plane.log_tail(usize::MAX);
        Ok(log.contains("fqdn:web.example is of virtual-outbound:").then_some(()))
    };
    wait::until("the zone says which name is claimed twice", PATIENCE, said).await?;
    let mut more = virtual_outbound;
    more["name"] = json!("more");
    more["conf"]["port"] = json!(second.to_string());
    global.put(&format!("/meshes/{MESH}/virtual-outbounds/more"), &more).await?;
    reaches(&of_service(&proxy, "web", second).await?, true).await?;
    reaches(&legacy, true).await?;
    scene.stage.passed();
    Ok(())
}

#[tokio::test]
async fn outbounds_refer_to_services_in_every_way() -> Result<()> {
    let (stage, _) = stage("Everywhere").await?;
    let server = EchoServer::start("web").await?;
    let mut web = apps::sidecar(MESH, "web-1", "web", server.port(), &[])?;
    web.resource["networking"]["inbound"][0]["name"] = json!("main");
    let inbound = web.resource["networking"]["inbound"][0]["port"].clone();
    let _web = stage.zone(0).start_sidecar(web).await?;

    let zone = &stage.zone(0).api;
    let service = |name: &str, selector: Value, target: Value| {
        json!({"type": "MeshService", "mesh": MESH, "name": name,
            "labels": {"kuma.io/origin": "zone", "shelf": "top", "who": name},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": target, "appProtocol": "http"}]}})
    };
    let by_tags = json!({"dataplaneTags": {"kuma.io/service": "web"}});
    let by_ref = json!({"dataplaneRef": {"name": "web-1"}});
    for (name, selector, target) in [("by-tags", by_tags, inbound.clone()), ("by-ref", by_ref, json!("main"))] {
        zone.put(&format!("/meshes/{MESH}/meshservices/{name}"), &service(name, selector, target)).await?;
    }
    let multi = json!({"type": "MeshMultiZoneService", "mesh": MESH, "name": "all", "labels": {"shelf": "top"},
        "spec": {"selector": {"meshService": {"matchLabels": {"who": "by-tags"}}},
            "ports": [{"port": 80, "appProtocol": "http"}]}});
    stage.global().put(&format!("/meshes/{MESH}/meshmultizoneservices/all"), &multi).await?;
    for kind in ["meshService", "meshMultiZoneService"] {
        let name = format!("shelves-{}", kind.to_lowercase());
        let generator = json!({"type": "HostnameGenerator", "name": name, "spec": {
            "selector": {kind: {"matchLabels": {"shelf": "top"}}},
            "template": "{{ .DisplayName }}.{{ label \"shelf\" }}.{{ .Mesh }}.example"}});
        stage.global().put(&format!("/hostnamegenerators/{name}"), &generator).await?;
    }

    let multi_at_zone = || async {
        let items = zone.get(&format!("/meshes/{MESH}/meshmultizoneservices")).await?["items"].clone();
        let named = items[0]["status"]["addresses"].as_array().cloned().unwrap_or_default();
        let named = named.iter().any(|address| address["hostname"] == "all.top.shop.example");
        anyhow::ensure!(named && !items[0]["status"]["vips"].is_null(), "{items}");
        Ok(Some(()))
    };
    wait::until("the zone has the MeshMultiZoneService with address and host name", PATIENCE, multi_at_zone).await?;
    let named = || async {
        let service = zone.get(&format!("/meshes/{MESH}/meshservices/by-ref")).await?;
        let name = service["status"]["addresses"].to_string();
        Ok(name.contains("by-ref.top.shop.example").then_some(()))
    };
    wait::until("the MeshService has a host name of the template", PATIENCE, named).await?;

    let mut client = apps::caller(MESH, "client", &[])?;
    let references = [
        json!({"tags": {"kuma.io/service": "web"}}),
        json!({"backendRef": {"kind": "MeshService", "name": "web", "port": inbound}}),
        json!({"backendRef": {"kind": "MeshService", "name": "by-tags", "port": 80}}),
        json!({"backendRef": {"kind": "MeshService", "name": "by-ref", "port": 80}}),
        json!({"backendRef": {"kind": "MeshService", "labels": {"who": "by-ref"}, "port": 80}}),
        json!({"backendRef": {"kind": "MeshMultiZoneService", "labels": {"kuma.io/display-name": "all"}, "port": 80}}),
    ];
    let mut listed = Vec::new();
    let mut outbounds = Vec::new();
    for mut reference in references {
        let port = ports::free()?;
        reference["port"] = json!(port);
        listed.push(port);
        outbounds.push(reference);
    }
    client.resource["networking"]["outbound"] = json!(outbounds);
    let _client = stage.zone(0).start_sidecar(client).await?;
    for port in listed {
        answered(port, StatusCode::OK).await?;
    }
    stage.passed();
    Ok(())
}
