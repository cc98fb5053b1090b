//! A TCP relay that can be disturbed: stands between a zone and global, and does to their connections what networks do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

/// Most bytes that are on the way at a time, in each direction of a connection.
const BUFFER: usize = 16 * 1024;
/// Bytes that a slow network takes at a time.
const SLOW_BUFFER: usize = 1024;
/// How long both ends have to close a connection after the relay closed it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the network does until something else is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Carries everything.
    Open,
    /// Breaks all connections and refuses new ones.
    Cut,
    /// Loses everything and tells nobody. A connection that lost something is reset when the network is open again, as by a
    /// host that does not know it.
    Silent,
    /// Takes nothing, and carries on later.
    Stalled,
    /// Carries so many bytes per second, in each direction of each connection.
    Slow {
        /// Bytes per second, more than 0.
        rate: u32,
    },
}

/// What happens once, to the connections that exist at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// They break after so many more bytes, in the middle of whatever is being said.
    Truncate {
        /// Bytes of both directions together.
        after: usize,
    },
    /// Both ends get a reset.
    Reset,
    /// Both ends are told, properly, that nothing more comes.
    Close,
    /// One end is gone and the other never hears of it (until the next change of the [`Link`], which resets it).
    HalfOpen {
        /// The end that goes on believing in the connection.
        believer: End,
    },
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Who connected.
    Client,
    /// Whom it connected to.
    Server,
}

/// Relays connections from a port of its own to a target.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    link: watch::Sender<Link>,
    blows: broadcast::Sender<Blow>,
    first: Arc<OnceLock<Instant>>,
}

impl Relay {
    /// An open relay to `target`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (link, state) = watch::channel(Link::Open);
        let blows = broadcast::Sender::new(8);
        let strikes = blows.clone();
        let first = Arc::new(OnceLock::new());
        let accepted = first.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.get_or_init(Instant::now);
                if *state.borrow() != Link::Cut {
                    tokio::spawn(relay(client, target, state.clone(), strikes.subscribe()));
                }
            }
        });
        Ok(Self { port, link, blows, first })
    }

    /// The port to connect to instead of the target's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// When the first connection came.
    pub fn first_connection(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    /// Changes what the network does from now on.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Does something to all connections that exist now.
    pub fn strike(&self, blow: Blow) {
        // Without connections nobody is struck.
        let _ = self.blows.send(blow);
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        self.set(Link::Cut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.set(Link::Open);
    }
}

/// What both directions of a connection know.
struct Flow {
    link: watch::Receiver<Link>,
    /// Bytes that may still pass.
    left: AtomicUsize,
    /// Something was lost, so the connection can never be used again.
    spoiled: AtomicBool,
}

/// How the relay leaves a connection.
enum Leave {
    Break,
    Reset,
    Close,
    Abandon(End),
}

async fn relay(
    mut client: TcpStream,
    target: SocketAddr,
    mut link: watch::Receiver<Link>,
    mut blows: broadcast::Receiver<Blow>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let flow =
        Arc::new(Flow { link: link.clone(), left: AtomicUsize::new(usize::MAX), spoiled: AtomicBool::new(false) });
    let leave = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            // Either side failing ends the connection; there is nobody to tell.
            _ = async { tokio::try_join!(
                carry(&mut from_client, &mut to_server, &flow),
                carry(&mut from_server, &mut to_client, &flow),
            ) } => Leave::Break,
            leave = changed(&mut link, &flow) => leave,
            leave = struck(&mut blows, &flow) => leave,
        }
    };
    match leave {
        Leave::Break => {}
        // What follows may fail because an end has left already.
        Leave::Reset => {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        Leave::Close => {
            let _ =
                tokio::time::timeout(FAREWELL, async { tokio::join!(close(&mut client), close(&mut server)) }).await;
        }
        Leave::Abandon(believer) => {
            let (mut kept, gone) = if believer == End::Client { (client, server) } else { (server, client) };
            drop(gone);
            let mut nowhere = tokio::io::sink();
            tokio::select! {
                _ = tokio::io::copy(&mut kept, &mut nowhere) => {}
                _ = link.changed() => {}
            }
            let _ = kept.set_zero_linger();
        }
    }
}

/// Waits until the state of the network ends a connection.
async fn changed(link: &mut watch::Receiver<Link>, flow: &Flow) -> Leave {
    loop {
        match *link.borrow_and_update() {
            Link::Cut => return Leave::Break,
            Link::Open if flow.spoiled.load(Ordering::SeqCst) => return Leave::Reset,
            _ => {}
        }
        if link.changed().await.is_err() {
            return Leave::Break;
        }
    }
}

