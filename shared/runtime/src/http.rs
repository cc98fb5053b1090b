//! Serving HTTP/1 and HTTP/2, plain or over TLS, on a socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Silence after which a peer is probed; it is given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Most bytes an HTTP/2 stream may have waiting to be sent, as every long-lived stream may have them.
const SEND_BUFFER: usize = 16 * 1024;
/// Pause after a failed accept, which mostly means that the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The certificate chain that a client proved to own, leaf first; an extension of its requests.
#[derive(Debug, Clone)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Limits of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a client may take for the header of an HTTP/1 request.
    pub header: Duration,
    /// How long requests may go on after the server was told to stop; then their connections are cut.
    pub grace: Duration,
    /// Most HTTP/2 streams per connection.
    pub streams: u32,
    /// Flow control window of an HTTP/2 stream: bytes that a client may send before they are read.
    pub stream_window: u32,
    /// Flow control window of an HTTP/2 connection. Streams that are not read take from it until nothing is left for the
    /// others; so it should be larger than the windows of all streams that may be unread at a time.
    pub connection_window: u32,
    /// Time between HTTP/2 pings on a connection from which nothing comes, and the limit for their answers. `None` leaves it
    /// to the kernel to find dead peers; that does not see past a proxy in between.
    pub ping: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            grace: Duration::from_secs(3),
            streams: 1_000,
            stream_window: 1 << 20,
            connection_window: 1 << 20,
            ping: None,
        }
    }
}

/// Serves `router` until `shutdown`, then lets open requests finish within the limit.
///
/// Requests carry [`ConnectInfo<SocketAddr>`] and, when the client has one that `tls` verified,
/// [`PeerCertificates`].
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    serve_connections(accepted(listener), tls, router, limits, shutdown).await;
}

/// The connections that come in on a socket, each with the address of its other end.
pub fn accepted(listener: TcpListener) -> impl Stream<Item = (TcpStream, SocketAddr)> + Send {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Small responses must not wait for acknowledgements, and a dead peer is found by the kernel, which
                    // costs an idle process nothing. A failure only costs speed.
                    let keepalive =
                        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
                    let _ =
                        stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
                    return Some(((stream, peer), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    })
}

/// [`serve`] on connections of any kind; no new ones are taken once `shutdown` began.
pub async fn serve_connections<C: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connections: impl Stream<Item = (C, SocketAddr)> + Send,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let mut connections = Box::pin(connections);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.ping);
    if let Some(ping) = limits.ping {
        builder.http2().keep_alive_timeout(ping);
    }
    let server = Server { builder, tls: tls.map(TlsAcceptor::from), router };
    let server = Arc::new(server);
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = connections.next() => next,
        };
        let Some((stream, peer)) = next else {
            shutdown.cancelled().await;
            break;
        };
        let connection = server.clone().connection(stream, peer, graceful.watcher());
        tokio::spawn(cut.clone().run_until_cancelled_owned(connection));
    }
    drop(connections);
    if tokio::time::timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::info!(grace = ?limits.grace, "connections were still in use and are cut");
    }
    cut.cancel();
}

struct Server {
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    router: Router,
}

impl Server {
    async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, None, watcher).await;
        };
        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let certificates =
                    certificates.map(|chain| PeerCertificates(chain.iter().map(|c| c.clone().into_owned()).collect()));
                self.requests(stream, peer, certificates, watcher).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        certificates: Option<PeerCertificates>,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let router = self.router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(certificates) = &certificates {
                request.extensions_mut().insert(certificates.clone());
            }
            let mut router = router.clone();
            async move {
                // A router is always ready.
                let response = router.call(request.map(axum::body::Body::new)).await;
                response.map_err(|never: Infallible| match never {})
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}
