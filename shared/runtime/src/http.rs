//! Serving HTTP/1 and HTTP/2, plain or over TLS, on a socket that everybody can reach.
//!
//! Until it has asked for something, a connection is worth little: its handshake waits for its turn, its time is limited, and it gives
//! way when there are too many like it. From then on it may stay as long as one of its requests is open.

mod activity;
mod handshake;
mod pending;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::{Stream, StreamExt};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

pub use activity::BodyTimeout;
use activity::{Activity, Guarded, Timed};
use handshake::{Failure, Handshakes};
use pending::{Eviction, Pending, Ticket};

/// Silence after which a peer is probed; it is given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a peer may leave what it was sent without an acknowledgement, or take nothing more, until its connection is closed: as long as one
/// that is silent. Without this the kernel sends again for a quarter of an hour.
#[cfg(target_os = "linux")]
const UNTAKEN: Duration = Duration::from_secs(30);
/// Most bytes an HTTP/2 stream may have waiting to be sent, as every long-lived stream may have them.
const SEND_BUFFER: usize = 16 * 1024;
/// Most bytes of the header of an HTTP/2 request, names and values. The longest part is a token, of which 64 KB are looked at.
const HEADER_BYTES: u32 = 80 * 1024;
/// Most streams that a client took back before they were looked at; a client that opens streams to take them back is cut off.
const PENDING_RESETS: usize = 20;
/// Most streams of a connection that ended because the client broke the rules.
const ERROR_RESETS: usize = 256;
/// Longer than anything that is waited for.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Pause after a failed accept, which mostly means that the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The certificate chain that a client proved to own, leaf first; an extension of its requests.
#[derive(Debug, Clone)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Why a connection was turned away, or ended without its consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client speaks no TLS, or not the kind that is on offer, or broke off.
    HandshakeFailed,
    /// The handshake took too long.
    HandshakeTimeout,
    /// Too many connections had not asked for anything yet.
    TooManyConnections,
    /// It never asked for anything.
    NoFirstRequest,
    /// It was not used for too long.
    Idle,
    /// What came over it breaks HTTP, or is more than a client that means well sends.
    Protocol,
    /// The header of the first request did not arrive in time.
    HeaderTimeout,
    /// An answer was not taken in time.
    AnswerTimeout,
}

/// Who is told of connections that were turned away; nobody by default.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Refusal) + Send + Sync>>);

impl Observer {
    /// Calls `told` each time.
    pub fn new(told: impl Fn(Refusal) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    fn tell(&self, refusal: Refusal) {
        if let Some(told) = &self.0 {
            told(refusal);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "Nobody" })
    }
}

/// Limits of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a TLS handshake may take, without the time that it waits for its turn.
    pub handshake: Duration,
    /// How many handshakes may be worked on at the same time; the others wait in the order in which they came.
    pub handshakes: usize,
    /// How many connections there may be that have not asked for anything yet. When there are more, the oldest give way, those that
    /// never spoke first. Never more than half of the files that the process may open.
    pub pending: usize,
    /// How long a connection may take until it asks for something, from its handshake on.
    pub first_request: Duration,
    /// How long a connection may stay on which no request is open.
    pub idle: Duration,
    /// How many requests a connection is good for; a client that wants more connects anew.
    pub requests: u32,
    /// How long a client may take for the header of an HTTP/1 request.
    pub header: Duration,
    /// How long a client may take for the body of a request; streams of gRPC may take any time.
    pub body: Duration,
    /// How long it may take until a request is answered and the client has taken the answer; streams of gRPC may take any time.
    /// `None` for servers whose other answers may be streams as well.
    pub answer: Option<Duration>,
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
    /// Who is told of connections that are turned away.
    pub observer: Observer,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            handshake: Duration::from_secs(10),
            handshakes: cores.div_ceil(2),
            pending: 16_384,
            first_request: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            requests: u32::MAX,
            header: Duration::from_secs(5),
            body: Duration::from_secs(60),
            answer: None,
            grace: Duration::from_secs(3),
            streams: 1_000,
            stream_window: 1 << 20,
            connection_window: 1 << 20,
            ping: None,
            observer: Observer::default(),
        }
    }
}

impl Limits {
    /// [`Self::pending`], so that there are files left for connections that are in use.
    fn pending(&self) -> usize {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = files.and_then(|files| usize::try_from(files / 2).ok()).unwrap_or(usize::MAX);
        self.pending.min(half).max(1)
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
                    let socket = SockRef::from(&stream);
                    let _ = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
                    #[cfg(target_os = "linux")]
                    let _ = socket.set_tcp_user_timeout(Some(UNTAKEN));
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
        .max_header_list_size(HEADER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.ping);
    if let Some(ping) = limits.ping {
        builder.http2().keep_alive_timeout(ping);
    }
    let tls = tls.map(|tls| Handshakes::new(TlsAcceptor::from(tls), limits.handshake, limits.handshakes));
    let (pending, grace) = (Pending::new(limits.pending()), limits.grace);
    let server = Arc::new(Server { builder, tls, router, limits, shutdown: shutdown.clone() });
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
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
        let (ticket, eviction) = pending.enter();
        let connection = server.clone().connection(stream, peer, ticket, eviction);
        tasks.spawn(cut.clone().run_until_cancelled_owned(connection));
    }
    drop(connections);
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        tracing::info!(?grace, "connections were still in use and are cut");
    }
    cut.cancel();
}

