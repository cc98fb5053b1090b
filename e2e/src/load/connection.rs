//! TLS connections of the simulated clients. Each has its own, as each Envoy and each zone has.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;

use super::line::{Ending, Line};
use super::tally::Tally;

/// Receive windows of Envoy are large enough never to hold a control plane back.
const WINDOW: u32 = 16 << 20;

/// How long an Envoy waits for its connection to a control plane, the TLS handshake included
/// (`bootstrapServer.params.xdsConnectTimeout` of Kuma).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What is said of a connection that took longer.
pub(super) const NOT_CONNECTED: &str = "no connection within a second";

/// Largest response that is accepted.
const LARGEST_RESPONSE: usize = 256 << 20;

/// A server of proxies or zones.
#[derive(Debug, Clone)]
pub(super) struct Server {
    origin: Uri,
    authority: String,
    name: ServerName<'static>,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let origin: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        if origin.scheme_str() != Some("https") {
            bail!("{url:?} must begin with https://, as servers of proxies and zones speak TLS");
        }
        let host = origin.host().ok_or_else(|| anyhow!("{url:?} has no host"))?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .with_context(|| format!("{host:?} is not a host name"))?;
        let authority = format!("{host}:{}", origin.port_u16().unwrap_or(443));
        Ok(Self { origin, authority, name })
    }
}

/// Opens connections, and counts what arrives on them.
pub(super) struct Dialer {
    http1: TlsConnector,
    http2: TlsConnector,
    tally: Arc<Tally>,
}

/// Sends requests on one HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Http2(http2::SendRequest<tonic::body::Body>);

impl tower::Service<Request<tonic::body::Body>> for Http2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Dialer {
    pub(super) fn new(tally: Arc<Tally>) -> Result<Self> {
        let connector = |protocol: &[u8]| -> Result<TlsConnector> {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = Arc::new(AcceptAny(Arc::clone(&provider)));
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            // Each proxy is a program of its own and has no session to resume.
            config.resumption = Resumption::disabled();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http1: connector(b"http/1.1")?, http2: connector(b"h2")?, tally })
    }

    async fn dial(&self, tls: &TlsConnector, server: &Server, ending: Ending) -> Result<TlsStream<Line>> {
        let tcp = TcpStream::connect(&server.authority)
            .await
            .with_context(|| format!("cannot connect to {}", server.authority))?;
        tcp.set_nodelay(true)?;
        tls.connect(server.name.clone(), Line::new(tcp, Arc::clone(&self.tally), ending))
            .await
            .with_context(|| format!("TLS handshake with {}", server.authority))
    }

    /// Posts a JSON document on a connection of its own.
    pub(super) async fn post_json(&self, server: &Server, path: &str, body: &Value) -> Result<(StatusCode, Bytes)> {
        let stream = self.dial(&self.http1, server, Ending::default()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post(path)
            .header(header::HOST, &server.authority)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Opens a connection for gRPC calls. It lasts as long as the client or one of its calls.
    pub(super) async fn grpc(&self, server: &Server) -> Result<Grpc<Http2>> {
        let (client, connection) = self.http2(server, Ending::default()).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Opens a connection for gRPC calls as an Envoy does, which waits for it no longer than a second. It ends with the returned
    /// handle, in the way that `ending` says then.
    pub(super) async fn cuttable(
        &self,
        server: &Server,
        ending: Ending,
    ) -> Result<(Grpc<Http2>, AbortOnDropHandle<()>)> {
        let (client, connection) =
            timeout(CONNECT_TIMEOUT, self.http2(server, ending)).await.context(NOT_CONNECTED)??;
        Ok((client, AbortOnDropHandle::new(tokio::spawn(connection))))
    }

    async fn http2(
        &self,
        server: &Server,
        ending: Ending,
    ) -> Result<(Grpc<Http2>, impl Future<Output = ()> + Send + use<>)> {
        let stream = self.dial(&self.http2, server, ending).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        let client = Grpc::with_origin(Http2(sender), server.origin.clone());
        // How the connection ends is told by the calls on it.
        Ok((client.max_decoding_message_size(LARGEST_RESPONSE), async move { drop(connection.await) }))
    }
}

/// Accepts the certificate of any control plane. The generator sends nothing that is worth protecting, and control planes
/// sign their own certificates.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_https_urls() {
        let server = Server::parse("https://127.0.0.1:5678").expect("parses");
        assert_eq!(server.authority, "127.0.0.1:5678");
        assert_eq!(Server::parse("https://[::1]:1").expect("parses").authority, "[::1]:1");
        assert!(Server::parse("http://127.0.0.1:5678").is_err());
        assert!(Server::parse("https://").is_err());
        assert!(Server::parse("zone:5678").is_err());
    }
}
