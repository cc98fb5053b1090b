//! Two meshes in the same zones, with the same names in both.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use prost::Message as _;
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde_json::{Value, json};
use tandem_auth::ca::{BuiltinAuthority, RsaBits};
use tandem_auth::tls::{Trust, client_config};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::world::Zone;
use tandem_e2e::{api, ports, wait};

use crate::support::ads::SECRET;
use crate::support::{Ads, PATIENCE, Stage, answered, apps, call, zone_proxies};

/// A mesh with a client in the first zone and a server in the second.
struct Inhabitants {
    client: Proxy,
    server: Proxy,
    _echo: EchoServer,
    /// Outbound of the client to the service that both meshes have.
    outbound: u16,
    /// Outbound of the client to the service that only the other mesh has.
    foreign: u16,
}

impl Inhabitants {
    async fn settle(stage: &Stage, mesh: &str, other: &str) -> Result<Self> {
        let echo = EchoServer::start(mesh).await?;
        let mut server = apps::sidecar(mesh, "server", "echo", echo.port(), &[])?;
        // A second inbound, for a service whose name only this mesh has.
        let mut own = server.resource["networking"]["inbound"][0].clone();
        own["port"] = json!(ports::free()?);
        own["tags"]["kuma.io/service"] = json!(format!("only-in-{mesh}"));
        server.resource["networking"]["inbound"].as_array_mut().context("no inbounds")?.push(own);
        let server = stage.zone(1).start_sidecar(server).await?;
        let (outbound, foreign) = (ports::free()?, ports::free()?);
        let outbounds = [(outbound, "echo"), (foreign, &*format!("only-in-{other}"))];
        let client = stage.zone(0).start_sidecar(apps::caller(mesh, "client", &outbounds)?).await?;
        Ok(Self { client, server, _echo: echo, outbound, foreign })
    }
}

#[tokio::test]
async fn meshes_in_the_same_zones_never_see_each_other() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    for mesh in ["red", "blue"] {
        stage.mesh(&api::mesh(mesh)).await?;
    }
    let _zone_1 = zone_proxies(&stage.world, stage.zone(0), false).await?;
    let _zone_2 = zone_proxies(&stage.world, stage.zone(1), true).await?;
    let red = Inhabitants::settle(&stage, "red", "blue").await?;
    let blue = Inhabitants::settle(&stage, "blue", "red").await?;

    // A permission counts in its own mesh only.
    let (path, permission) = api::traffic_permission("red", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    answered(red.outbound, StatusCode::OK).await?;
    answered(blue.outbound, StatusCode::FORBIDDEN).await?;
    let (path, permission) = api::traffic_permission("blue", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    answered(blue.outbound, StatusCode::OK).await?;

    // So does any other policy.
    let timeout = json!({
        "type": "MeshTimeout", "mesh": "red", "name": "peculiar",
        "spec": {
            // Both meshes have such a proxy.
            "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "client"}},
            "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "4321ms"}}]
        }
    });
    stage.global().put("/meshes/red/meshtimeouts/peculiar", &timeout).await?;
    let applied = || async { Ok(red.client.config_dump().await?.to_string().contains("4.321s").then_some(())) };
    wait::until("the timeout reaches its mesh", PATIENCE, applied).await?;

    // Names and ports are the same, yet everybody reaches the server of the own mesh, and never that of the other.
    for _ in 0..20 {
        for (mesh, inhabitants) in [("red", &red), ("blue", &blue)] {
            let (status, echo) = call(inhabitants.outbound).await?;
            let echo = echo.with_context(|| format!("{mesh}: {status}"))?;
            assert_eq!(echo.server, mesh);
            let identity = format!("URI=spiffe://{mesh}/client");
            assert!(echo.caller.is_some_and(|caller| caller.contains(&identity)), "{mesh}");
        }
    }
    for inhabitants in [&red, &blue] {
        // Nobody is behind that name, so there is no answer, or one of the own proxy that says so.
        let answer = call(inhabitants.foreign).await;
        assert!(!matches!(answer, Ok((StatusCode::OK, _))), "{answer:?}");
    }

    // No proxy was told anything of the other mesh: no endpoint, secret, policy or name.
    for (inhabitants, other) in [(&red, "blue"), (&blue, "red")] {
        let foreign_service = format!("only-in-{other}");
        for proxy in [&inhabitants.client, &inhabitants.server] {
            // The name of the outbound is the client's own.
            let dump = proxy.config_dump().await?.to_string().replace(&foreign_service, "");
            assert!(!mentions(&dump, other), "{} in the configuration of {}", other, proxy.spec.name);
            assert!(!proxy.admin("certs").await?.contains(&format!("spiffe://{other}")), "certificate of {other}");
        }
    }
    assert!(!blue.client.config_dump().await?.to_string().contains("4.321s"), "a policy of the other mesh");
    for port in inbound_ports(&blue.server.spec) {
        let endpoint = format!("\"port_value\":{port}");
        assert!(!red.client.config_dump().await?.to_string().contains(&endpoint), "an endpoint of the other mesh");
    }
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_one_mesh_opens_no_connection_in_another() -> Result<()> {
    apart(json!({"name": "ca-1", "type": "builtin"})).await
}

#[tokio::test]
async fn meshes_that_share_an_authority_on_purpose_stay_apart() -> Result<()> {
    let shared = BuiltinAuthority::generate("shared", RsaBits::default(), None)?;
    let conf = json!({"cert": {"inlineString": shared.cert_pem}, "key": {"inlineString": shared.key_pem}});
    apart(json!({"name": "ca-1", "type": "provided", "conf": conf})).await
}

async fn apart(backend: Value) -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    for mesh in ["red", "blue"] {
        let mut body = api::mesh(mesh);
        body["mtls"]["backends"] = json!([backend]);
        stage.mesh(&body).await?;
        let (path, permission) = api::traffic_permission(mesh, "everyone", "Allow");
        stage.global().put(&path, &permission).await?;
    }
    let zone = stage.zone(0);
    let echo = EchoServer::start("blue").await?;
    let server = zone.start_sidecar(apps::sidecar("blue", "server", "echo", echo.port(), &[])?).await?;
    let port = inbound_ports(&server.spec)[0];

    let own = identity(zone, "blue").await?;
    let foreign = identity(zone, "red").await?;
    let reached = || async { Ok((call_with(port, &own).await? == StatusCode::OK).then_some(())) };
    wait::until("a certificate of the mesh is let in", PATIENCE, reached).await?;
    let refused = call_with(port, &foreign).await.err().context("a certificate of another mesh is let in")?;
    assert!(format!("{refused:#}").to_lowercase().contains("alert"), "{refused:#}");

    // Neither does a token of one mesh make a member of another.
    let stranger = apps::caller("blue", "stranger", &[])?.with_token(zone.dataplane_token("red", "stranger").await?);
    let refusal = Ads::open(&zone.dp_server, &stranger).await?.refusal().await;
    assert!(refusal.message().starts_with("authentication failed: "), "{refusal:?}");
    let list = zone.api.get("/meshes/blue/dataplanes").await?;
    assert!(!list.to_string().contains("stranger"), "{list}");
    stage.passed();
    Ok(())
}

/// True when `text` holds `name`, not just as a part of a longer word.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + name.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphabetic)
    })
}

