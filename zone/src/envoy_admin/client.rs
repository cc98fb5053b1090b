//! Asks the admin interface of a proxy: over plain HTTP on this host, else over mutual TLS.
//!
//! Source of the behaviour: Kuma `pkg/envoy/admin/client.go`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tandem_api::EnvoyAdminError;
use tandem_auth::envoy_admin;
use tandem_kds::admin::{AdminExecutor, AdminRequest};
use tandem_model::{AdminOperation, Kind, Resource};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::authority::{EnvoyAdmin, addresses};

const LOOPBACK: &str = "127.0.0.1";
const DEFAULT_PORT: u32 = 9901;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of the admin interfaces of the zone's proxies.
pub struct EnvoyClient {
    store: SharedStore,
    zone: String,
    max_bytes: usize,
    authority: EnvoyAdmin,
}

impl EnvoyClient {
    /// A client for the proxies of `zone` in `store`, which takes answers of at most `max_bytes`: what a message to global
    /// may carry (`multizone.zone.kds.maxMsgSize`).
    pub fn new(store: SharedStore, zone: impl Into<String>, max_bytes: usize) -> Self {
        Self { authority: EnvoyAdmin::new(store.clone()), zone: zone.into(), max_bytes, store }
    }

    /// What the Envoy of a proxy of this zone answers.
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, String> {
        let path = operation.path();
        let body = tokio::time::timeout(TOTAL_TIMEOUT, self.get(proxy, &path))
            .await
            .unwrap_or_else(|_| Err("the proxy did not answer in time".to_owned()))
            .map_err(|error| format!("unable to send GET to {path}: {error}"))?;
        match operation {
            // Takes a while for a large one, which nothing else shall wait for.
            AdminOperation::ConfigDump { .. } => tokio::task::spawn_blocking(move || redacted(&body))
                .await
                .unwrap_or_else(|error| Err(format!("cannot read the configuration dump: {error}"))),
            _ => Ok(body),
        }
    }

    async fn get(&self, proxy: &Resource, path: &str) -> Result<Bytes, String> {
        let addresses = addresses(proxy);
        let host = addresses.last().ok_or_else(|| format!("{} has no address", proxy.key))?;
        let port = admin_port(proxy);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port)))
            .await
            .map_err(|_| format!("{host}:{port} did not answer in time"))?
            .map_err(|error| format!("{host}:{port}: {error}"))?;
        if host == LOOPBACK {
            return exchange(stream, host, path, self.max_bytes).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let connector = TlsConnector::from(self.tls().await?);
        let stream = connector.connect(name, stream).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        exchange(stream, host, path, self.max_bytes).await
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let authority = self.authority.authority().await?;
        let pair = envoy_admin::client_certificate(&authority).map_err(|error| error.to_string())?;
        let text = |error: rustls::pki_types::pem::Error| error.to_string();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).map_err(text)?;
        roots.add(root).map_err(|error| error.to_string())?;
        let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).map_err(text)?];
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(text)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(config))
    }
}

#[async_trait]
impl AdminExecutor for EnvoyClient {
    async fn execute(&self, request: AdminRequest) -> Result<Bytes, String> {
        let proxy = self.store.get(&request.proxy).await.map_err(|error| error.to_string())?;
        let proxy = proxy.ok_or_else(|| format!("resource not found: {}", request.proxy))?;
        match zone_of(&proxy) {
            zone if zone.is_empty() || zone == self.zone => self.ask(&proxy, request.operation).await,
            zone => Err(format!("{} is a proxy of zone {zone:?}, not of {:?}", request.proxy, self.zone)),
        }
    }
}

#[async_trait]
impl tandem_api::EnvoyAdmin for EnvoyClient {
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, EnvoyAdminError> {
        EnvoyClient::ask(self, proxy, operation).await.map_err(EnvoyAdminError::Failed)
    }
}

/// The zone that a zone proxy names; empty in the zone itself, and for Dataplanes, which do not travel to other zones.
fn zone_of(proxy: &Resource) -> String {
    match proxy.kind() {
        Kind::ZoneIngress => proxy.proto::<pb::ZoneIngress>().map(|ingress| ingress.zone).unwrap_or_default(),
        Kind::ZoneEgress => proxy.proto::<pb::ZoneEgress>().map(|egress| egress.zone).unwrap_or_default(),
        _ => String::new(),
    }
}

fn admin_port(proxy: &Resource) -> u16 {
    let admin = match proxy.kind() {
        Kind::Dataplane => proxy.proto::<pb::Dataplane>().ok().and_then(|p| p.networking).and_then(|n| n.admin),
        Kind::ZoneIngress => proxy.proto::<pb::ZoneIngress>().ok().and_then(|p| p.networking).and_then(|n| n.admin),
        _ => proxy.proto::<pb::ZoneEgress>().ok().and_then(|p| p.networking).and_then(|n| n.admin),
    };
    let port = admin.map(|admin| admin.port).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    u16::try_from(port).unwrap_or_default()
}

async fn exchange<S>(stream: S, host: &str, path: &str, max_bytes: usize) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the sender, or with an error that the request sees, too.
    tokio::spawn(connection);
    let request = Request::get(format!("/{path}"))
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), max_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            format!("the answer has more than {max_bytes} bytes; raise multizone.zone.kds.maxMsgSize")
        } else {
            error.to_string()
        }
    })?;
    if status != StatusCode::OK {
        return Err(format!("unexpected status code [{}]", status.as_u16()));
    }
    Ok(body.to_bytes())
}

/// A configuration dump without the token that the proxy authenticates with.
fn redacted(dump: &[u8]) -> Result<Bytes, String> {
    let mut dump: Value =
        serde_json::from_slice(dump).map_err(|error| format!("the configuration dump is not JSON: {error}"))?;
    redact(&mut dump);
    serde_json::to_vec(&dump).map(Bytes::from).map_err(|error| error.to_string())
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_token = members.get("key").is_some_and(|key| key == "authorization");
            if is_token && let Some(token) = members.get_mut("value") {
                *token = Value::String("[redacted]".to_owned());
            }
            members.values_mut().for_each(redact);
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_not_shown() {
        let dump = json!({"configs": [{"initial_metadata": [{"key": "authorization", "value": "secret"}, {"key": "a", "value": "b"}]}]});
        let shown = String::from_utf8(redacted(dump.to_string().as_bytes()).unwrap().to_vec()).unwrap();
        assert!(!shown.contains("secret"));
        assert!(shown.contains("[redacted]") && shown.contains("\"b\""));
    }
}
