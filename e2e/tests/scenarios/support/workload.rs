//! An application that answers as the path of a request asks, and counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tandem_e2e::wait;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// What the server keeps.
#[derive(Debug, Default)]
struct State {
    unhealthy: AtomicBool,
    requests: Mutex<BTreeMap<String, usize>>,
}

/// A running server; stops when dropped. `/fail` is answered with 503, `/slow` not at all, `/health` as it is set, a gRPC call to
/// `/Service/Unavailable` with the status of that name, everything else with the name of the server.
#[derive(Debug)]
pub struct Workload {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Workload {
    /// Starts a healthy server on a free port.
    pub async fn start(name: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::<State>::default();
        let (name, shared) = (name.to_owned(), state.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (name, state) = (name.clone(), shared.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let (name, state) = (name.clone(), state.clone());
                        async move { Ok::<_, Infallible>(state.answer(&name, request.uri().path()).await) }
                    });
                    // A client that goes away is none of the server's business.
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Ok(Self { port, state, task })
    }

    /// Port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers health checks from now on as a server that is well, or not.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.unhealthy.store(!healthy, Ordering::Relaxed);
    }

    /// How many requests there were for a path.
    pub fn requests(&self, path: &str) -> usize {
        let requests = self.state.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(path).copied().unwrap_or_default()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn answer(&self, name: &str, path: &str) -> Response<Full<Bytes>> {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default() += 1;
        let status = match path {
            "/fail" => StatusCode::SERVICE_UNAVAILABLE,
            "/health" if self.unhealthy.load(Ordering::Relaxed) => StatusCode::SERVICE_UNAVAILABLE,
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                StatusCode::OK
            }
            _ => StatusCode::OK,
        };
        let mut response = Response::new(Full::new(Bytes::from(format!("{name} {path}"))));
        *response.status_mut() = status;
        if path == "/Service/Unavailable" {
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static("14"));
        }
        response
    }
}

/// Status and body of the answer to a request through the outbound of a sidecar.
pub async fn get(outbound: u16, path: &str) -> Result<(StatusCode, String)> {
    // A client of its own, so that no connection of an earlier request is used.
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let response = http.get(format!("http://127.0.0.1:{outbound}{path}")).send().await.context("no answer")?;
    Ok((response.status(), response.text().await?))
}

/// Waits until a request for a path is answered like this.
pub async fn answers(outbound: u16, path: &str, expected: (StatusCode, &str)) -> Result<()> {
    let as_expected = || async {
        let (status, body) = get(outbound, path).await?;
        anyhow::ensure!(status == expected.0 && body.contains(expected.1), "answered with {status}: {body}");
        Ok(Some(()))
    };
    let what = format!("{path} at port {outbound} is answered with {} and {:?}", expected.0, expected.1);
    wait::until(&what, PATIENCE, as_expected).await
}
