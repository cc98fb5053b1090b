//! A server that keeps the requests it gets: a collector of traces, or what kuma-dp serves metrics by.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
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
    /// Content.
    pub body: Bytes,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Its port; 0 on a Unix socket.
    pub port: u16,
    requests: Arc<Mutex<Vec<Recorded>>>,
    task: JoinHandle<()>,
}

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
        Ok(Self::start(port, answer, async move || Ok(listener.accept().await?.0)))
    }

    /// The same on a Unix socket.
    pub fn unix(path: &Path, answer: &'static str) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        Ok(Self::start(0, answer, async move || Ok(listener.accept().await?.0)))
    }

    fn start<S, F>(port: u16, answer: &'static str, accept: F) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: AsyncFn() -> io::Result<S> + Send + 'static,
        for<'a> F::CallRefFuture<'a>: Send,
    {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok(stream) = accept().await {
                let recorded = recorded.clone();
                let service = service_fn(move |request: Request<Incoming>| record(recorded.clone(), request, answer));
                tokio::spawn(async move {
                    // A client that goes away is none of the server's business.
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { port, requests, task }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn record(
    recorded: Arc<Mutex<Vec<Recorded>>>,
    request: Request<Incoming>,
    answer: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    recorded.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded { target, body });
    Ok(Response::new(Full::new(Bytes::from_static(answer.as_bytes()))))
}
