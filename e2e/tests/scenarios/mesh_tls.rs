//! MeshTLS: which connections the proxy of a server takes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use tandem_e2e::wait;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::web::{By, Web, counts};
use crate::support::{PATIENCE, answered, call};

const POLICY: &str = "MeshTLS";

/// Whether a server speaks one version of TLS. It is not trusted, so that a handshake fails in any case.
async fn speaks(port: u16, version: &'static SupportedProtocolVersion) -> Result<bool> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version])?;
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let handshake = TlsConnector::from(Arc::new(config)).connect("web.test".try_into()?, stream).await;
    let Err(error) = handshake else { anyhow::bail!("an unknown authority was trusted") };
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Ok(true),
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => Ok(false),
        _ => Err(error.into()),
    }
}

/// Waits until a server speaks one version of TLS and not the other one.
async fn speaks_only(
    port: u16,
    version: &'static SupportedProtocolVersion,
    other: &'static SupportedProtocolVersion,
) -> Result<()> {
    let condition = || async { Ok((speaks(port, version).await? && !speaks(port, other).await?).then_some(())) };
    wait::until(&format!("port {port} speaks only {:?}", version.version), PATIENCE, condition).await
}

/// Waits until a request without TLS is refused.
async fn refuses_plain_text(port: u16) -> Result<()> {
    wait::until("plain text is refused", PATIENCE, || async { Ok(call(port).await.is_err().then_some(())) }).await
}

/// Versions and ciphers for all of the mesh.
fn of_all(conf: Value, by: By) -> Value {
    match by {
        By::Tag => json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": conf}]}),
        By::Resource => json!({"rules": [{"default": conf}]}),
    }
}

async fn versions_and_ciphers(web: &Web, by: By) -> Result<()> {
    use rustls::version::{TLS12, TLS13};
    let both =
        || async { Ok((speaks(web.inbound, &TLS12).await? && speaks(web.inbound, &TLS13).await?).then_some(())) };
    wait::until("both versions are spoken", PATIENCE, both).await?;
    web.put(POLICY, "all", of_all(json!({"tlsVersion": {"min": "TLS13", "max": "TLS13"}}), by)).await?;
    speaks_only(web.inbound, &TLS13, &TLS12).await?;
    answered(web.outbound, StatusCode::OK).await?;
    counts(&web.server, "ssl.versions.TLSv1.3").await?;

    const CIPHER: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
    let older = json!({"tlsVersion": {"min": "TLS12", "max": "TLS12"}, "tlsCiphers": [CIPHER]});
    web.put(POLICY, "all", of_all(older, by)).await?;
    speaks_only(web.inbound, &TLS12, &TLS13).await?;
    // The client speaks the older version as well, with the one cipher.
    let chosen = || async {
        answered(web.outbound, StatusCode::OK).await?;
        let chosen = web.client.stat_sum(|name| name.ends_with(&format!("ssl.ciphers.{CIPHER}"))).await?;
        ensure!(chosen > 0, "the cipher is not in use");
        Ok(Some(()))
    };
    wait::until("the cipher is in use", PATIENCE, chosen).await?;
    counts(&web.server, "ssl.versions.TLSv1.2").await?;
    web.delete(POLICY, "all").await?;
    wait::until("both versions are spoken again", PATIENCE, both).await
}

#[tokio::test]
async fn proxies_selected_by_tags_take_what_they_are_told_to() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    refuses_plain_text(web.inbound).await?;
    let mode = |mode: &str, service: &str| {
        let from = json!([{"targetRef": {"kind": "Mesh"}, "default": {"mode": mode}}]);
        json!({"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": service}}, "from": from})
    };
    web.put(POLICY, "of-web", mode("Permissive", "web")).await?;
    // It arrives without a caller, and identities of callers are still seen.
    answered(web.inbound, StatusCode::OK).await?;
    answered(web.outbound, StatusCode::OK).await?;
    web.put(POLICY, "of-web", mode("Permissive", "another")).await?;
    refuses_plain_text(web.inbound).await?;
    web.put(POLICY, "everywhere", of_all(json!({"mode": "Permissive"}), By::Tag)).await?;
    answered(web.inbound, StatusCode::OK).await?;
    web.put(POLICY, "of-web", mode("Strict", "web")).await?;
    refuses_plain_text(web.inbound).await?;
    web.delete(POLICY, "everywhere").await?;
    versions_and_ciphers(&web, By::Tag).await?;
    web.passed(&[]).await
}

#[tokio::test]
async fn proxies_of_mesh_services_take_what_they_are_told_to() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    refuses_plain_text(web.inbound).await?;
    let mode = |mode: &str, section: u16| {
        let rules = json!([{"default": {"mode": mode}}]);
        json!({"targetRef": {"kind": "Dataplane", "sectionName": section.to_string()}, "rules": rules})
    };
    web.put(POLICY, "of-web", mode("Permissive", web.inbound)).await?;
    answered(web.inbound, StatusCode::OK).await?;
    answered(web.outbound, StatusCode::OK).await?;
    web.put(POLICY, "of-web", mode("Permissive", 1)).await?;
    refuses_plain_text(web.inbound).await?;
    versions_and_ciphers(&web, By::Resource).await?;
    web.passed(&[]).await
}
