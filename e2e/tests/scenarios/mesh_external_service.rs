//! MeshExternalServices: applications call what is outside of the mesh through the ZoneEgress.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::namespace::{NODE, Redirection};
use tandem_e2e::{api, ports, wait};

use crate::support::network::{Host, in_network, pod, sidecar};
use crate::support::outside::{
    OutsideServer, Pair, PrivateAuthority, ask, asked, caller, echoed, egress, grpc, mesh_external_service,
};
use crate::support::{PATIENCE, Stage, answered, apps};

fn mesh() -> Value {
    // They are reached through the egress, whatever else is.
    let mesh = api::mesh("default");
    json!({"type": "Mesh", "name": "default", "mtls": mesh["mtls"]})
}

async fn create(stage: &Stage, resource: &Value) -> Result<()> {
    let folder = match resource["type"].as_str() {
        Some("Secret") => "secrets",
        _ => "meshexternalservices",
    };
    let name = resource["name"].as_str().context("resources have names")?;
    stage.global().put(&format!("/meshes/default/{folder}/{name}"), resource).await?;
    Ok(())
}

/// Address and host names that a MeshExternalService got in a zone.
async fn address(stage: &Stage, name: &str) -> Result<(String, Vec<String>)> {
    let complete = || async {
        let list = stage.zone(0).api.get("/meshes/default/meshexternalservices").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let named = |item: &&Value| item["labels"]["kuma.io/display-name"] == name;
        let service = items.iter().find(named).context("it is not there")?;
        let hostnames = service["status"]["addresses"].as_array().cloned().unwrap_or_default();
        let hostnames: Vec<_> = hostnames.iter().filter_map(|a| a["hostname"].as_str().map(str::to_owned)).collect();
        let vip = service["status"]["vip"]["ip"].as_str().unwrap_or_default().to_owned();
        Ok((!vip.is_empty() && !hostnames.is_empty()).then_some((vip, hostnames)))
    };
    wait::until(&format!("{name} has address and host name"), PATIENCE, complete).await
}

#[tokio::test]
async fn applications_call_what_is_outside_through_the_egress() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&mesh()).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let (web, database) = (OutsideServer::http(None).await?, OutsideServer::tcp().await?);
    for (name, protocol, server) in [("web", "http", &web), ("calls", "grpc", &web), ("database", "tcp", &database)] {
        create(&stage, &mesh_external_service(name, protocol, "localhost", server.port, None)).await?;
    }
    let (vip, hostnames) = address(&stage, "web").await?;
    assert!(vip.starts_with("242."), "{vip}");
    assert_eq!(hostnames, ["web.extsvc.mesh.local"]);

    // Without an egress they cannot be reached, and nothing else suffers.
    let inside = EchoServer::start("echo").await?;
    let _echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", inside.port(), &[])?).await?;
    let [to_web, to_calls, to_database, to_echo] = [(); 4].map(|()| ports::free());
    let (to_web, to_calls, to_database, to_echo) = (to_web?, to_calls?, to_database?, to_echo?);
    let mut spec = caller("client", &[(to_web, "web"), (to_calls, "calls"), (to_database, "database")])?;
    let outbounds = spec.resource["networking"]["outbound"].as_array_mut().context("it has outbounds")?;
    outbounds.push(json!({"port": to_echo, "tags": {"kuma.io/service": "echo"}}));
    let _client = stage.zone(0).start_sidecar(spec).await?;
    asked(to_web, StatusCode::SERVICE_UNAVAILABLE).await?;
    answered(to_echo, reqwest::StatusCode::OK).await?;

    // Through the egress, by each protocol.
    let egress = egress("zone-1", stage.world.zone_token("zone-1").await?)?;
    let egress = stage.zone(0).start_proxy(egress).await?;
    let answer = asked(to_web, StatusCode::OK).await?.context("the server itself answers")?;
    assert_eq!((answer.version.as_str(), answer.host.as_str()), ("HTTP/1.1", "localhost"));
    let called = || async {
        let (status, answer) = grpc(to_calls).await?;
        Ok(answer.filter(|_| status == StatusCode::OK))
    };
    let answer = wait::until("a call is answered", PATIENCE, called).await?;
    assert_eq!(answer.version, "HTTP/2.0");
    wait::until("a line comes back", PATIENCE, || async { echoed(to_database).await.map(Some) }).await?;
    let counted = egress.stat("cluster.default_web___extsvc_80.upstream_rq_200").await?;
    assert!(counted > 0, "the egress makes the requests");

    // The mesh can forbid all of it; a MeshTrafficPermission makes no exception.
    let mut forbidding = mesh();
    forbidding["routing"] = json!({"defaultForbidMeshExternalServiceAccess": true});
    stage.mesh(&forbidding).await?;
    asked(to_web, StatusCode::FORBIDDEN).await?;
    let refused = || async { Ok(echoed(to_database).await.is_err().then_some(())) };
    wait::until("connections are refused", PATIENCE, refused).await?;
    answered(to_echo, reqwest::StatusCode::OK).await?;
    stage.mesh(&mesh()).await?;
    asked(to_web, StatusCode::OK).await?;
    wait::until("a line comes back again", PATIENCE, || async { echoed(to_database).await.map(Some) }).await?;
    let rejected = egress.stat_sum(|name| name.ends_with(".update_rejected")).await?;
    assert_eq!(rejected, 0, "{}", egress.log_tail());
    stage.passed();
    Ok(())
}

