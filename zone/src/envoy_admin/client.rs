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
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tandem_api::EnvoyAdminError;
use tandem_auth::ca::Signer;
use tandem_auth::envoy_admin;
use tandem_kds::admin::{AdminExecutor, AdminRequest};
use tandem_model::{AdminOperation, Kind, Resource};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::authority::{EnvoyAdmin, addresses};
use super::redaction::redacted;

const LOOPBACK: &str = "127.0.0.1";
const DEFAULT_PORT: u32 = 9901;

/// Limits of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdminLimits {
    /// Time for a connection, and again for its TLS handshake.
    pub connect: Duration,
    /// Time for everything.
    pub total: Duration,
    /// Most bytes of an answer to a client of this control plane.
    pub bytes: usize,
    /// Most bytes of an answer to global.
    pub bytes_to_global: usize,
    /// Most questions at a time; what they need of memory is this many answers.
    pub at_once: usize,
}

impl Default for AdminLimits {
    fn default() -> Self {
        let bytes = 64 << 20;
        let (connect, total) = (Duration::from_secs(3), Duration::from_secs(5));
        Self { connect, total, bytes, bytes_to_global: bytes, at_once: 8 }
    }
}

/// Client of the admin interfaces of the zone's proxies.
pub struct EnvoyClient {
    store: SharedStore,
    zone: String,
    limits: AdminLimits,
    asking: Semaphore,
    authority: EnvoyAdmin,
    /// How TLS is spoken as long as the authority is this one.
    tls: Mutex<Option<(Arc<Signer>, Arc<ClientConfig>)>>,
}

impl EnvoyClient {
    /// A client for the proxies of `zone` in `store`, which hands answers of at most `max_bytes` to global: what a message may carry
    /// (`multizone.zone.kds.maxMsgSize`).
    pub fn new(store: SharedStore, zone: impl Into<String>, max_bytes: usize) -> Self {
        Self::with_limits(store, zone, AdminLimits { bytes_to_global: max_bytes, ..AdminLimits::default() })
    }

    pub(super) fn with_limits(store: SharedStore, zone: impl Into<String>, limits: AdminLimits) -> Self {
        Self {
            authority: EnvoyAdmin::new(store.clone()),
            zone: zone.into(),
            asking: Semaphore::new(limits.at_once),
            tls: Mutex::default(),
            limits,
            store,
        }
    }

    /// What the Envoy of a proxy of this zone answers.
    async fn ask(&self, proxy: &Resource, operation: AdminOperation, max_bytes: usize) -> Result<Bytes, String> {
        let path = operation.path();
        let failed = |error: String| format!("unable to send GET to {path}: {error}");
        let AdminLimits { total, at_once, .. } = self.limits;
        let Ok(Ok(_permit)) = tokio::time::timeout(total, self.asking.acquire()).await else {
            return Err(failed(format!("{at_once} other proxies are being asked; try again")));
        };
        let body = tokio::time::timeout(total, self.get(proxy, &path, max_bytes)).await;
        let body =
            body.unwrap_or_else(|_| Err(format!("the proxy did not answer in time, {total:?}"))).map_err(failed)?;
        match operation {
            // Takes a while for a large one, which nothing else shall wait for.
            AdminOperation::ConfigDump { .. } => tokio::task::spawn_blocking(move || redacted(body))
                .await
                .unwrap_or_else(|error| Err(format!("cannot read the configuration dump: {error}"))),
            _ => Ok(body),
        }
    }

    async fn get(&self, proxy: &Resource, path: &str, max_bytes: usize) -> Result<Bytes, String> {
        let addresses = addresses(proxy);
        // Zone proxies are asked where they listen; what they advertise is for other zones and for their port only.
        let host = if proxy.kind() == Kind::Dataplane { addresses.last() } else { addresses.first() };
        let host = host.ok_or_else(|| format!("{} has no address", proxy.key))?;
        let port = admin_port(proxy);
        let limit = self.limits.connect;
        let stream = tokio::time::timeout(limit, TcpStream::connect((host.as_str(), port)))
            .await
            .map_err(|_| format!("{host}:{port} did not answer in time, {limit:?}"))?
            .map_err(|error| format!("{host}:{port}: {error}"))?;
        if host == LOOPBACK {
            return exchange(stream, host, path, max_bytes).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let connector = TlsConnector::from(self.tls().await?);
        let stream = tokio::time::timeout(limit, connector.connect(name, stream))
            .await
            .map_err(|_| format!("{host}:{port} did not finish the TLS handshake in time, {limit:?}"))?
            .map_err(|error| {
                format!("{host}:{port}: TLS with the zone's authority for Envoy's administration: {error}")
            })?;
        exchange(stream, host, path, max_bytes).await
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let authority = self.authority.authority().await?;
        if let Some((of, tls)) = &*self.tls.lock()
            && Arc::ptr_eq(of, &authority)
        {
            return Ok(tls.clone());
        }
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
        let config = Arc::new(config);
        *self.tls.lock() = Some((authority, config.clone()));
        Ok(config)
    }
}

#[async_trait]
impl AdminExecutor for EnvoyClient {
    async fn execute(&self, request: AdminRequest) -> Result<Bytes, String> {
        let proxy = self.store.get(&request.proxy).await.map_err(|error| error.to_string())?;
        let proxy = proxy.ok_or_else(|| format!("resource not found: {}", request.proxy))?;
        match zone_of(&proxy) {
            zone if zone.is_empty() || zone == self.zone => {
                self.ask(&proxy, request.operation, self.limits.bytes_to_global).await
            }
            zone => Err(format!("{} is a proxy of zone {zone:?}, not of {:?}", request.proxy, self.zone)),
        }
    }
}

#[async_trait]
impl tandem_api::EnvoyAdmin for EnvoyClient {
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, EnvoyAdminError> {
        EnvoyClient::ask(self, proxy, operation, self.limits.bytes).await.map_err(EnvoyAdminError::Failed)
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
    // Errors of it the request sees, too.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(format!("/{path}"))
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("unexpected status code [{}]", status.as_u16()));
    }
    let body = Limited::new(response.into_body(), max_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            format!(
                "the answer has more than {max_bytes} bytes; for answers to global raise multizone.zone.kds.maxMsgSize"
            )
        } else {
            format!("{:#}", anyhow::Error::from_boxed(error))
        }
    })?;
    Ok(body.to_bytes())
}
