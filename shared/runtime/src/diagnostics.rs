//! The diagnostics server: `/healthy`, `/ready` and `/metrics`, without authentication.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use http::{StatusCode, header};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{Limits, serve as serve_http};
use crate::metrics::{self, Metrics};
use crate::readiness::Readiness;

/// Configuration key of the port.
pub const PORT_KEY: &str = "diagnostics.serverPort";

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let limits =
        Limits { header: Duration::from_secs(1), grace: Duration::from_secs(1), streams: 100, ..Limits::default() };
    serve_http(listener, tls, router(readiness, metrics), limits, shutdown).await;
}

fn router(readiness: Readiness, metrics: Metrics) -> Router {
    let ready =
        move || async move { if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE } };
    let scrape = move || async move { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.encode()) };
    Router::new()
        .route("/healthy", any(|| async { StatusCode::OK }))
        .route("/ready", any(ready))
        .route("/metrics", any(scrape))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::listen;

    async fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("answered");
        response
    }

    #[tokio::test]
    async fn answers_health_readiness_and_metrics_until_told_to_stop() {
        let listener = listen::bind_all(0, PORT_KEY).await.expect("some port is free");
        let port = listener.local_addr().expect("bound").port();
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let mut component = readiness.component();
        let server = tokio::spawn(serve(listener, None, readiness, Metrics::new("Global"), shutdown.clone()));
        assert!(get(port, "/healthy").await.starts_with("HTTP/1.1 200"));
        assert!(get(port, "/ready").await.starts_with("HTTP/1.1 503"));
        component.ready();
        assert!(get(port, "/ready").await.starts_with("HTTP/1.1 200"));
        assert!(get(port, "/metrics").await.contains("process_resident_memory_bytes{zone=\"Global\"}"));
        assert!(get(port, "/other").await.starts_with("HTTP/1.1 404"));
        shutdown.cancel();
        server.await.expect("ended");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}