fn secret(name: &str, data: &str) -> Value {
    json!({"type": "Secret", "mesh": "default", "name": name, "data": BASE64.encode(data)})
}

#[tokio::test]
async fn the_egress_speaks_tls_with_a_private_authority_and_shows_a_certificate() -> Result<()> {
    const NAME: &str = "vault.outside";
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&mesh()).await?;
    let authority = PrivateAuthority::new()?;
    let vault = OutsideServer::http(Some(authority.server(NAME)?)).await?;
    let web = OutsideServer::http(None).await?;
    let Pair { chain, key } = authority.issue("client.outside")?;
    let verification = |server_name: &str, authority: &str| {
        json!({
            "mode": "Secured", "serverName": server_name,
            "caCert": {"inlineString": authority},
            "clientCert": {"inlineString": chain}, "clientKey": {"secret": "vault-key"}
        })
    };
    let vault_with = |verification: Value| {
        let version = json!({"min": "TLS12", "max": "TLS13"});
        let tls = json!({"enabled": true, "version": version, "verification": verification});
        mesh_external_service("vault", "http", "127.0.0.1", vault.port, Some(tls))
    };
    create(&stage, &vault_with(verification(NAME, &authority.pem))).await?;
    create(&stage, &mesh_external_service("web", "http", "127.0.0.1", web.port, None)).await?;
    address(&stage, "vault").await?;
    let (to_vault, to_web) = (ports::free()?, ports::free()?);
    let _client = stage.zone(0).start_sidecar(caller("client", &[(to_vault, "vault"), (to_web, "web")])?).await?;
    let egress = egress("zone-1", stage.world.zone_token("zone-1").await?)?;
    let egress = stage.zone(0).start_proxy(egress).await?;

    // The key is missing: this service alone cannot be reached.
    asked(to_web, StatusCode::OK).await?;
    asked(to_vault, StatusCode::SERVICE_UNAVAILABLE).await?;
    create(&stage, &secret("vault-key", &key)).await?;
    asked(to_vault, StatusCode::OK).await?;

    // A server with another name, or of another authority, is not spoken to.
    create(&stage, &vault_with(verification("other.outside", &authority.pem))).await?;
    asked(to_vault, StatusCode::SERVICE_UNAVAILABLE).await?;
    let mut other_names = verification("other.outside", &authority.pem);
    other_names["subjectAltNames"] = json!([{"type": "Prefix", "value": "vault."}]);
    create(&stage, &vault_with(other_names)).await?;
    asked(to_vault, StatusCode::OK).await?;
    create(&stage, &vault_with(verification(NAME, &PrivateAuthority::new()?.pem))).await?;
    asked(to_vault, StatusCode::SERVICE_UNAVAILABLE).await?;
    let mut any = verification(NAME, &authority.pem);
    any["mode"] = json!("SkipCA");
    create(&stage, &vault_with(any)).await?;
    asked(to_vault, StatusCode::OK).await?;

    // A certificate that is none never gets to Envoy; the others are served all the time.
    create(&stage, &vault_with(verification(NAME, "no certificate"))).await?;
    asked(to_vault, StatusCode::SERVICE_UNAVAILABLE).await?;
    assert_eq!(ask(to_web).await?.0, StatusCode::OK);
    let rejected = egress.stat_sum(|name| name.ends_with(".update_rejected")).await?;
    assert_eq!(rejected, 0, "{}", egress.log_tail());
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn redirected_connections_to_names_leave_through_the_egress() -> Result<()> {
    in_network(
        "mesh_external_service::redirected_connections_to_names_leave_through_the_egress",
        |mut network| async move {
            let stage = Stage::with_zones(&["zone-1"]).await?;
            stage.mesh(&mesh()).await?;
            let port = ports::free()?;
            let _outside = EchoServer::start_at("outside", (NODE, port).into()).await?;
            create(&stage, &mesh_external_service("web", "http", &NODE.to_string(), port, None)).await?;
            let (vip, hostnames) = address(&stage, "web").await?;
            let mut egress = egress("zone-1", stage.world.zone_token("zone-1").await?)?;
            egress.resource["networking"]["address"] = json!(NODE);
            let egress = stage.zone(0).start_proxy(egress).await?;
            let pod = pod(&mut network, Redirection::usual()).await?;
            let spec = sidecar("default", "client", pod.address());
            let client = Host::start(pod, stage.zone(0), spec).await?;

            let found = client.resolved(&hostnames[0]).await?;
            assert_eq!(found.first().map(ToString::to_string), Some(vip));
            client.answered((found[0], 80).into(), "outside").await?;
            assert!(egress.stat("cluster.default_web___extsvc_80.upstream_rq_200").await? > 0, "it went another way");
            assert_eq!(client.rejected().await?, 0);
            stage.passed();
            Ok(())
        },
    )
    .await
}
