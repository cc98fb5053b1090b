//! MeshPassthrough: which redirected connections leave the mesh.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::namespace::{NODE, NODE_V6, Redirection, workload};
use tandem_e2e::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::network::{Host, in_network, pod, sidecar};
use crate::support::{PATIENCE, Stage};

const POLICY: &str = "/meshes/default/meshpassthroughs/outside";

/// A name that the policy lists, one of those that end alike, and one that it does not list.
const LISTED: &str = "listed.example";
const WILDCARD: &str = "any.wild.example";
const UNLISTED: &str = "unlisted.example";

fn policy(default: &Value) -> Value {
    json!({"type": "MeshPassthrough", "mesh": "default", "name": "outside", "spec": {"default": default}})
}

/// Waits until the workload gets an answer with this status to a request for a host.
async fn asked(client: &Host, to: SocketAddr, host: &'static str, expected: StatusCode) -> Result<()> {
    let condition = || async {
        let (status, _) = client.pod.run(async move { workload::get_from(to, host, "/hello").await }).await?;
        ensure!(status == expected, "answered with {status}");
        Ok(Some(()))
    };
    wait::until(&format!("a request for {host} at {to} is answered with {expected}"), PATIENCE, condition).await
}

/// Servers of TLS for all names above, and how a client trusts them.
fn tls() -> Result<(TlsAcceptor, TlsConnector)> {
    let names = [LISTED, WILDCARD, UNLISTED].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let client = client.with_root_certificates(roots).with_no_client_auth();
    Ok((TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client))))
}

/// Sends a byte to everybody who connects with TLS.
async fn serve_tls(acceptor: TlsAcceptor, address: SocketAddr) -> Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(address).await?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let sent = stream.write_all(b"!").await;
                    sent.and(stream.shutdown().await).ok();
                }
            });
        }
    }))
}

/// Connects with TLS as somebody who asks for a name.
async fn spoken(client: &Host, connector: &TlsConnector, to: SocketAddr, name: &'static str) -> Result<()> {
    let connector = connector.clone();
    let exchange = async move {
        let stream = workload::connect(to).await?;
        let mut stream = connector.connect(ServerName::try_from(name)?, stream).await?;
        ensure!(stream.read_u8().await? == b'!', "another byte came");
        Ok(())
    };
    client.pod.run(exchange).await
}

