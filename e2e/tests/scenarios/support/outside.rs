//! Servers outside of the mesh, which have no proxy.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tandem_e2e::{ports, proxy::ProxySpec, wait};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, apps};

/// What a server answers, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outside {
    /// Version of HTTP of the request.
    pub version: String,
    /// The host it asked for.
    pub host: String,
}

/// A running server on loopback; stops when dropped.
#[derive(Debug)]
pub struct OutsideServer {
    /// Its port.
    pub port: u16,
    task: JoinHandle<()>,
}

impl Drop for OutsideServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OutsideServer {
    /// A server of HTTP/1.1 and HTTP/2; with `tls` behind TLS.
    pub async fn http(tls: Option<rustls::ServerConfig>) -> Result<Self> {
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                match acceptor {
                    None => answer(stream).await,
                    // A client that is refused is none of the server's business.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream).await;
                        }
                    }
                }
            }
        })
        .await
    }

    /// A server that sends back what it is sent.
    pub async fn tcp() -> Result<Self> {
        Self::start(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.ok();
        })
        .await
    }

    async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self { port, task })
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let from_uri = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let from_header = request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = from_header.or(from_uri).unwrap_or_default();
        let answer = Outside { version: format!("{:?}", request.version()), host };
        let body = serde_json::to_vec(&answer).unwrap_or_default();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
    });
    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

/// One request through an outbound, over HTTP/1.1.
pub async fn ask(outbound: u16) -> Result<(StatusCode, Option<Outside>)> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let response = http.get(format!("http://127.0.0.1:{outbound}/")).send().await.context("no answer")?;
    let status = StatusCode::from_u16(response.status().as_u16())?;
    Ok((status, response.json().await.ok()))
}

/// Waits until a request through an outbound is answered with `expected`.
pub async fn asked(outbound: u16, expected: StatusCode) -> Result<Option<Outside>> {
    let condition = || async {
        let (status, answer) = ask(outbound).await?;
        anyhow::ensure!(status == expected, "answered with {status}");
        Ok(Some(answer))
    };
    wait::until(&format!("a request to port {outbound} is answered with {expected}"), PATIENCE, condition).await
}

/// One call through an outbound as gRPC makes it.
pub async fn grpc(outbound: u16) -> Result<(StatusCode, Option<Outside>)> {
    let (status, body) = call(outbound, "/Service/Method").await?;
    Ok((status, serde_json::from_slice(&body).ok()))
}

/// One call of a method, `/<service>/<method>`, through an outbound: status of HTTP, and content.
pub async fn call(outbound: u16, method: &str) -> Result<(StatusCode, Bytes)> {
    let stream = TokioIo::new(TcpStream::connect((Ipv4Addr::LOCALHOST, outbound)).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let request = Request::post(format!("http://service.outside{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.context("no answer")?
}

/// Sends a line through an outbound; an error when it does not come back.
pub async fn echoed(outbound: u16) -> Result<()> {
    const LINE: &[u8] = b"over there\n";
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, outbound)).await?;
        stream.write_all(LINE).await?;
        let mut line = [0; LINE.len()];
        stream.read_exact(&mut line).await?;
        anyhow::ensure!(line == LINE, "another line came back");
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.context("nothing came back")?
}

/// A MeshExternalService of the mesh `default` at one address.
pub fn mesh_external_service(name: &str, protocol: &str, address: &str, port: u16, tls: Option<Value>) -> Value {
    let mut spec = json!({
        "match": {"type": "HostnameGenerator", "port": 80, "protocol": protocol},
        "endpoints": [{"address": address, "port": port}]
    });
    if let Some(tls) = tls {
        spec["tls"] = tls;
    }
    json!({"type": "MeshExternalService", "mesh": "default", "name": name, "spec": spec})
}

/// A sidecar of an application that calls MeshExternalServices of global: `(port, name)`.
pub fn caller(name: &str, outbounds: &[(u16, &str)]) -> Result<ProxySpec> {
    let mut spec = apps::caller("default", name, &[])?;
    let outbound = |(port, name): &(u16, &str)| {
        let labels = json!({"kuma.io/display-name": name});
        json!({"port": port, "backendRef": {"kind": "MeshExternalService", "labels": labels, "port": 80}})
    };
    spec.resource["networking"]["outbound"] = outbounds.iter().map(outbound).collect();
    Ok(spec)
}

/// The specification of the ZoneEgress of a zone.
pub fn egress(zone: &str, token: String) -> Result<ProxySpec> {
    Ok(ProxySpec::egress(&format!("egress-{zone}"), ports::free()?).with_token(token))
}

/// A private authority that nobody else knows, with what it issued.
pub struct PrivateAuthority {
    /// Certificate, PEM.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, PEM.
pub struct Pair {
    /// Certificate.
    pub chain: String,
    /// Key.
    pub key: String,
}

impl PrivateAuthority {
    /// Makes an authority.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority outside");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Issues a certificate for a name.
    pub fn issue(&self, name: &str) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok(Pair { chain: certificate.pem(), key: key.serialize_pem() })
    }

    /// How a server with this name speaks TLS: clients have to show a certificate of the authority.
    pub fn server(&self, name: &str) -> Result<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let Pair { chain, key } = self.issue(name)?;
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes())?];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes())?);
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.with_client_cert_verifier(clients).with_single_cert(chain, key)?)
    }
}
