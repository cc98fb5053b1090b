//! MeshExternalService: a service outside of the mesh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Address, Condition, DataSource, Extension, HostnameGeneratorStatus, Vip};
use crate::name::{is_dns_name, is_ip};
use crate::protocol::Protocol;
use crate::schema::PortNumber;
use crate::violation::{Path, Violations};

/// Specification of a MeshExternalService.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeshExternalService {
    /// How clients call it.
    #[serde(rename = "match")]
    pub matching: Match,
    /// Settings for a plugin that takes the place of `endpoints` and `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// TLS towards it, added by the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// How clients call a MeshExternalService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Match {
    /// Where its name comes from.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Port that clients call.
    pub port: PortNumber,
    /// Protocol spoken.
    #[serde(default)]
    pub protocol: MatchProtocol,
}

/// Where the name of a MeshExternalService comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// A HostnameGenerator.
    #[default]
    HostnameGenerator,
}

/// Protocol of a MeshExternalService.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchProtocol {
    /// Any TCP protocol.
    #[default]
    Tcp,
    /// gRPC.
    Grpc,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
}

impl From<MatchProtocol> for Protocol {
    fn from(protocol: MatchProtocol) -> Self {
        match protocol {
            MatchProtocol::Tcp => Self::Tcp,
            MatchProtocol::Grpc => Self::Grpc,
            MatchProtocol::Http => Self::Http,
            MatchProtocol::Http2 => Self::Http2,
        }
    }
}

/// One place of a MeshExternalService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// IP address or host name.
    #[schemars(length(min = 1))]
    pub address: String,
    /// Port.
    pub port: PortNumber,
}

/// TLS towards a MeshExternalService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Whether the proxy adds TLS.
    #[serde(default)]
    pub enabled: bool,
    /// Versions of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<TlsVersions>,
    /// Whether the server may renegotiate.
    #[serde(default)]
    pub allow_renegotiation: bool,
    /// Verification of the server, and the client's own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// Range of TLS versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsVersions {
    /// Oldest version.
    #[serde(default)]
    pub min: TlsVersion,
    /// Newest version.
    #[serde(default)]
    pub max: TlsVersion,
}

/// A TLS version, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// What Envoy prefers.
    #[default]
    TLSAuto,
    /// TLS 1.0.
    TLS10,
    /// TLS 1.1.
    TLS11,
    /// TLS 1.2.
    TLS12,
    /// TLS 1.3.
    TLS13,
}

/// Verification of the server, and the client's own certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What is verified.
    #[serde(default)]
    pub mode: VerificationMode,
    /// Name for SNI in place of the endpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Names of which the server's certificate has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_alt_names: Option<Vec<SanMatch>>,
    /// Authority of the server's certificate; absent means those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<DataSource>,
    /// Certificate of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<DataSource>,
    /// Key of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<DataSource>,
}

/// What is verified of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMode {
    /// Not the names.
    SkipSAN,
    /// Not the authority.
    SkipCA,
    /// All.
    #[default]
    Secured,
    /// Nothing.
    SkipAll,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SanMatch {
    /// How `value` is compared.
    #[serde(rename = "type", default)]
    pub kind: SanMatchType,
    /// The name or its beginning.
    pub value: String,
}

/// How a name in a certificate is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SanMatchType {
    /// Equal.
    #[default]
    Exact,
    /// Begins with.
    Prefix,
}

/// Status of a MeshExternalService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Virtual address.
    #[serde(default)]
    pub vip: Vip,
    /// Host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Outcome of the host name generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Observations of this control plane; not a part of Kuma's format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl MeshExternalService {
    /// Rules beyond the schema.
    pub(super) fn validate(&self) -> Violations {
        let mut violations = Violations::none();
        let spec = Path::new("spec");
        if let Some(extension) = &self.extension {
            if extension.kind.is_empty() {
                violations.add(&spec.field("extension").field("type"), "must not be empty");
            }
            // Endpoints and TLS are the extension's business.
            return violations;
        }
        for (index, endpoint) in self.endpoints.iter().flatten().enumerate() {
            if !is_ip(&endpoint.address) && !is_dns_name(&endpoint.address) {
                let path = spec.field("endpoints").index(index).field("address");
                violations.add(&path, "address has to be a valid IP or hostname");
            }
        }
        if let Some(tls) = &self.tls {
            violations.extend(tls.validate(&spec.field("tls")));
        }
        violations
    }
}

impl Tls {
    fn validate(&self, path: &Path) -> Violations {
        let mut violations = Violations::none();
        if let Some(TlsVersions { min, max }) = self.version
            && max != TlsVersion::TLSAuto
            && min > max
        {
            violations.add(&path.field("version").field("min"), "min version must be lower than max");
        }
        let Some(verification) = &self.verification else { return violations };
        let path = path.field("verification");
        if verification.server_name.as_ref().is_some_and(|name| !is_dns_name(name)) {
            violations.add(&path.field("serverName"), "must be a valid DNS name");
        }
        match (&verification.client_cert, &verification.client_key) {
            (Some(_), None) => violations.add(&path.field("clientKey"), "must be defined when clientCert is defined"),
            (None, Some(_)) => violations.add(&path.field("clientCert"), "must be defined when clientKey is defined"),
            _ => {}
        }
        violations
    }
}