#[tokio::test]
async fn traffic_leaves_the_mesh_as_policies_list_it() -> Result<()> {
    in_network("passthrough::traffic_leaves_the_mesh_as_policies_list_it", |mut network| async move {
        let mut stage = Stage::empty().await?;
        stage.world.add_zone("zone-1").await?;
        stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
        let pod = pod(&mut network, Redirection::usual()).await?;
        let spec = sidecar("default", "client", pod.address());
        let client = Host::start(pod, stage.zone(0), spec).await?;
        let at = |port: u16| SocketAddr::from((NODE, port));
        let v6 = SocketAddr::from((NODE_V6, 7001));
        let mut servers = Vec::new();
        for address in [at(7001), at(7002), at(7003), v6] {
            servers.push(EchoServer::start_at("outside", address).await?);
        }
        let (acceptor, connector) = tls()?;
        let _secured = serve_tls(acceptor, at(7004)).await?;
        client.answered(at(7001), "outside").await?;

        // None: nothing leaves.
        stage.global().put(POLICY, &policy(&json!({"passthroughMode": "None"}))).await?;
        for address in [at(7001), v6] {
            client.unanswered(address).await?;
        }
        ensure!(spoken(&client, &connector, at(7004), LISTED).await.is_err(), "TLS leaves the mesh");

        // Matched: an address on one port, names over HTTP on another one, names over TLS on a third.
        let mut conf = json!({"passthroughMode": "Matched", "appendMatch": [
            {"type": "IP", "value": NODE, "port": 7001, "protocol": "tcp"},
            {"type": "Domain", "value": LISTED, "port": 7003, "protocol": "http"},
            {"type": "Domain", "value": "*.wild.example", "port": 7003, "protocol": "http"},
            {"type": "Domain", "value": LISTED, "port": 7004, "protocol": "tls"},
            {"type": "Domain", "value": "*.wild.example", "protocol": "tls"},
        ]});
        stage.global().put(POLICY, &policy(&conf)).await?;
        client.answered(at(7001), "outside").await?;
        client.unanswered(at(7002)).await?;
        client.unanswered(v6).await?;
        asked(&client, at(7003), LISTED, StatusCode::OK).await?;
        asked(&client, at(7003), WILDCARD, StatusCode::OK).await?;
        asked(&client, at(7003), UNLISTED, StatusCode::SERVICE_UNAVAILABLE).await?;
        for name in [LISTED, WILDCARD] {
            spoken(&client, &connector, at(7004), name).await.with_context(|| name)?;
        }
        ensure!(spoken(&client, &connector, at(7004), UNLISTED).await.is_err(), "{UNLISTED} is not listed");

        // A range of addresses, a host for all names, and IPv6.
        conf["appendMatch"] = json!([
            {"type": "CIDR", "value": format!("{NODE}/24"), "port": 7002, "protocol": "tcp"},
            {"type": "Domain", "value": "*", "port": 7003, "protocol": "http"},
            {"type": "Domain", "value": "*", "port": 7004, "protocol": "tls"},
            {"type": "IP", "value": NODE_V6, "port": 7001, "protocol": "tcp"},
        ]);
        stage.global().put(POLICY, &policy(&conf)).await?;
        client.answered(at(7002), "outside").await?;
        client.answered(v6, "outside").await?;
        client.unanswered(at(7001)).await?;
        asked(&client, at(7003), UNLISTED, StatusCode::OK).await?;
        spoken(&client, &connector, at(7004), UNLISTED).await?;

        // All: everything leaves, although the mesh forbids it.
        let forbidden = json!({"outbound": {"passthrough": false}});
        stage.mesh(&json!({"type": "Mesh", "name": "default", "networking": forbidden})).await?;
        client.unanswered(at(7001)).await?;
        stage.global().put(POLICY, &policy(&json!({"passthroughMode": "All"}))).await?;
        for address in [at(7001), at(7002), v6] {
            client.answered(address, "outside").await?;
        }
        spoken(&client, &connector, at(7004), UNLISTED).await?;
        assert_eq!(client.rejected().await?, 0);
        stage.passed();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn matches_that_clash_are_left_out_alone_and_told_at_the_proxy() -> Result<()> {
    in_network("passthrough::matches_that_clash_are_left_out_alone_and_told_at_the_proxy", |mut network| async move {
        let mut stage = Stage::empty().await?;
        stage.world.add_zone("zone-1").await?;
        stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
        let pod = pod(&mut network, Redirection::usual()).await?;
        let spec = sidecar("default", "client", pod.address());
        let client = Host::start(pod, stage.zone(0), spec).await?;
        let at = |port: u16| SocketAddr::from((NODE, port));
        let _one = EchoServer::start_at("outside", at(7001)).await?;
        let _other = EchoServer::start_at("outside", at(7002)).await?;

        // Each is fine by itself; together they say two things about a port.
        let http = |protocol: &str| json!({"type": "Domain", "value": LISTED, "port": 7001, "protocol": protocol});
        let tcp = json!({"type": "IP", "value": NODE, "port": 7002, "protocol": "tcp"});
        let named = |name: &str, matches: Value| {
            let mut policy = policy(&json!({"appendMatch": matches}));
            policy["name"] = json!(name);
            policy
        };
        // Of two alike the one whose name comes first is stronger.
        for (name, matches) in [("a", json!([http("http")])), ("b", json!([http("grpc"), tcp]))] {
            let path = format!("/meshes/default/meshpassthroughs/{name}");
            stage.global().put(&path, &named(name, matches)).await?;
        }
        asked(&client, at(7001), LISTED, StatusCode::OK).await?;
        asked(&client, at(7001), UNLISTED, StatusCode::SERVICE_UNAVAILABLE).await?;
        client.answered(at(7002), "outside").await?;
        let told = || async {
            let problems = stage.zone(0).api.get("/meshes/default/dataplanes/client/_problems").await?.to_string();
            ensure!(problems.contains("you cannot configure http, http2, grpc on the same port 7001"), "{problems}");
            Ok(Some(problems))
        };
        let problems = wait::until("the problem is told", PATIENCE, told).await?;
        assert!(problems.contains("MeshPassthrough"), "{problems}");
        assert_eq!(client.rejected().await?, 0);
        stage.passed();
        Ok(())
    })
    .await
}