/// Waits until a blow ends a connection.
async fn struck(blows: &mut broadcast::Receiver<Blow>, flow: &Flow) -> Leave {
    loop {
        match blows.recv().await {
            Ok(Blow::Truncate { after }) => flow.left.store(after, Ordering::SeqCst),
            Ok(Blow::Reset) => return Leave::Reset,
            Ok(Blow::Close) => return Leave::Close,
            Ok(Blow::HalfOpen { believer }) => return Leave::Abandon(believer),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Says that nothing more comes, and reads what still does: closing with something unread would be a reset.
async fn close(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

/// Carries one direction of a connection.
async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), flow: &Flow) -> io::Result<()> {
    let mut link = flow.link.clone();
    let mut buffer = vec![0; BUFFER];
    loop {
        let now = *link.borrow_and_update();
        let room = match now {
            Link::Stalled => 0,
            Link::Slow { .. } => SLOW_BUFFER,
            _ => BUFFER,
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..room]), if room > 0 => read?,
            state = link.changed() => match state {
                Ok(()) => continue,
                Err(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            },
        };
        if now == Link::Silent || flow.spoiled.load(Ordering::SeqCst) {
            flow.spoiled.store(true, Ordering::SeqCst);
            if read == 0 {
                return std::future::pending().await;
            }
            continue;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        let left = flow.left.load(Ordering::SeqCst);
        to.write_all(&buffer[..read.min(left)]).await?;
        if left <= read {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if left != usize::MAX {
            flow.left.store(left - read, Ordering::SeqCst);
        }
        if let Link::Slow { rate } = now {
            #[allow(clippy::cast_precision_loss)] // at most a thousand
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / f64::from(rate.max(1)))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A connection through a relay: its two ends.
    async fn connected() -> (Relay, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let relay = Relay::start(listener.local_addr().expect("bound")).await.expect("some port is free");
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.expect("the relay listens");
        let (server, _) = listener.accept().await.expect("the relay connects");
        let mut pair = (client, server);
        said(&mut pair.0, &mut pair.1, b"hello").await;
        (relay, pair.0, pair.1)
    }

    async fn said(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
        from.write_all(text).await.expect("open");
        let mut heard = vec![0; text.len()];
        timeout(PATIENCE, to.read_exact(&mut heard)).await.expect("in time").expect("open");
        assert_eq!(heard, text);
    }

    /// What still comes, and how it ends.
    async fn rest(stream: &mut TcpStream) -> (usize, Option<io::ErrorKind>) {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
        (rest.len(), end.err().map(|error| error.kind()))
    }

    async fn nothing_comes(stream: &mut TcpStream) {
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(100), stream.read(&mut byte)).await.is_err());
    }

    #[tokio::test]
    async fn a_stalled_network_goes_on_later_and_a_slow_one_loses_nothing() {
        let (relay, mut client, mut server) = connected().await;
        relay.set(Link::Stalled);
        client.write_all(b"later").await.expect("open");
        nothing_comes(&mut server).await;
        relay.set(Link::Slow { rate: 100_000 });
        said(&mut server, &mut client, &[7; 5000]).await;
        relay.mend();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).await.expect("open");
        assert_eq!(&heard, b"later");
    }

    #[tokio::test]
    async fn a_silent_network_tells_nobody_until_it_is_mended() {
        let (relay, mut client, mut server) = connected().await;
        relay.set(Link::Silent);
        client.write_all(b"lost").await.expect("open");
        nothing_comes(&mut server).await;
        nothing_comes(&mut client).await;
        relay.mend();
        assert_eq!(rest(&mut client).await, (0, Some(io::ErrorKind::ConnectionReset)));
        assert_eq!(rest(&mut server).await, (0, Some(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn blows() {
        let (relay, mut client, mut server) = connected().await;
        relay.strike(Blow::Close);
        assert_eq!((rest(&mut client).await, rest(&mut server).await), ((0, None), (0, None)));

        let (relay, mut client, mut server) = connected().await;
        relay.strike(Blow::Reset);
        assert_eq!(rest(&mut client).await, (0, Some(io::ErrorKind::ConnectionReset)));
        assert_eq!(rest(&mut server).await, (0, Some(io::ErrorKind::ConnectionReset)));

        let (relay, mut client, mut server) = connected().await;
        relay.strike(Blow::Truncate { after: 10 });
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(&[1; 100]).await.expect("open");
        assert_eq!(rest(&mut server).await.0, 10);

        let (relay, mut client, mut server) = connected().await;
        relay.strike(Blow::HalfOpen { believer: End::Server });
        rest(&mut client).await;
        server.write_all(b"anybody?").await.expect("believes");
        nothing_comes(&mut server).await;
        relay.mend();
        assert_eq!(rest(&mut server).await, (0, Some(io::ErrorKind::ConnectionReset)));

        let (relay, mut client, mut server) = connected().await;
        relay.cut();
        assert_eq!((rest(&mut client).await.0, rest(&mut server).await.0), (0, 0));
    }
}
