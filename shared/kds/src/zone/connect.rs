//! The connection to global.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tandem_auth::tls::{TlsError, Trust, client_config, client_config_with_certificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};

use crate::settings::UNREAD_STREAMS;

/// Limit for connecting, handshake included.
const CONNECT: Duration = Duration::from_secs(10);
/// Time between pings. Peers of Kuma hang up on clients that ping more often than every 15 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A ping unanswered for so long ends the connection.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Flow control window of a stream: what global may send before it is read.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Where global is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalAddress {
    /// Host name or IP address; without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `grpcs` instead of `grpc`.
    pub tls: bool,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `grpc` nor `grpcs`.
    #[error("unsupported scheme {0:?}. Use one of [grpc grpcs]")]
    Scheme(String),
    /// Not `scheme://host:port`.
    #[error("invalid address {0:?}: expected grpcs://<host>:<port>")]
    Form(String),
}

impl FromStr for GlobalAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let tls = match scheme {
            "grpc" => false,
            "grpcs" => true,
            other => return Err(AddressError::Scheme(other.to_owned())),
        };
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().map_err(|_| form())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().ok_or_else(form)?;
        if host.is_empty() || authority.as_str().contains('@') { Err(form()) } else { Ok(Self { host, port, tls }) }
    }
}

impl GlobalAddress {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for GlobalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "grpcs" } else { "grpc" }, self.authority())
    }
}

/// How the certificate of global is checked, and which one it gets to see. Files are read before each attempt to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `multizone.zone.kds.rootCaFile`: PEM file with the certificates to trust; `None` trusts those of the system.
    pub root_ca_file: Option<PathBuf>,
    /// `multizone.zone.kds.tlsSkipVerify`: any certificate will do.
    pub skip_verify: bool,
    /// `multizone.zone.kds.auth.clientCertFile` and `clientKeyFile`: PEM files with the certificate of the zone and its
    /// key, for globals that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl ClientTls {
    /// The settings in the form of the TLS library.
    ///
    /// # Errors
    /// When the file of trusted certificates cannot be used, or the system has none, or the certificate of the zone
    /// cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let trust = match &self.root_ca_file {
            _ if self.skip_verify => Trust::Anyone,
            Some(file) => Trust::File(file),
            None => Trust::System,
        };
        Ok(Arc::new(match &self.certificate {
            None => client_config(trust)?,
            Some((certificate, key)) => client_config_with_certificate(trust, certificate, key)?,
        }))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("not connected within {} s", CONNECT.as_secs())]
    Timeout,
    #[error("{}", causes(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// The transport's own text says only that there is an error; what it is stands in its causes.
fn causes(error: &tonic::transport::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

/// Connects to global.
pub(crate) async fn connect(
    address: &GlobalAddress,
    dial: &Dial,
    tls: Option<Arc<ClientConfig>>,
    version: &str,
) -> Result<Channel, ConnectError> {
    // The scheme only fills in the request line; the connector below decides about TLS.
    let endpoint = Endpoint::from_shared(format!("http://{}", address.authority()))?
        .user_agent(format!("kds/{version}"))?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(UNREAD_STREAMS * STREAM_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    let (address, dial) = (address.clone(), dial.clone());
    let connector = tower::service_fn(move |_| {
        let (host, tls, dialled) = (address.host.clone(), tls.clone(), dial(&address));
        async move {
            let transport = dialled.await?;
            let Some(tls) = tls else { return io::Result::Ok(TokioIo::new(Either::Left(transport))) };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(Either::Right(TlsConnector::from(tls).connect(name, transport).await?)))
        }
    });
    tokio::time::timeout(CONNECT, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| ConnectError::Timeout)?
        .map_err(ConnectError::from)
}

/// A connection as the network makes it.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// Makes a connection to an address.
pub type Dial = Arc<dyn Fn(&GlobalAddress) -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + Sync>;

/// The network of the host.
pub fn tcp() -> Dial {
    Arc::new(|address| {
        let address = address.clone();
        async move {
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn addresses() {
        let address: GlobalAddress = "grpcs://global.example:5685".parse().expect("valid");
        assert_eq!(address, GlobalAddress { host: "global.example".into(), port: 5685, tls: true });
        let address: GlobalAddress = "grpc://[::1]:5685".parse().expect("valid");
        assert_eq!(address, GlobalAddress { host: "::1".into(), port: 5685, tls: false });
        assert_eq!(address.to_string(), "grpc://[::1]:5685");
        let error = "http://a:1".parse::<GlobalAddress>().expect_err("another scheme");
        assert_eq!(error.to_string(), "unsupported scheme \"http\". Use one of [grpc grpcs]");
        for bad in ["", "a:1", "grpcs://a", "grpcs://", "grpcs://:1", "grpcs://a:x", "grpcs://u@a:1", "grpcs://a b:1"] {
            assert!(matches!(bad.parse::<GlobalAddress>(), Err(AddressError::Form(_))), "{bad}");
        }
    }

    #[test]
    fn files_of_trusted_certificates() {
        let tls = |file: &str| ClientTls { root_ca_file: Some(file.into()), ..ClientTls::default() };
        let error = tls("/no/such/file").config().expect_err("absent").to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"no certificate").expect("written");
        let error = tls(&file.path().to_string_lossy()).config().expect_err("empty").to_string();
        assert!(error.contains("no PEM block CERTIFICATE"), "{error}");
        let skipping = ClientTls { skip_verify: true, ..tls("/no/such/file") };
        assert_eq!(skipping.config().expect("needs no file").alpn_protocols, [b"h2".to_vec()]);
    }

    #[tokio::test]
    async fn the_reason_of_a_failed_connection_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let address = GlobalAddress { host: "127.0.0.1".into(), port, tls: false };
        let error = connect(&address, &tcp(), None, "1").await.expect_err("nobody listens").to_string();
        assert!(error.contains("refused"), "{error}");
    }
}
