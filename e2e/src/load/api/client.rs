//! One client of the HTTP API with a connection of its own.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A kept connection, one request at a time.
pub(in crate::load) struct Client {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to `host:port`.
    pub(in crate::load) async fn connect(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority).await.with_context(|| format!("cannot connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; what went wrong shows at the request that waits for it.
        tokio::spawn(connection);
        Ok(Self { authority: authority.to_owned(), sender })
    }

    /// Sends a request and reads the whole answer.
    pub(in crate::load) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await.with_context(|| format!("no answer to {path}"))?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
