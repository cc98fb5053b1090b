//! Connections without the care of a proper client.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tandem_auth::tls::{Trust, client_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};

use super::PATIENCE;

/// How a gRPC call ended.
#[derive(Debug)]
pub struct GrpcAnswer {
    /// Code of the status.
    pub code: Code,
    /// The whole status, for a person to read.
    _status: Option<Status>,
}

async fn connect(port: u16) -> Result<TlsStream<TcpStream>> {
    let tls = Arc::new(client_config(Trust::Anyone)?);
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost")?;
    TlsConnector::from(tls).connect(name, stream).await.context("TLS handshake")
}

/// Sends bytes over TLS and waits until the other side closes the connection, whatever it says before.
pub async fn closed_behind_tls(port: u16, bytes: &[u8]) -> Result<()> {
    let mut stream = connect(port).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.map(drop).with_context(|| format!("{bytes:?} is neither answered nor closed"))
}

/// Calls a method with bytes that need not be messages, and closes the stream of requests.
pub async fn grpc(port: u16, path: &str, body: Bytes, metadata: &[(&'static str, &str)]) -> Result<GrpcAnswer> {
    let stream = TokioIo::new(connect(port).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let mut request = Request::post(format!("https://localhost:{port}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (key, value) in metadata {
        request = request.header(*key, *value);
    }
    let answer = async {
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let head = response.headers().clone();
        let collected = response.into_body().collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(status(&trailers).or_else(|| status(&head)))
    };
    let status = tokio::time::timeout(PATIENCE, answer).await.context("the call does not end")??;
    Ok(GrpcAnswer { code: status.as_ref().map_or(Code::Ok, Status::code), _status: status })
}

fn status(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}
