//! MeshLoadBalancingStrategy: which instance of a service answers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::{Echo, EchoServer};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::{api, ports, wait};

use crate::support::requests::Requests;
use crate::support::web::{By, mesh, outbound, service};
use crate::support::{PATIENCE, Stage, apps};

const MESH: &str = "default";

/// Creates or replaces the policy that says how a destination is reached.
async fn strategy(stage: &Stage, destination: &Value, conf: Value) -> Result<()> {
    let spec = json!({"to": [{"targetRef": destination, "default": conf}]});
    let body = json!({"type": "MeshLoadBalancingStrategy", "mesh": MESH, "name": "strategy", "spec": spec});
    let path = format!("/meshes/{MESH}/meshloadbalancingstrategies/strategy");
    stage.global().put(&path, &body).await.map(drop)
}

/// A mesh over some zones, in which everybody may call.
async fn stage(zones: &[&str], mesh: &Value) -> Result<Stage> {
    let stage = Stage::with_zones(zones).await?;
    stage.mesh(mesh).await?;
    let (path, permission) = api::traffic_permission(MESH, "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    Ok(stage)
}

/// An instance of the service `echo`: a server and its sidecar.
struct Instance {
    proxy: Proxy,
    _server: EchoServer,
}

impl Instance {
    /// Starts an instance in a zone, which tells its name and is tagged so.
    async fn start(stage: &Stage, zone: usize, name: &str, tags: &[(&str, &str)]) -> Result<Self> {
        Self::speaking(stage, zone, name, tags, "http").await
    }

    /// As [`Self::start`], with the protocol that proxies are told.
    async fn speaking(stage: &Stage, zone: usize, name: &str, tags: &[(&str, &str)], protocol: &str) -> Result<Self> {
        let server = EchoServer::start(name).await?;
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let inbound = Inbound { tags, protocol: protocol.to_owned(), ..Inbound::http("echo", server.port())? };
        let spec = ProxySpec::sidecar(MESH, &format!("echo-{name}"), &inbound, &[]);
        let proxy = stage.zone(zone).start_sidecar(spec).await?;
        Ok(Self { proxy, _server: server })
    }
}

/// Starts a client in the first zone, with these tags, whose outbound to the service it returns.
async fn client(stage: &Stage, tags: &[(&str, &str)]) -> Result<(Proxy, u16)> {
    let port = ports::free()?;
    let mut spec = apps::caller(MESH, "client", &[(port, "echo")])?;
    for (key, value) in tags {
        spec.resource["networking"]["inbound"][0]["tags"][*key] = json!(value);
    }
    Ok((stage.zone(0).start_sidecar(spec).await?, port))
}

/// Starts the ingress of a zone.
async fn ingress(stage: &Stage, zone: usize) -> Result<Proxy> {
    let zone = stage.zone(zone);
    let spec = ProxySpec::ingress(&format!("ingress-{}", zone.name), ports::free()?);
    zone.launch_proxy(spec.with_token(stage.world.zone_token(&zone.name).await?)).await
}

/// Waits until instances with all these names have answered.
async fn all_answer(outbound: u16, names: &[&str]) -> Result<()> {
    let seen = RefCell::new(BTreeSet::new());
    let answered = || async {
        if let (_, Some(echo)) = apps::call(outbound).await? {
            seen.borrow_mut().insert(echo.server);
        }
        Ok(names.iter().all(|name| seen.borrow().contains(*name)).then_some(()))
    };
    wait::until(&format!("{names:?} answer"), PATIENCE, answered).await
}

/// No proxy refused a configuration.
async fn accepted(proxies: &[&Proxy]) -> Result<()> {
    for proxy in proxies {
        let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
        ensure!(rejected == 0, "{} refused a configuration:\n{}", proxy.spec.name, proxy.log_tail());
    }
    Ok(())
}

#[tokio::test]
async fn requests_leave_the_zone_when_and_where_to_the_policy_says() -> Result<()> {
    let stage = stage(&["here", "near", "far"], &mesh(By::Tag)).await?;
    let _ingresses = [ingress(&stage, 1).await?, ingress(&stage, 2).await?];
    let here = Instance::start(&stage, 0, "here", &[]).await?;
    let near = Instance::start(&stage, 1, "near", &[]).await?;
    let _far = Instance::start(&stage, 2, "far", &[]).await?;
    let (client, to_echo) = client(&stage, &[]).await?;
    // Nothing is preferred unless somebody says so.
    all_answer(to_echo, &["here", "near", "far"]).await?;
    let echo = service("echo", By::Tag);
    strategy(&stage, &echo, json!({"localityAwareness": {"disabled": false}})).await?;
    let requests = Requests::start(to_echo).await?;
    requests.only("here").await?;

    let failover = |rules: Value| json!({"localityAwareness": {"crossZone": {"failover": rules}}});
    let to = |kind: &str, zones: &[&str]| json!({"to": {"type": kind, "zones": zones}});
    strategy(&stage, &echo, failover(json!([to("Only", &["near"]), to("AnyExcept", &["near"])]))).await?;
    requests.only("here").await?;
    requests.all_answered().await?;
    here.proxy.kill().await?;
    let requests = Requests::start(to_echo).await?;
    requests.only("near").await?;
    // A zone that no rule has is not used.
    strategy(&stage, &echo, failover(json!([to("AnyExcept", &["near"])]))).await?;
    requests.only("far").await?;
    let from_elsewhere = json!({"from": {"zones": ["near", "far"]}, "to": {"type": "Any"}});
    strategy(&stage, &echo, failover(json!([from_elsewhere, to("Only", &["near"])]))).await?;
    requests.only("near").await?;
    drop(requests);
    strategy(&stage, &echo, failover(json!([from_elsewhere]))).await?;
    apps::answered(to_echo, StatusCode::SERVICE_UNAVAILABLE).await?;

    // An instance is there again.
    let here = Instance::start(&stage, 0, "here", &[]).await?;
    let requests = Requests::start(to_echo).await?;
    requests.only("here").await?;
    requests.all_answered().await?;
    accepted(&[&client, &here.proxy, &near.proxy]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn the_egress_goes_to_the_zones_that_the_policy_says() -> Result<()> {
    let mut through_egress = mesh(By::Tag);
    through_egress["routing"] = json!({"zoneEgress": true});
    let stage = stage(&["here", "near", "far"], &through_egress).await?;
    let _ingresses = [ingress(&stage, 1).await?, ingress(&stage, 2).await?];
    let egress = ProxySpec::egress("egress-here", ports::free()?);
    let egress = egress.with_token(stage.world.zone_token("here").await?);
    let egress = stage.zone(0).launch_proxy(egress).await?;
    // The egress chooses once for each connection, of which HTTP would need one for all requests.
    let _near = Instance::speaking(&stage, 1, "near", &[], "tcp").await?;
    let _far = Instance::speaking(&stage, 2, "far", &[], "tcp").await?;
    let (client, to_echo) = client(&stage, &[]).await?;
    all_answer(to_echo, &["near", "far"]).await?;
    let requests = Requests::start(to_echo).await?;
    let failover = |kind: &str, zone: &str| {
        let rule = json!({"to": {"type": kind, "zones": [zone]}});
        json!({"localityAwareness": {"crossZone": {"failover": [rule]}}})
    };
    let everything = json!({"kind": "Mesh"});
    strategy(&stage, &everything, failover("Only", "near")).await?;
    requests.only("near").await?;
    strategy(&stage, &everything, failover("AnyExcept", "near")).await?;
    requests.only("far").await?;
    drop(requests);
    accepted(&[&client, &egress]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn instances_that_share_a_tag_with_the_client_are_preferred() -> Result<()> {
    let stage = stage(&["here"], &mesh(By::Tag)).await?;
    let first = Instance::start(&stage, 0, "first", &[("rack", "a")]).await?;
    let second = Instance::start(&stage, 0, "second", &[("rack", "b")]).await?;
    let (client, to_echo) = client(&stage, &[("rack", "b")]).await?;
    all_answer(to_echo, &["first", "second"]).await?;
    // All others together weigh 1.
    let tags = json!([{"key": "floor", "weight": 1_000_000_000}, {"key": "rack", "weight": 1_000_000_000}]);
    let conf = json!({"localityAwareness": {"localZone": {"affinityTags": tags}}});
    strategy(&stage, &service("echo", By::Tag), conf).await?;
    let requests = Requests::start(to_echo).await?;
    requests.only("second").await?;
    requests.all_answered().await?;
    second.proxy.kill().await?;
    let requests = Requests::start(to_echo).await?;
    requests.only("first").await?;
    requests.all_answered().await?;
    accepted(&[&client, &first.proxy]).await?;
    stage.passed();
    Ok(())
}

/// Who answers a request with a value of the header.
async fn server_of(http: &reqwest::Client, outbound: u16, user: usize) -> Result<String> {
    let url = format!("http://127.0.0.1:{outbound}/hello");
    let response = http.get(url).header("x-user", format!("user-{user}")).send().await.context("no answer")?;
    let response = response.error_for_status()?;
    Ok(response.json::<Echo>().await?.server)
}

/// Waits until requests with a value of the header always go to the same instance, and those with another to others.
async fn same_users_same_servers(outbound: u16) -> Result<BTreeMap<usize, String>> {
    // Odd, so that taking turns is not mistaken for it.
    const USERS: usize = 31;
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
    let found = || async {
        let mut servers = BTreeMap::new();
        for user in 0..USERS {
            servers.insert(user, server_of(&http, outbound, user).await?);
        }
        for round in 0..3 {
            for (user, server) in &servers {
                let again = server_of(&http, outbound, *user).await?;
                ensure!(again == *server, "user {user} in round {round}: {again}, {server} before");
            }
        }
        let used: BTreeSet<_> = servers.values().collect();
        ensure!(used.len() > 1, "all go to {used:?}");
        Ok(Some(servers))
    };
    wait::until("a user's requests go to the same instance", PATIENCE, found).await
}

#[tokio::test]
async fn requests_with_the_same_header_go_to_the_same_instance() -> Result<()> {
    for by in [By::Tag, By::Resource] {
        let stage = stage(&["here"], &mesh(by)).await?;
        let first = Instance::start(&stage, 0, "first", &[]).await?;
        let inbound = &first.proxy.spec.resource["networking"]["inbound"][0]["port"];
        let inbound = inbound.as_u64().and_then(|port| u16::try_from(port).ok()).context("a port")?;
        // The same port at another address, as instances of a MeshService have.
        let server = EchoServer::start("second").await?;
        let second = Inbound { port: inbound, ..Inbound::http("echo", server.port())? };
        let mut second = ProxySpec::sidecar(MESH, "echo-second", &second, &[]);
        second.resource["networking"]["address"] = json!("127.0.0.2");
        second.resource["networking"]["inbound"][0]["serviceAddress"] = json!("127.0.0.1");
        let second = stage.zone(0).start_sidecar(second).await?;
        let port = ports::free()?;
        let mut client = apps::caller(MESH, "client", &[])?;
        client.resource["networking"]["outbound"] = json!([outbound(port, "echo", inbound, by)]);
        let client = stage.zone(0).start_sidecar(client).await?;
        all_answer(port, &["first", "second"]).await?;

        let hash = json!([{"type": "Header", "header": {"name": "x-user"}}]);
        let echo = service("echo", by);
        let ring = json!({"type": "RingHash", "ringHash": {"hashFunction": "XXHash", "minRingSize": 1024}});
        strategy(&stage, &echo, json!({"loadBalancer": ring, "hashPolicies": hash})).await?;
        let servers = same_users_same_servers(port).await?;
        // The hash does not depend on the client, so another one finds the same instances.
        let other_port = ports::free()?;
        let mut other = apps::caller(MESH, "other", &[])?;
        other.resource["networking"]["outbound"] = json!([outbound(other_port, "echo", inbound, by)]);
        let other = stage.zone(0).start_sidecar(other).await?;
        all_answer(other_port, &["first", "second"]).await?;
        ensure!(same_users_same_servers(other_port).await? == servers, "clients differ in whom they ask");
        strategy(&stage, &echo, json!({"loadBalancer": {"type": "Maglev"}, "hashPolicies": hash})).await?;
        same_users_same_servers(port).await?;
        accepted(&[&first.proxy, &second, &client, &other]).await?;
        stage.passed();
    }
    Ok(())
}
