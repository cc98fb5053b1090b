//! The HTTP API.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::Tls;

/// The HTTP API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiServer {
    /// The plain listener.
    pub http: HttpServer,
    /// The TLS listener.
    pub https: HttpsServer,
    /// Client certificates.
    pub auth: ClientCertificates,
    /// Who a client is.
    pub authn: Authn,
    /// Refuse all writes.
    pub read_only: bool,
    /// Regular expressions for origins that browsers may call from; empty sends no CORS headers.
    pub cors_allowed_domains: Vec<String>,
    /// Prefix of all paths, starts with `/`.
    pub base_path: String,
    /// Where browsers reach the API; empty for the host that they have the web page from.
    pub root_url: String,
    /// The web page.
    pub gui: Gui,
}

/// The web page.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gui {
    /// Whether it is there.
    pub enabled: bool,
    /// Prefix of its paths, starts with `/`; independent of that of the API.
    pub base_path: String,
    /// Where browsers reach it, when that is not `base_path` on this server; empty for there.
    pub root_url: String,
}

/// The plain listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpServer {
    /// Whether it is there.
    pub enabled: bool,
    /// Address it listens on.
    pub interface: IpAddr,
    /// Port it listens on.
    pub port: u16,
}

/// The TLS listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpsServer {
    /// Whether it is there.
    pub enabled: bool,
    /// Address it listens on.
    pub interface: IpAddr,
    /// Port it listens on.
    pub port: u16,
    /// TLS settings; `tlsCaFile` is [`HttpsServer::tls_ca_file`].
    pub tls: Tls,
    /// File with the CAs of client certificates; empty for none.
    pub tls_ca_file: PathBuf,
    /// Whether clients must have a certificate.
    pub require_client_cert: bool,
}

/// Client certificates.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificates {
    /// Directory of CA files (`.pem`, `.crt`) for client certificates; empty for none.
    pub client_certs_dir: PathBuf,
}

/// Who a client is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authn {
    /// `tokens` or `adminClientCerts`.
    pub r#type: String,
    /// Clients on a direct loopback connection are administrators.
    pub localhost_is_admin: bool,
    /// User tokens.
    pub tokens: UserTokens,
}

/// User tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserTokens {
    /// Create the secret `admin-user-token`.
    pub bootstrap_admin_token: bool,
    /// Whether user tokens are issued.
    pub enable_issuer: bool,
    /// How they are verified.
    pub validator: Validator,
}

/// How tokens are verified.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Validator {
    /// With the signing keys in the store.
    pub use_secrets: bool,
    /// With these keys.
    pub public_keys: Vec<PublicKey>,
}

/// A public key that verifies tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    /// Id of the key, as in the header of the token.
    pub kid: String,
    /// The key in PEM; empty when `key_file` is set.
    #[serde(default)]
    pub key: String,
    /// File with the key in PEM; empty when `key` is set.
    #[serde(default)]
    pub key_file: PathBuf,
    /// Mesh of the dataplane tokens that it verifies; empty is all.
    #[serde(default)]
    pub mesh: String,
}
