//! A TCP connection whose bytes are counted, and which can end in the ways that connections end.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use clap::ValueEnum;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tally::Tally;

/// How a connection ends on the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Cut {
    /// The server sees the end (FIN), without a word in TLS.
    Close,
    /// The server sees a reset (RST).
    Reset,
    /// The server sees nothing: the client neither reads nor writes any more, as when its host is gone.
    Silence,
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Close => "connections closed",
            Self::Reset => "connections reset",
            Self::Silence => "connections gone silent",
        })
    }
}

/// How connections are going to end; shared between a connection and who ends it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// A [`Cut`]; that of number 0 at first.
    cut: Arc<AtomicU8>,
    limbo: Limbo,
    /// Counts for a client that was connected before.
    returning: bool,
}

/// Sockets that are open and silent, until this is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Limbo(Arc<Mutex<Vec<std::net::TcpStream>>>);

impl Ending {
    /// Of a connection whose client has been connected before or not; what falls silent goes to `limbo`.
    pub(super) fn new(limbo: Limbo, returning: bool) -> Self {
        Self { cut: Arc::default(), limbo, returning }
    }

    /// Says how the connection ends.
    pub(super) fn set(&self, cut: Cut) {
        self.cut.store(cut as u8, Relaxed);
    }

    fn get(&self) -> Cut {
        let number = self.cut.load(Relaxed);
        Cut::value_variants().iter().copied().find(|cut| *cut as u8 == number).unwrap_or(Cut::Close)
    }
}

/// A TCP connection.
pub(super) struct Line {
    /// Present until it is dropped.
    tcp: Option<TcpStream>,
    tally: Arc<Tally>,
    ending: Ending,
}

impl Line {
    pub(super) fn new(tcp: TcpStream, tally: Arc<Tally>, ending: Ending) -> Self {
        Self { tcp: Some(tcp), tally, ending }
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.tcp.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(tcp) = self.tcp.take() else { return };
        match self.ending.get() {
            // What is still to be read would turn the end into a reset.
            Cut::Close => drop(SockRef::from(&tcp).shutdown(Shutdown::Write)),
            Cut::Reset => drop(SockRef::from(&tcp).set_linger(Some(std::time::Duration::ZERO))),
            Cut::Silence => {
                if let Ok(tcp) = tcp.into_std() {
                    self.ending.limbo.0.lock().unwrap_or_else(PoisonError::into_inner).push(tcp);
                }
            }
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.tcp()?.poll_read(context, buffer))?;
        self.tally.received(buffer.filled().len() - before, self.ending.returning);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a server sees of a connection that ends in this way: the end, an error, or nothing.
    async fn seen(cut: Cut) -> Option<io::Result<usize>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let tcp = TcpStream::connect(listener.local_addr().expect("has an address")).await.expect("connects");
        let (mut server, _) = listener.accept().await.expect("accepts");
        let (tally, limbo) = (Arc::new(Tally::new(1)), Limbo::default());
        let ending = Ending::new(limbo.clone(), true);
        let mut line = Line::new(tcp, Arc::clone(&tally), ending.clone());
        server.write_all(b"hello").await.expect("writes");
        let mut buffer = [0; 8];
        assert_eq!(line.read(&mut buffer).await.expect("reads"), 5);
        assert_eq!((tally.bytes(), tally.bytes_of_returning()), (5, 5));
        ending.set(cut);
        drop(line);
        tokio::time::timeout(Duration::from_millis(200), server.read(&mut buffer)).await.ok()
    }

    #[tokio::test]
    async fn connections_end_as_they_are_told_to() {
        assert!(matches!(seen(Cut::Close).await, Some(Ok(0))));
        let reset = seen(Cut::Reset).await;
        assert!(matches!(&reset, Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset), "{reset:?}");
        assert!(seen(Cut::Silence).await.is_none());
    }
}
