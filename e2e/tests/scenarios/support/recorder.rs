//! A server that keeps the requests it gets: a collector of traces, or what kuma-dp serves metrics by.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Content.
    pub body: Bytes,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Its port; 0 on a Unix socket.
    pub port: u16,
    requests: Requests,
    task: JoinHandle<()>,
}

type Requests = Arc<Mutex<Vec<Recorded>>>;

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    /// A server on a free port of loopback that answers everything with this text.
    pub async fn tcp(answer: &'static str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let requests = Requests::default();
        let recorded = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, recorded.clone(), answer));
            }
        });
        Ok(Self { port, requests, task })
    }

    /// The same on a Unix socket.
    pub fn unix(path: &Path, answer: &'static str) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let requests = Requests::default();
        let recorded = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, recorded.clone(), answer));
            }
        });
        Ok(Self { port: 0, requests, task })
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, recorded: Requests, answer: &'static str) {
    let service = service_fn(move |request: Request<Incoming>| record(recorded.clone(), request, answer));
    // A client that goes away is none of the server's business.
    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn record(
    recorded: Requests,
    request: Request<Incoming>,
    answer: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (target, headers) = (request.uri().to_string(), request.headers().clone());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    recorded.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded { target, headers, body });
    Ok(Response::new(Full::new(Bytes::from_static(answer.as_bytes()))))
}
