//! Connections that the kernel redirects to Envoy: virtual addresses, names, what passes through and what does not.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::namespace::{NODE, NODE_V6, Network, Redirection};
use tandem_e2e::{api, wait};

use crate::support::network::{Host, PORT, get_over_socket, in_network, pod, serve, sidecar};
use crate::support::{PATIENCE, Stage};

/// Mesh of the scenarios.
const MESH: &str = "default";

/// The address from which a proxy connects to its workload, by which the rules on the host know it.
const FROM_PROXY: [u8; 4] = [127, 0, 0, 6];

/// Port of services at addresses by tag, unless configured otherwise (`dnsServer.serviceVipPort`).
const VIP_PORT: u16 = 80;

fn mesh(mode: &str, members: &Value) -> Value {
    let mut mesh = json!({"type": "Mesh", "name": MESH, "meshServices": {"mode": mode}});
    for (name, value) in members.as_object().into_iter().flatten() {
        mesh[name] = value.clone();
    }
    mesh
}

fn mtls() -> Value {
    json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]})
}

async fn stage(mesh: &Value) -> Result<Stage> {
    stage_with(mesh, &[]).await
}

async fn stage_with(mesh: &Value, settings: &[(&str, &str)]) -> Result<Stage> {
    let mut stage = Stage::empty().await?;
    stage.world.add_zone_with("zone-1", settings).await?;
    stage.mesh(mesh).await?;
    let (path, permission) = api::traffic_permission(MESH, "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    Ok(stage)
}

async fn host(network: &mut Network, stage: &Stage, name: &str) -> Result<Host> {
    let pod = pod(network, Redirection::usual()).await?;
    let spec = sidecar(MESH, name, pod.address());
    Host::start(pod, stage.zone(0), spec).await
}

/// The virtual address of a MeshService, as soon as it has one.
async fn virtual_address(zone: &Api, service: &str) -> Result<IpAddr> {
    let found = || async {
        let service = zone.get(&format!("/meshes/{MESH}/meshservices/{service}")).await?;
        let address = service["status"]["vips"][0]["ip"].as_str().with_context(|| format!("no address: {service}"))?;
        Ok(Some(address.parse()?))
    };
    wait::until(&format!("{service} has a virtual address"), PATIENCE, found).await
}

#[tokio::test]
async fn names_and_virtual_addresses_lead_to_services() -> Result<()> {
    in_network("redirection::names_and_virtual_addresses_lead_to_services", |mut network| async move {
        let stage = stage(&mesh("Everywhere", &json!({"mtls": mtls()}))).await?;
        let echo = host(&mut network, &stage, "echo").await?;
        let client = host(&mut network, &stage, "client").await?;
        let address = virtual_address(&stage.zone(0).api, "echo").await?;

        // Envoy answers questions to any name server, for IPv6 with the same address in another form.
        let found = client.resolved("echo.svc.mesh.local").await?;
        let IpAddr::V4(ipv4) = address else { anyhow::bail!("{address} is not of IPv4") };
        assert_eq!(found, [address, ipv4.to_ipv6_mapped().into()]);

        let answer = client.answered((address, PORT).into(), "echo").await?;
        assert_eq!(answer.from, IpAddr::from(FROM_PROXY));
        let caller = answer.caller.context("the proxy of echo names no caller")?;
        assert!(caller.contains("URI=spiffe://default/client"), "{caller}");

        // In this mode the service has a name and an address by its tag, too.
        let of_tag = *client.resolved("echo.mesh").await?.first().context("resolved means found")?;
        assert_ne!(of_tag, address);
        client.answered((of_tag, VIP_PORT).into(), "echo").await?;
        assert_eq!((client.rejected().await?, echo.rejected().await?), (0, 0));
        stage.passed();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn connections_over_ipv6_are_redirected_too() -> Result<()> {
    in_network("redirection::connections_over_ipv6_are_redirected_too", |mut network| async move {
        let mesh = mesh("Exclusive", &json!({"mtls": mtls()}));
        let stage = stage_with(&mesh, &[("KUMA_IPAM_MESH_SERVICE_CIDR", "fd00:241::/64")]).await?;
        let mut hosts = Vec::new();
        for name in ["echo", "client"] {
            let pod = pod(&mut network, Redirection::usual()).await?;
            let spec = sidecar(MESH, name, pod.address_v6());
            hosts.push(Host::start(pod, stage.zone(0), spec).await?);
        }
        let [echo, client] = &hosts[..] else { anyhow::bail!("two were started") };
        let address = virtual_address(&stage.zone(0).api, "echo").await?;
        assert!(address.is_ipv6(), "{address}");
        assert_eq!(client.resolved("echo.svc.mesh.local").await?, [address]);
        let answer = client.answered((address, PORT).into(), "echo").await?;
        assert_eq!(answer.from, "::6".parse::<IpAddr>()?);
        let (_outside, outside) = outside_at("outside", (NODE_V6, 7001).into()).await?;
        client.answered(outside, "outside").await?;
        assert_eq!((client.rejected().await?, echo.rejected().await?), (0, 0));
        stage.passed();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn names_are_published_to_kuma_dp_until_they_change() -> Result<()> {
    in_network("redirection::names_are_published_to_kuma_dp_until_they_change", |mut network| async move {
        let stage = stage(&mesh("Exclusive", &json!({}))).await?;
        let pod = pod(&mut network, Redirection::usual()).await?;
        let mut spec = sidecar(MESH, "echo", pod.address());
        spec.features.push("feature-embedded-dns");
        let echo = Host::start(pod, stage.zone(0), spec).await?;
        let address = virtual_address(&stage.zone(0).api, "echo").await?;
        let socket = echo.socket("_kuma:dynamicconfig").await?;

        let published = || async {
            let answer = get_over_socket(socket.clone(), "/dns", None).await?;
            Ok(answer.2.contains("echo.svc.mesh.local").then_some(answer))
        };
        let (status, etag, body) = wait::until("the name is published", PATIENCE, published).await?;
        let etag = etag.context("no ETag")?;
        assert_eq!(status, StatusCode::OK);
        let IpAddr::V4(ipv4) = address else { anyhow::bail!("{address} is not of IPv4") };
        let [.., high, low] = ipv4.to_ipv6_mapped().segments();
        let addresses = json!([address, format!("::ffff:{high:x}:{low:x}")]);
        let expected = json!({"records": [{"name": "echo.svc.mesh.local", "ips": addresses}], "ttl": 30});
        assert_eq!(serde_json::from_str::<Value>(&body)?, expected);

        let again = get_over_socket(socket.clone(), "/dns", Some(("If-None-Match", &etag))).await?;
        assert_eq!((again.0, again.2.as_str()), (StatusCode::NOT_MODIFIED, ""));

        let second = sidecar(MESH, "second", [192, 0, 2, 1].into()).resource;
        stage.zone(0).api.put(&format!("/meshes/{MESH}/dataplanes/second"), &second).await?;
        let changed = || async {
            let answer = get_over_socket(socket.clone(), "/dns", Some(("If-None-Match", &etag))).await?;
            Ok((answer.0 == StatusCode::OK).then_some(answer.2))
        };
        let body = wait::until("another name is published", PATIENCE, changed).await?;
        assert!(body.contains("second.svc.mesh.local"), "{body}");
        stage.passed();
        Ok(())
    })
    .await
}

/// Something outside of the mesh, on the node.
async fn outside(name: &str, port: u16) -> Result<(EchoServer, SocketAddr)> {
    outside_at(name, (NODE, port).into()).await
}

async fn outside_at(name: &str, address: SocketAddr) -> Result<(EchoServer, SocketAddr)> {
    Ok((EchoServer::start_at(name, address).await?, address))
}

#[tokio::test]
async fn connections_to_unknown_destinations_pass_as_the_mesh_says() -> Result<()> {
    in_network("redirection::connections_to_unknown_destinations_pass_as_the_mesh_says", |mut network| async move {
        let stage = stage(&mesh("Exclusive", &json!({}))).await?;
        let excluded = Redirection { excluded_outbound: vec![7000], ..Redirection::usual() };
        let pod = pod(&mut network, excluded).await?;
        let spec = sidecar(MESH, "client", pod.address());
        let client = Host::start(pod, stage.zone(0), spec).await?;
        let (_outside, outside_address) = outside("outside", 7001).await?;
        let (_excluded, excluded_address) = outside("excluded", 7000).await?;
        const PASSED: &str = "cluster.outbound_passthrough_ipv4.upstream_cx_total";

        client.answered(outside_address, "outside").await?;
        let passed = client.stat(PASSED).await?;
        assert!(passed > 0, "the connection did not pass through Envoy");
        client.answered(excluded_address, "excluded").await?;
        assert_eq!(client.stat(PASSED).await?, passed, "the port is excluded from redirection");

        let forbidden = json!({"networking": {"outbound": {"passthrough": false}}});
        stage.mesh(&mesh("Exclusive", &forbidden)).await?;
        client.unanswered(outside_address).await?;
        client.answered(excluded_address, "excluded").await?;

        stage.mesh(&mesh("Exclusive", &json!({"networking": {"outbound": {"passthrough": true}}}))).await?;
        client.answered(outside_address, "outside").await?;
        assert_eq!(client.rejected().await?, 0);
        stage.passed();
        Ok(())
    })
    .await
}

/// Status of a request from the node, which is no part of the mesh.
async fn from_outside(to: SocketAddr) -> Result<(StatusCode, tandem_e2e::echo::Echo)> {
    let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let response = http.get(format!("http://{to}/hello")).send().await?;
    Ok((response.status(), response.json().await?))
}

#[tokio::test]
async fn connections_to_undeclared_ports_pass_until_mutual_tls_is_strict() -> Result<()> {
    in_network(
        "redirection::connections_to_undeclared_ports_pass_until_mutual_tls_is_strict",
        |mut network| async move {
            let stage = stage(&mesh("Exclusive", &json!({}))).await?;
            let excluded = Redirection { excluded_inbound: vec![9091], ..Redirection::usual() };
            let pod = pod(&mut network, excluded).await?;
            let spec = sidecar(MESH, "echo", pod.address());
            let address = pod.address();
            let echo = Host::start(pod, stage.zone(0), spec).await?;
            let _undeclared = serve(&echo.pod, "undeclared", 9090).await?;
            let _excluded = serve(&echo.pod, "excluded", 9091).await?;
            let [declared, undeclared, excluded] = [PORT, 9090, 9091].map(|port| SocketAddr::new(address, port));

            let (_, answer) = from_outside(undeclared).await?;
            assert_eq!((answer.server.as_str(), answer.from), ("undeclared", FROM_PROXY.into()));
            let (_, answer) = from_outside(declared).await?;
            assert_eq!((answer.server.as_str(), answer.from), ("echo", FROM_PROXY.into()));
            let (_, answer) = from_outside(excluded).await?;
            assert_eq!(answer.server, "excluded");
            assert_ne!(answer.from, IpAddr::from(FROM_PROXY), "the port is excluded from redirection");

            stage.mesh(&mesh("Exclusive", &json!({"mtls": mtls()}))).await?;
            for closed in [undeclared, declared] {
                let refused = || async { Ok(from_outside(closed).await.is_err().then_some(())) };
                wait::until(&format!("{closed} takes no plain text"), PATIENCE, refused).await?;
            }
            from_outside(excluded).await?;
            assert_eq!(echo.rejected().await?, 0);
            stage.passed();
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn proxies_are_reached_at_their_own_addresses_and_probed_in_plain_text() -> Result<()> {
    in_network(
        "redirection::proxies_are_reached_at_their_own_addresses_and_probed_in_plain_text",
        |mut network| async move {
            let stage = stage(&mesh("Exclusive", &json!({"mtls": mtls()}))).await?;
            let pod_of_client = pod(&mut network, Redirection::usual()).await?;
            let mut spec = sidecar(MESH, "client", pod_of_client.address());
            spec.resource["networking"]["transparentProxying"]["directAccessServices"] = json!(["headless"]);
            let client = Host::start(pod_of_client, stage.zone(0), spec).await?;
            let stranger = host(&mut network, &stage, "stranger").await?;

            // It comes after those who want to reach it.
            let pod = pod(&mut network, Redirection::usual()).await?;
            let address = pod.address();
            let mut spec = sidecar(MESH, "headless", address);
            let probe = json!({"inboundPort": PORT, "inboundPath": "/hello", "path": "/8080/hello"});
            let missing = json!({"inboundPort": 9999, "inboundPath": "/health", "path": "/9999/health"});
            spec.resource["probes"] = json!({"port": 9000, "endpoints": [probe, missing]});
            let headless = Host::start(pod, stage.zone(0), spec).await?;

            let answer = client.answered((address, PORT).into(), "headless").await?;
            let caller = answer.caller.context("the proxy names no caller")?;
            assert!(caller.contains("URI=spiffe://default/client"), "{caller}");
            stranger.unanswered((address, PORT).into()).await?;

            let http =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
            let probed = http.get(format!("http://{address}:9000/8080/hello")).send().await?;
            assert_eq!(probed.status(), StatusCode::OK);
            assert_eq!(probed.json::<tandem_e2e::echo::Echo>().await?.path, "/hello");
            let elsewhere = http.get(format!("http://{address}:9000/9999/health")).send().await?;
            assert_eq!(elsewhere.status(), StatusCode::MOVED_PERMANENTLY);
            let location = elsewhere.headers().get("location").context("no location")?.to_str()?;
            assert_eq!(location, format!("http://{address}:9999/health"));
            let unknown = http.get(format!("http://{address}:9000/other")).send().await?;
            assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
            ensure!(client.rejected().await? + headless.rejected().await? == 0, "a configuration was refused");
            stage.passed();
            Ok(())
        },
    )
    .await
}
