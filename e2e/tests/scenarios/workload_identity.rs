//! MeshIdentity, MeshTrust and MeshTLS: proxies that know each other by certificates of their own.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::world::Zone;
use tandem_e2e::{ports, wait};

use crate::support::requests::Requests;
use crate::support::{PATIENCE, Stage, answered, apps, call, zone_proxies};

const MESH: &str = "shop";

/// A mesh whose services are MeshServices only, without the policies that would repeat failed requests.
fn mesh(mtls: bool) -> Value {
    let mut mesh = json!({
        "type": "Mesh", "name": MESH, "meshServices": {"mode": "Exclusive"}, "skipCreatingInitialPolicies": ["*"]
    });
    if mtls {
        mesh["mtls"] = json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]});
    }
    mesh
}

async fn put(api: &Api, kind: &str, list: &str, name: &str, spec: Value) -> Result<()> {
    let body = json!({"type": kind, "mesh": MESH, "name": name, "spec": spec});
    api.put(&format!("/meshes/{MESH}/{list}/{name}"), &body).await.map(drop)
}

/// A MeshIdentity for the Dataplanes with these labels, with a generated authority.
async fn identify(api: &Api, name: &str, labels: Value, domain: Option<&str>, trusted: bool) -> Result<()> {
    let creation = if trusted { "Enabled" } else { "Disabled" };
    let bundled = json!({
        "autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true, "meshTrustCreation": creation
    });
    let mut spec = json!({
        "selector": {"dataplane": {"matchLabels": labels}},
        "provider": {"type": "Bundled", "bundled": bundled}
    });
    if let Some(domain) = domain {
        spec["spiffeID"] = json!({"trustDomain": domain});
    }
    put(api, "MeshIdentity", "meshidentities", name, spec).await
}

/// Permits clients whose SPIFFE ID begins like one of these.
async fn permit(api: &Api, prefixes: &[&str]) -> Result<()> {
    let id = |prefix: &&str| json!({"spiffeID": {"type": "Prefix", "value": prefix}});
    let allowed: Vec<Value> = prefixes.iter().map(id).collect();
    let spec = json!({"rules": [{"default": {"allow": allowed}}]});
    put(api, "MeshTrafficPermission", "meshtrafficpermissions", "clients", spec).await
}

/// A sidecar of the workload `name`.
fn workload(name: &str, service_port: u16) -> Result<ProxySpec> {
    let mut spec = apps::sidecar(MESH, name, name, service_port, &[])?;
    spec.resource["labels"] = json!({"kuma.io/workload": name});
    Ok(spec)
}

/// A sidecar that reaches the MeshService `echo` of its zone or of another one through a port.
fn caller(name: &str, zone: Option<&str>, port: u16, echo_port: u16) -> Result<ProxySpec> {
    let mut spec = workload(name, ports::free()?)?;
    let mut reference = json!({"kind": "MeshService", "port": echo_port});
    match zone {
        Some(zone) => reference["labels"] = json!({"kuma.io/display-name": "echo", "kuma.io/zone": zone}),
        None => reference["name"] = json!("echo"),
    }
    spec.resource["networking"]["outbound"] = json!([{"port": port, "backendRef": reference}]);
    Ok(spec)
}

/// Port of the inbound of a sidecar.
fn inbound(spec: &ProxySpec) -> Result<u16> {
    let port = spec.resource["networking"]["inbound"][0]["port"].as_u64().context("an inbound")?;
    Ok(u16::try_from(port)?)
}

/// The URIs in the certificates that Envoy has of its own.
async fn shown(proxy: &Proxy) -> Result<Vec<String>> {
    let certificates: Value = serde_json::from_str(&proxy.admin("certs").await?)?;
    let all = certificates["certificates"].as_array().into_iter().flatten();
    let names = all.flat_map(|entry| entry["cert_chain"].as_array().into_iter().flatten()).flat_map(|certificate| {
        certificate["subject_alt_names"].as_array().into_iter().flatten().filter_map(|name| name["uri"].as_str())
    });
    Ok(names.map(str::to_owned).collect())
}

/// Waits until Envoy shows a certificate with a SPIFFE ID, and none with another one.
async fn shows(proxy: &Proxy, uri: &str) -> Result<()> {
    let condition = || async {
        let shown = shown(proxy).await?;
        ensure!(!shown.is_empty() && shown.iter().all(|shown| shown == uri), "it shows {shown:?}");
        Ok(Some(()))
    };
    wait::until(&format!("{} shows {uri}", proxy.spec.name), PATIENCE, condition).await
}

async fn rejected(proxies: &[&Proxy]) -> Result<()> {
    for proxy in proxies {
        let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
        ensure!(rejected == 0, "{} refused a configuration:\n{}", proxy.spec.name, proxy.log_tail());
    }
    Ok(())
}

