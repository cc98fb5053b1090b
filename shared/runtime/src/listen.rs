//! Opening listening sockets, with errors that say what to change.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::config::keys;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}; the port is set by {key}")]
pub struct ListenError {
    /// Address that was asked for.
    pub address: SocketAddr,
    /// Configuration key of the port, with its variable.
    pub key: String,
    /// Reason, e.g. that the address is in use.
    pub reason: io::Error,
}

/// Listens on an address whose port is the value of the configuration key at path `key`.
///
/// # Errors
/// When the address is in use, not of this host, or reserved.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|reason| {
        let variable = keys::by_path(key).and_then(keys::Key::variable);
        let key = variable.map_or_else(|| key.to_owned(), |variable| format!("{key} ({variable})"));
        ListenError { address, key, reason }
    })
}

/// Listens on all interfaces, of IPv4 and (where the host has it) of IPv6.
///
/// # Errors
/// As [`bind`].
pub async fn bind_all(port: u16, key: &str) -> Result<TcpListener, ListenError> {
    match bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), key).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.reason.kind() == io::ErrorKind::AddrInUse => Err(error),
        // A host without IPv6.
        Err(_) => bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), key).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_key() {
        let taken = bind_all(0, "dpServer.port").await.expect("some port is free");
        let port = taken.local_addr().expect("bound").port();
        let error = bind_all(port, "dpServer.port").await.expect_err("taken").to_string();
        assert!(error.contains(&format!(":{port}: Address already in use")), "{error}");
        assert!(error.contains("set by dpServer.port (KUMA_DP_SERVER_PORT)"), "{error}");
    }
}