fn inbound_ports(spec: &ProxySpec) -> Vec<u16> {
    let inbounds = spec.resource["networking"]["inbound"].as_array().into_iter().flatten();
    inbounds.filter_map(|inbound| inbound["port"].as_u64()?.try_into().ok()).collect()
}

/// Certificate chain and key of a caller, as PEM.
struct Identity {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// Gets a certificate as a proxy does: over its stream, with the token of its mesh.
async fn identity(zone: &Zone, mesh: &str) -> Result<Identity> {
    let spec = apps::caller(mesh, "holder", &[])?.with_token(zone.dataplane_token(mesh, "holder").await?);
    let mut stream = Ads::open(&zone.dp_server, &spec).await?;
    stream.subscribe(SECRET, &[&format!("identity_cert:secret:{mesh}")])?;
    let response = stream.response_of(SECRET).await?;
    let resource = response.resources.first().context("no secret")?;
    let Some(secret::Type::TlsCertificate(certificate)) = Secret::decode(&*resource.value)?.r#type else {
        anyhow::bail!("the secret is no certificate");
    };
    Ok(Identity { chain: inline(certificate.certificate_chain)?, key: inline(certificate.private_key)? })
}

fn inline(source: Option<DataSource>) -> Result<Vec<u8>> {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        other => anyhow::bail!("not inline: {other:?}"),
    }
}

/// One request straight to the inbound of a sidecar, as the proxy with this certificate would send it.
async fn call_with(port: u16, identity: &Identity) -> Result<StatusCode> {
    let chain = CertificateDer::pem_slice_iter(&identity.chain).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key)?;
    let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())?;
    let mut tls = client_config(Trust::Anyone)?;
    tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    tls.alpn_protocols = vec![b"kuma".to_vec()];
    let client = reqwest::Client::builder().use_preconfigured_tls(tls).build()?;
    Ok(client.get(format!("https://127.0.0.1:{port}/hello")).send().await?.status())
}