struct Server {
    builder: Builder<TokioExecutor>,
    tls: Option<Handshakes>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        ticket: Ticket,
        mut eviction: Eviction,
    ) {
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, None, ticket, eviction).await;
        };
        let accepted = tokio::select! {
            // Boxed, so that its size does not stay part of the connection's.
            accepted = Box::pin(tls.accept(stream, || ticket.spoke())) => accepted,
            () = eviction.wait() => return self.refuse(peer, Refusal::TooManyConnections),
            () = self.shutdown.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let certificates =
                    certificates.map(|chain| PeerCertificates(chain.iter().map(|c| c.clone().into_owned()).collect()));
                self.requests(stream, peer, certificates, ticket, eviction).await;
            }
            Err(Failure::Silent) => {}
            Err(Failure::Failed(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                self.refuse(peer, Refusal::HandshakeFailed);
            }
            Err(Failure::Timeout) => self.refuse(peer, Refusal::HandshakeTimeout),
        }
    }

    fn refuse(&self, peer: SocketAddr, refusal: Refusal) {
        tracing::debug!(%peer, ?refusal, "connection refused");
        self.limits.observer.tell(refusal);
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        certificates: Option<PeerCertificates>,
        ticket: Ticket,
        mut eviction: Eviction,
    ) {
        let activity = Activity::new(ticket);
        let (router, began, limit) = (self.router.clone(), activity.clone(), self.limits.body);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let open = began.begin(!is_stream(request.headers()));
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(certificates) = &certificates {
                request.extensions_mut().insert(certificates.clone());
            }
            let mut router = router.clone();
            async move {
                // A router is always ready.
                let response = router.call(timed(request, limit)).await.map_err(|never: Infallible| match never {})?;
                Ok::<_, Infallible>(response.map(|body| Body::new(Guarded { body, _open: open })))
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let mut connection = pin!(connection);
        let mut end = pin!(sleep(self.limits.first_request));
        let mut overdue = pin!(sleep(FAR));
        let mut closing = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "connection ended");
                        // Between requests, hyper waits for the header of the next one; a client that wants no other did nothing wrong.
                        let reason = reason(&*error)
                            .filter(|reason| *reason != Refusal::HeaderTimeout || activity.seen() == 0);
                        if let Some(refusal) = reason {
                            self.refuse(peer, refusal);
                        }
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = activity.changed() => {
                    if activity.seen() >= self.limits.requests && !closing {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    if let Some(limit) = self.limits.answer {
                        let since = activity.brief_since();
                        overdue.as_mut().reset(since.map_or_else(|| Instant::now() + FAR, |since| since + limit));
                    }
                    if activity.open() == 0 {
                        end.as_mut().reset(Instant::now() + if closing { self.limits.header } else { self.limits.idle });
                    }
                }
                () = eviction.wait() => return self.refuse(peer, Refusal::TooManyConnections),
                () = overdue.as_mut(), if self.limits.answer.is_some() => {
                    return self.refuse(peer, Refusal::AnswerTimeout);
                }
                () = end.as_mut(), if activity.open() == 0 => {
                    if activity.seen() == 0 {
                        return self.refuse(peer, Refusal::NoFirstRequest);
                    }
                    if closing {
                        return;
                    }
                    self.refuse(peer, Refusal::Idle);
                    // What the client sends at this moment is still answered.
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    end.as_mut().reset(Instant::now() + self.limits.header);
                }
            }
        }
    }
}

/// A request whose body has to arrive in time, unless it is a stream.
fn timed(request: hyper::Request<Incoming>, limit: Duration) -> hyper::Request<Body> {
    let stream = is_stream(request.headers());
    request.map(|body| match body {
        body if stream || body.is_end_stream() => Body::new(body),
        body => Body::new(Timed::new(body, limit)),
    })
}

/// True for the headers of a call of gRPC, which may go on for any time.
pub fn is_stream(headers: &http::HeaderMap) -> bool {
    let content = headers.get(http::header::CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}

/// What a client did wrong on a connection that ended with an error; `None` when the connection just broke.
fn reason(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    for error in std::iter::successors(Some(error), |error| error.source()) {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return Some(Refusal::HeaderTimeout);
            }
            if error.is_parse() {
                return Some(Refusal::Protocol);
            }
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library().then_some(Refusal::Protocol);
        }
    }
    None
}
