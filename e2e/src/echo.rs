//! A small HTTP server that tells what it was asked: the demo's and the tests' application.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server answers, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Echo {
    /// Name the server was started with.
    pub server: String,
    /// Path of the request.
    pub path: String,
    /// Identity of the caller as the server's proxy saw it (header `x-forwarded-client-cert`).
    pub caller: Option<String>,
    /// Address that the connection came from.
    pub from: IpAddr,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct EchoServer {
    port: u16,
    task: JoinHandle<()>,
}

impl EchoServer {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_at(name, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts a server at an address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn start_at(name: &str, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let name = name.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(&name, peer.ip().to_canonical(), &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    // A client that goes away is none of the server's business.
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Ok(Self { port, task })
    }

    /// Port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(server: &str, from: IpAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let caller =
        request.headers().get("x-forwarded-client-cert").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let echo = Echo { server: server.to_owned(), path: request.uri().path().to_owned(), caller, from };
    let body = serde_json::to_vec(&echo).unwrap_or_default();
    Response::new(Full::new(Bytes::from(body)))
}
