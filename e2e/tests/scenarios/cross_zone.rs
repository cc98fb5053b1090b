//! Services that several zones have: which of them answers, and what happens when one leaves.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::world::Zone;
use tandem_e2e::{api, ports, wait};

use crate::support::requests::Requests;
use crate::support::{PATIENCE, Stage, apps};

/// A mesh in which nothing repeats a failed request.
fn mesh(locality_aware: bool) -> Value {
    let mut mesh = json!({
        "type": "Mesh", "name": "default",
        "skipCreatingInitialPolicies": ["*"],
        "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}
    });
    if locality_aware {
        mesh["routing"] = json!({"localityAwareLoadBalancing": true});
    }
    mesh
}

/// Two zones, both of which have the service `echo`, and a client in the first one.
struct Everywhere {
    stage: Stage,
    outbound: u16,
    local: Proxy,
    remote: Proxy,
    ingress: Proxy,
    _client: Proxy,
    _servers: [EchoServer; 2],
}

impl Everywhere {
    async fn start(mesh: &Value, outbound_to: impl FnOnce(u16) -> Value) -> Result<Self> {
        let stage = Stage::with_zones(&["here", "there"]).await?;
        stage.mesh(mesh).await?;
        let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
        stage.global().put(&path, &permission).await?;
        let (here, there) = (stage.zone(0), stage.zone(1));
        let ingress = start_ingress(&stage, there, |_| ()).await?;
        let servers = [EchoServer::start("here").await?, EchoServer::start("there").await?];
        let server = |index: usize| apps::sidecar("default", "echo-1", "echo", servers[index].port(), &[]);
        let local = here.start_sidecar(server(0)?).await?;
        let remote = there.start_sidecar(server(1)?).await?;
        let outbound = ports::free()?;
        let mut client = apps::caller("default", "client", &[])?;
        client.resource["networking"]["outbound"] = json!([outbound_to(outbound)]);
        let client = here.start_sidecar(client).await?;
        Ok(Self { stage, outbound, local, remote, ingress, _client: client, _servers: servers })
    }

    /// The service by its tag.
    async fn by_tag(locality_aware: bool) -> Result<Self> {
        let outbound = |port| json!({"port": port, "tags": {"kuma.io/service": "echo"}});
        Self::start(&mesh(locality_aware), outbound).await
    }

    /// Sets the state of the instance of the first zone: `Ready`, or `Ignored` to take it out of load balancing.
    async fn local_is(&self, state: &str) -> Result<()> {
        let api = &self.stage.zone(0).api;
        let path = format!("/meshes/default/dataplanes/{}", self.local.spec.name);
        let mut dataplane = api.get(&path).await?;
        let members = dataplane.as_object_mut().context("no object")?;
        for computed in ["creationTime", "modificationTime", "kri"] {
            members.shift_remove(computed);
        }
        members["networking"]["inbound"][0]["state"] = json!(state);
        api.put(&path, &dataplane).await.map(drop)
    }
}

/// Starts the ingress of a zone, whose networking `edit` changes.
async fn start_ingress(stage: &Stage, zone: &Zone, edit: impl FnOnce(&mut Value)) -> Result<Proxy> {
    let mut spec = ProxySpec::ingress(&format!("ingress-{}", zone.name), ports::free()?);
    edit(&mut spec.resource["networking"]);
    zone.launch_proxy(spec.with_token(stage.world.zone_token(&zone.name).await?)).await
}

/// Requests from the time on when instances of all these zones have answered.
async fn requests_to(outbound: u16, zones: &[&str]) -> Result<Requests> {
    // An ingress is known a little earlier than its ways through are there.
    let first = Requests::start(outbound).await?;
    all_answer(&first, zones).await?;
    drop(first);
    Requests::start(outbound).await
}

/// Waits until instances of all these zones answer.
async fn all_answer(requests: &Requests, zones: &[&str]) -> Result<()> {
    let before = requests.so_far();
    let answered = || async {
        let now = requests.so_far();
        let is_new = |zone: &&&str| now.answered.get(**zone) > before.answered.get(**zone);
        Ok((zones.iter().filter(is_new).count() == zones.len()).then_some(()))
    };
    wait::until(&format!("{zones:?} answer"), PATIENCE, answered).await
}

