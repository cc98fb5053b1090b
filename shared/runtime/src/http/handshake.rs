//! TLS handshakes, few at a time and in the order in which clients asked for them.
//!
//! Nearly all that a handshake costs is spent at once, when the greeting of the client is answered. When thousands of clients come at
//! the same moment, these answers wait here for their turn instead of in the queues of the runtime, where they would delay everything
//! else. A client that has not greeted takes no turn, and one that left while it waited costs none.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Type of the TLS record that a greeting comes in (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// Length of the header of a TLS record.
const RECORD_HEADER: usize = 5;
/// Most that is read before a greeting is answered: a record of the greatest length.
const MOST_AHEAD: usize = RECORD_HEADER + (1 << 14) + 256;
/// Bytes to read at a time; most greetings have fewer.
const CHUNK: usize = 2048;

/// Why there is no TLS connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client left without having said a thing, as probes of load balancers do.
    Silent,
    /// The client speaks no TLS, or not the kind that is on offer, or broke off.
    Failed(io::Error),
    /// It took too long.
    Timeout,
}

/// Makes handshakes.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    limit: Duration,
    /// One for each handshake whose first answer may be in the making.
    turns: Semaphore,
}

impl Handshakes {
    /// At most `at_once` at a time, each within `limit` without the time it waits for its turn.
    pub(super) fn new(acceptor: TlsAcceptor, limit: Duration, at_once: usize) -> Self {
        Self { acceptor, limit, turns: Semaphore::new(at_once) }
    }

    /// Makes a connection one over TLS. `greeted` is called when the client has said something.
    ///
    /// The connection is boxed because it is moved into several futures, each of which would be as large for as long as it lasts.
    pub(super) async fn accept<C: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: C,
        greeted: impl FnOnce(),
    ) -> Result<Box<TlsStream<Ahead<C>>>, Failure> {
        let mut stream = Ahead { stream, ahead: BytesMut::new() };
        let greeting = timeout_at(Instant::now() + self.limit, stream.greeting()).await;
        greeting.map_err(|_| Failure::Timeout)??;
        greeted();
        let turn = tokio::select! {
            biased;
            turn = self.turns.acquire() => turn.expect("nobody closes the semaphore"),
            gone = stream.gone() => return Err(Failure::Failed(gone)),
        };
        // Whatever else is ready to run is served between two handshakes.
        tokio::task::yield_now().await;
        let mut handshake = pin!(self.acceptor.accept(stream));
        let first = futures::poll!(handshake.as_mut());
        drop(turn);
        let end = Instant::now() + self.limit;
        let done = match first {
            Poll::Ready(done) => done,
            Poll::Pending => timeout_at(end, handshake).await.map_err(|_| Failure::Timeout)?,
        };
        done.map(Box::new).map_err(Failure::Failed)
    }
}

/// A connection of which something was read ahead.
#[derive(Debug)]
pub(super) struct Ahead<C> {
    stream: C,
    ahead: BytesMut,
}

impl<C: AsyncRead + Unpin> Ahead<C> {
    /// Reads the first record, or as much as it takes to see that it is none.
    async fn greeting(&mut self) -> Result<(), Failure> {
        while !is_whole(&self.ahead) {
            self.ahead.reserve(CHUNK);
            match self.stream.read_buf(&mut self.ahead).await {
                Ok(0) | Err(_) if self.ahead.is_empty() => return Err(Failure::Silent),
                Ok(0) => return Err(Failure::Failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(Failure::Failed(error)),
            }
        }
        Ok(())
    }

    /// Resolves when the other side is gone.
    async fn gone(&mut self) -> io::Error {
        while self.ahead.len() < MOST_AHEAD {
            self.ahead.reserve(CHUNK);
            match self.stream.read_buf(&mut self.ahead).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }
}

/// True when there is a whole record, or something that is no record of a handshake.
fn is_whole(bytes: &[u8]) -> bool {
    match bytes {
        [kind, ..] if *kind != HANDSHAKE_RECORD => true,
        [_, _, _, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            rest.len() >= length || bytes.len() >= MOST_AHEAD
        }
        _ => false,
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Ahead<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        if self.ahead.is_empty() {
            // A connection may last for months; what it began with does not stay.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Ahead<C> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