/// Echo and a client of it in one zone.
struct Pair {
    _server: EchoServer,
    echo: Proxy,
    client: Proxy,
    /// Port through which the client reaches echo.
    outbound: u16,
    /// Port of echo's proxy.
    inbound: u16,
}

impl Pair {
    async fn start(zone: &Zone, labels: [Value; 2]) -> Result<Self> {
        let server = EchoServer::start("echo").await?;
        let mut echo = workload("echo", server.port())?;
        let (inbound, outbound) = (inbound(&echo)?, ports::free()?);
        let mut client = caller("client", None, outbound, inbound)?;
        for (spec, labels) in [&mut echo, &mut client].into_iter().zip(labels) {
            for (label, value) in labels.as_object().into_iter().flatten() {
                spec.resource["labels"][label] = value.clone();
            }
        }
        let echo = zone.start_sidecar(echo).await?;
        let client = zone.start_sidecar(client).await?;
        Ok(Self { _server: server, echo, client, outbound, inbound })
    }
}

#[tokio::test]
async fn proxies_with_identities_talk_without_mutual_tls_of_the_mesh() -> Result<()> {
    let stage = Stage::with_zones(&["east"]).await?;
    stage.mesh(&mesh(false)).await?;
    let api = stage.global();
    identify(api, "identity", json!({}), None, true).await?;
    permit(api, &["spiffe://shop.east.mesh.local/workload/client"]).await?;
    let pair = Pair::start(stage.zone(0), [json!({}), json!({})]).await?;
    let answer = answered(pair.outbound, StatusCode::OK).await?;
    let seen = answer.and_then(|answer| answer.caller).context("the server's proxy names no caller")?;
    assert!(seen.contains("URI=spiffe://shop.east.mesh.local/workload/client"), "{seen}");
    shows(&pair.echo, "spiffe://shop.east.mesh.local/workload/echo").await?;
    shows(&pair.client, "spiffe://shop.east.mesh.local/workload/client").await?;

    // TLS is all that is taken, until a MeshTLS says otherwise.
    assert!(call(pair.inbound).await.is_err(), "plain text was answered");
    let spec = |mode: &str| json!({"rules": [{"default": {"mode": mode}}]});
    put(api, "MeshTLS", "meshtlses", "mode", spec("Permissive")).await?;
    let answer = answered(pair.inbound, StatusCode::OK).await?;
    assert_eq!(answer.and_then(|answer| answer.caller), None);
    assert_eq!(call(pair.outbound).await?.0, StatusCode::OK);
    put(api, "MeshTLS", "meshtlses", "mode", spec("Strict")).await?;
    let refused = || async { Ok(call(pair.inbound).await.is_err().then_some(())) };
    wait::until("plain text is refused again", PATIENCE, refused).await?;

    // Who may call is decided by SPIFFE IDs.
    permit(api, &["spiffe://shop.east.mesh.local/workload/another"]).await?;
    answered(pair.outbound, StatusCode::FORBIDDEN).await?;
    permit(api, &["spiffe://shop.east.mesh.local"]).await?;
    answered(pair.outbound, StatusCode::OK).await?;
    rejected(&[&pair.echo, &pair.client]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn another_trust_domain_is_refused_until_it_is_trusted() -> Result<()> {
    let stage = Stage::with_zones(&["east"]).await?;
    stage.mesh(&mesh(false)).await?;
    let api = stage.global();
    permit(api, &["spiffe://one.test", "spiffe://two.test"]).await?;
    identify(api, "one", json!({"team": "one"}), Some("one.test"), true).await?;
    identify(api, "two", json!({"team": "two"}), Some("two.test"), false).await?;
    let pair = Pair::start(stage.zone(0), [json!({"team": "one"}), json!({"team": "two"})]).await?;
    shows(&pair.echo, "spiffe://one.test/workload/echo").await?;
    shows(&pair.client, "spiffe://two.test/workload/client").await?;
    // The client trusts the server, not the other way round.
    let refused = || async {
        let failures = pair.echo.stat_sum(|name| name.ends_with("ssl.fail_verify_error")).await?;
        let answered = call(pair.outbound).await?.0;
        ensure!(answered == StatusCode::SERVICE_UNAVAILABLE && failures > 0, "{answered}, {failures} failures");
        Ok(Some(()))
    };
    wait::until("the client is refused", PATIENCE, refused).await?;

    let secret = stage.zone(0).api.get(&format!("/meshes/{MESH}/secrets/two-root-ca")).await?;
    let pem = String::from_utf8(BASE64.decode(secret["data"].as_str().context("a Secret")?)?)?;
    let bundle = json!({"type": "Pem", "pem": {"value": pem}});
    let spec = json!({"trustDomain": "two.test", "caBundles": [bundle]});
    put(api, "MeshTrust", "meshtrusts", "two", spec).await?;
    let answer = answered(pair.outbound, StatusCode::OK).await?;
    let seen = answer.and_then(|answer| answer.caller).context("the server's proxy names no caller")?;
    assert!(seen.contains("URI=spiffe://two.test/workload/client"), "{seen}");
    rejected(&[&pair.echo, &pair.client]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn zones_with_authorities_of_their_own_trust_each_other() -> Result<()> {
    let stage = Stage::with_zones(&["east", "west"]).await?;
    stage.mesh(&mesh(false)).await?;
    permit(stage.global(), &["spiffe://shop.east.mesh.local"]).await?;
    identify(stage.global(), "identity", json!({}), None, true).await?;
    let west = stage.zone(1);
    let (ingress, _egress) = zone_proxies(&stage.world, west, false).await?;
    let server = EchoServer::start("echo in west").await?;
    let echo = workload("echo", server.port())?;
    let echo_port = inbound(&echo)?;
    let echo = west.start_sidecar(echo).await?;
    let outbound = ports::free()?;
    let client = stage.zone(0).start_sidecar(caller("client", Some("west"), outbound, echo_port)?).await?;
    // What a zone trusts by itself is not for other zones: whoever runs the mesh tells all of them.
    for zone in &stage.world.zones {
        let made = || async {
            let list = zone.api.get(&format!("/meshes/{MESH}/meshtrusts")).await?;
            let all = list["items"].as_array().context("a list")?;
            let domain = format!("{MESH}.{}.mesh.local", zone.name);
            Ok(all.iter().map(|trust| &trust["spec"]).find(|spec| spec["trustDomain"] == domain.as_str()).cloned())
        };
        let spec = wait::until(&format!("{} trusts its authority", zone.name), PATIENCE, made).await?;
        put(stage.global(), "MeshTrust", "meshtrusts", &zone.name, spec).await?;
    }
    let answer = answered(outbound, StatusCode::OK).await?.context("the answer is not echo's")?;
    assert_eq!(answer.server, "echo in west");
    let seen = answer.caller.context("the server's proxy names no caller")?;
    assert!(seen.contains("URI=spiffe://shop.east.mesh.local/workload/client"), "{seen}");
    shows(&client, "spiffe://shop.east.mesh.local/workload/client").await?;
    shows(&echo, "spiffe://shop.west.mesh.local/workload/echo").await?;
    rejected(&[&ingress, &echo, &client]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn another_identity_takes_over_without_a_failed_request() -> Result<()> {
    let stage = Stage::with_zones(&["east"]).await?;
    stage.mesh(&mesh(false)).await?;
    let api = stage.global();
    permit(api, &["spiffe://shop.east.mesh.local", "spiffe://new.test"]).await?;
    identify(api, "old", json!({}), None, true).await?;
    let team = || json!({"team": "a"});
    let pair = Pair::start(stage.zone(0), [team(), team()]).await?;
    let requests = Requests::start(pair.outbound).await?;
    requests.go_on().await?;
    identify(api, "new", team(), Some("new.test"), true).await?;
    shows(&pair.echo, "spiffe://new.test/workload/echo").await?;
    shows(&pair.client, "spiffe://new.test/workload/client").await?;
    requests.go_on().await?;
    api.delete(&format!("/meshes/{MESH}/meshidentities/old")).await?;
    requests.go_on().await?;
    requests.all_answered().await?;
    rejected(&[&pair.echo, &pair.client]).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_mesh_moves_from_mutual_tls_to_identities_without_a_failed_request() -> Result<()> {
    let stage = Stage::with_zones(&["east"]).await?;
    stage.mesh(&mesh(true)).await?;
    let api = stage.global();
    let (path, permission) = tandem_e2e::api::traffic_permission(MESH, "everyone", "Allow");
    api.put(&path, &permission).await?;
    let pair = Pair::start(stage.zone(0), [json!({"step": "1"}), json!({"step": "2"})]).await?;
    let requests = Requests::start(pair.outbound).await?;
    let of_mesh = |name: &str| format!("spiffe://{MESH}/{name}");
    assert!(shown(&pair.echo).await?.contains(&of_mesh("echo")));

    // First the server, then all.
    identify(api, "server", json!({"step": "1"}), None, true).await?;
    shows(&pair.echo, "spiffe://shop.east.mesh.local/workload/echo").await?;
    requests.go_on().await?;
    assert!(shown(&pair.client).await?.contains(&of_mesh("client")));
    identify(api, "all", json!({}), None, true).await?;
    shows(&pair.client, "spiffe://shop.east.mesh.local/workload/client").await?;
    requests.go_on().await?;

    // What is left of mutual TLS of the mesh goes.
    stage.mesh(&mesh(true)).await?;
    let mut without = mesh(true);
    without["mtls"] = json!({"backends": without["mtls"]["backends"]});
    stage.mesh(&without).await?;
    requests.go_on().await?;
    assert!(call(pair.inbound).await.is_err(), "plain text was answered");
    requests.all_answered().await?;
    rejected(&[&pair.echo, &pair.client]).await?;
    stage.passed();
    Ok(())
}