#[tokio::test]
async fn the_own_zone_answers_as_long_as_it_can() -> Result<()> {
    let world = Everywhere::by_tag(false).await?;
    drop(requests_to(world.outbound, &["here", "there"]).await?);
    world.stage.mesh(&mesh(true)).await?;
    let requests = Requests::start(world.outbound).await?;
    requests.only("here").await?;
    world.local_is("Ignored").await?;
    requests.only("there").await?;
    world.local_is("Ready").await?;
    requests.only("here").await?;

    // Without preference all zones answer.
    world.stage.mesh(&mesh(false)).await?;
    all_answer(&requests, &["here", "there"]).await?;
    world.stage.mesh(&mesh(true)).await?;
    requests.only("here").await?;
    requests.all_answered().await?;
    world.stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_zone_that_leaves_is_drained() -> Result<()> {
    let mut world = Everywhere::by_tag(false).await?;
    let requests = requests_to(world.outbound, &["here", "there"]).await?;
    let enable = |enabled: bool| json!({"type": "Zone", "name": "there", "enabled": enabled});
    world.stage.global().put("/zones/there", &enable(false)).await?;
    requests.only("here").await?;
    world.stage.global().put("/zones/there", &enable(true)).await?;
    all_answer(&requests, &["here", "there"]).await?;

    // So is a zone that is deleted, once its control plane is gone; its proxies go on until then.
    let there = world.stage.zone_mut(1);
    there.control_plane.kill().await?;
    all_answer(&requests, &["here", "there"]).await?;
    let deleted = || async { world.stage.global().delete("/zones/there").await.map(Some) };
    wait::until("the zone can be deleted", PATIENCE, deleted).await?;
    requests.only("here").await?;
    requests.all_answered().await?;
    world.stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_zone_without_ingress_gets_no_requests_of_others() -> Result<()> {
    let world = Everywhere::by_tag(false).await?;
    let requests = requests_to(world.outbound, &["here", "there"]).await?;
    world.ingress.kill().await?;
    // What was on its way through the ingress is lost; what comes after it was removed is not.
    requests.only("here").await?;
    let other = start_ingress(&world.stage, world.stage.zone(1), |_| ()).await?;
    all_answer(&requests, &["here", "there"]).await?;
    drop(other);
    world.stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_service_of_all_zones_is_answered_by_the_own_one_first() -> Result<()> {
    let mut mesh = mesh(false);
    mesh["meshServices"] = json!({"mode": "Everywhere"});
    let labels = json!({"kuma.io/display-name": "everywhere"});
    let backend = json!({"kind": "MeshMultiZoneService", "labels": labels, "port": 80});
    let to_all = |port| json!({"port": port, "backendRef": backend});
    let world = Everywhere::start(&mesh, to_all).await?;
    for index in [0, 1] {
        let service = json!({
            "type": "MeshService", "mesh": "default", "name": "manual",
            "labels": {"app": "echo", "kuma.io/origin": "zone"},
            "spec": {
                "selector": {"dataplaneTags": {"kuma.io/service": "echo"}},
                "ports": [{"port": 80, "targetPort": inbound_port(&world, index), "appProtocol": "http"}]
            }
        });
        world.stage.zone(index).api.put("/meshes/default/meshservices/manual", &service).await?;
    }
    let everywhere = json!({
        "type": "MeshMultiZoneService", "mesh": "default", "name": "everywhere",
        "spec": {
            "selector": {"meshService": {"matchLabels": {"app": "echo"}}},
            "ports": [{"port": 80, "appProtocol": "http"}]
        }
    });
    world.stage.global().put("/meshes/default/meshmultizoneservices/everywhere", &everywhere).await?;
    let requests = Requests::start(world.outbound).await?;
    requests.only("here").await?;
    world.local_is("Ignored").await?;
    requests.only("there").await?;
    world.local_is("Ready").await?;
    requests.only("here").await?;
    world.stage.passed();
    Ok(())
}

/// Port of the inbound of the server in a zone.
fn inbound_port(world: &Everywhere, zone: usize) -> Value {
    let server = if zone == 0 { &world.local } else { &world.remote };
    server.spec.resource["networking"]["inbound"][0]["port"].clone()
}

#[tokio::test]
async fn zones_are_reached_over_ipv6_and_by_name() -> Result<()> {
    let stage = Stage::with_zones(&["here", "six", "named"]).await?;
    stage.mesh(&mesh(false)).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let (here, six, named) = (stage.zone(0), stage.zone(1), stage.zone(2));
    let over_six = |networking: &mut Value| {
        networking["address"] = json!("::1");
        networking["advertisedAddress"] = json!("::1");
    };
    let _ingress_six = start_ingress(&stage, six, over_six).await?;
    let by_name = |networking: &mut Value| networking["advertisedAddress"] = json!("localhost");
    let _ingress_named = start_ingress(&stage, named, by_name).await?;

    let servers = [EchoServer::start("six").await?, EchoServer::start("named").await?];
    let mut at_six = apps::sidecar("default", "echo-1", "echo", servers[0].port(), &[])?;
    at_six.resource["networking"]["address"] = json!("::1");
    at_six.resource["networking"]["inbound"][0]["serviceAddress"] = json!("127.0.0.1");
    let _at_six = six.start_sidecar(at_six).await?;
    let mut at_named = apps::sidecar("default", "echo-1", "echo", servers[1].port(), &[])?;
    at_named.resource["networking"]["address"] = json!("localhost");
    let _at_named = named.start_sidecar(at_named).await?;

    let outbound = ports::free()?;
    let mut client = apps::caller("default", "client", &[(outbound, "echo")])?;
    client.resource["networking"]["address"] = json!("::1");
    let client = here.start_sidecar(client).await?;
    let requests = requests_to(outbound, &["six", "named"]).await?;
    all_answer(&requests, &["six", "named"]).await?;
    requests.all_answered().await?;
    assert_eq!(client.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0);
    let offers = here.api.get("/zoneingresses").await?;
    assert!(offers.to_string().contains("\"kuma.io/service\":\"echo\""), "what an ingress offers is known: {offers}");
    stage.passed();
    Ok(())
}
