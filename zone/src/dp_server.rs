//! The dataplane server (5678): one TLS listener for `POST /bootstrap` over HTTP and the discovery services over gRPC.
//!
//! Source of the behaviour: Kuma `pkg/dp-server/server/server.go`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest frame payload that is read at once; requests of proxies are small.
const MAX_FRAME: u32 = 16 * 1024;

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct DpServerSettings {
    /// How long a client may take to send the head of an HTTP/1 request.
    pub read_header_timeout: Duration,
    /// How long streams and requests may take to end at shutdown.
    pub graceful_shutdown_timeout: Duration,
}

/// Serves `router` until the token is cancelled.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    settings: DpServerSettings,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Typically out of file descriptors: connections that end meanwhile make room.
                    warn!(%error, "cannot accept a connection of a proxy");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        tokio::spawn(serve_connection(
            stream,
            acceptor.clone(),
            router.clone(),
            settings.read_header_timeout,
            graceful.watcher(),
        ));
    }
    drop(listener);
    if tokio::time::timeout(settings.graceful_shutdown_timeout, graceful.shutdown()).await.is_err() {
        debug!("connections of proxies were still open when the time for shutdown was over");
    }
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    read_header_timeout: Duration,
    watcher: Watcher,
) {
    // A dead peer is found by the kernel, at no cost to this process while it is idle.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tuned = stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        debug!(%error, "cannot tune the connection of a proxy");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake with a proxy failed"),
        Err(_) => return debug!("TLS handshake with a proxy took too long"),
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = TowerToHyperService::new(router);
    let io = TokioIo::new(stream);
    let result = if is_h2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_frame_size(MAX_FRAME).max_send_buf_size(MAX_FRAME as usize);
        watcher.watch(builder.serve_connection(io, service)).await
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(read_header_timeout);
        watcher.watch(builder.serve_connection(io, service)).await
    };
    if let Err(error) = result {
        debug!(%error, "connection of a proxy ended");
    }
}
