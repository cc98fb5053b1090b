//! A TCP relay that can be cut: stands between a zone and global to take the network away.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Relays connections from a port of its own to a target while it is not cut.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    connected: watch::Sender<bool>,
}

impl Relay {
    /// A relay to `target`, not cut.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (connected, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() {
                    tokio::spawn(relay(client, target, state.clone()));
                }
            }
        });
        Ok(Self { port, connected })
    }

    /// The port to connect to instead of the target's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        self.connected.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.connected.send_replace(true);
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        // Either side closing, or failing, ends the connection; there is nobody to tell.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = state.wait_for(|connected| !connected) => {}
    }
}
