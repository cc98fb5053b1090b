//! What a proxy tells of itself in the node of its first request.
//!
//! Source of the format: Kuma `pkg/core/xds/metadata.go`, `pkg/core/xds/types/features.go` and
//! `pkg/transparentproxy/config/dataplane`. Nothing in a node can make reading fail: what is missing or mistyped counts
//! as absent.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use tandem_model::Kind;

/// Mesh and name of a proxy, as its node id gives them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeId {
    /// Mesh; empty for zone proxies.
    pub mesh: String,
    /// Name of the proxy's resource.
    pub name: String,
}

/// The node id names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// The id is empty.
    #[error("Envoy ID must not be nil")]
    Empty,
    /// There is no dot, or nothing after it.
    #[error("the name should be provided after the dot")]
    NoName,
}

impl NodeId {
    /// Splits `{mesh}.{name}` at the first dot.
    ///
    /// # Errors
    /// When the id is empty or has no name.
    pub fn parse(id: &str) -> Result<Self, NodeIdError> {
        if id.is_empty() {
            return Err(NodeIdError::Empty);
        }
        match id.split_once('.') {
            Some((mesh, name)) if !name.is_empty() => Ok(Self { mesh: mesh.to_owned(), name: name.to_owned() }),
            _ => Err(NodeIdError::NoName),
        }
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.mesh, self.name)
    }
}

/// Kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ProxyType {
    /// Beside an application, or a gateway.
    #[default]
    Dataplane,
    /// Takes traffic from other zones.
    Ingress,
    /// Sends traffic to other zones and to the outside.
    Egress,
}

impl ProxyType {
    /// Kind of the resource that describes the proxy.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Dataplane => Kind::Dataplane,
            Self::Ingress => Kind::ZoneIngress,
            Self::Egress => Kind::ZoneEgress,
        }
    }

    /// The type with this name; `None` for an unknown one.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "dataplane" => Some(Self::Dataplane),
            "ingress" => Some(Self::Ingress),
            "egress" => Some(Self::Egress),
            _ => None,
        }
    }
}

/// What the proxy's software can do; decides how its configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features {
    /// `feature-embedded-dns`: names are resolved by kuma-dp, from records published on the dynamic-config listener.
    pub embedded_dns: bool,
    /// `feature-transparent-proxy-in-dataplane-metadata`: redirection is described in the node, not in the Dataplane.
    pub transparent_proxy_in_metadata: bool,
    /// `feature-bind-outbounds`: outbound listeners listen on their own addresses without redirection.
    pub bind_outbounds: bool,
    /// `feature-unified-resource-naming`: resources are named by resource identifiers.
    pub unified_naming: bool,
    /// `feature-spire`: a SPIRE agent can provide the identity.
    pub spire: bool,
    /// `feature-readiness-unix-socket`: readiness is reported on a Unix socket.
    pub readiness_unix_socket: bool,
    /// `feature-strict-inbound-ports`: redirected inbound traffic may go to declared ports only.
    pub strict_inbound_ports: bool,
    /// `feature-reuse-port`: listeners share their port between workers.
    pub reuse_port: bool,
    /// `feature-delta-grpc`: the proxy uses the delta variant of the discovery protocol.
    pub delta_grpc: bool,
}

impl Features {
    /// The features with these names; unknown names are passed over.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut features = Self::default();
        for name in names {
            match name {
                "feature-embedded-dns" => features.embedded_dns = true,
                "feature-transparent-proxy-in-dataplane-metadata" => features.transparent_proxy_in_metadata = true,
                "feature-bind-outbounds" => features.bind_outbounds = true,
                "feature-unified-resource-naming" => features.unified_naming = true,
                "feature-spire" => features.spire = true,
                "feature-readiness-unix-socket" => features.readiness_unix_socket = true,
                "feature-strict-inbound-ports" => features.strict_inbound_ports = true,
                "feature-reuse-port" => features.reuse_port = true,
                "feature-delta-grpc" => features.delta_grpc = true,
                _ => {}
            }
        }
        features
    }
}

/// Which IP families are redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamilyMode {
    /// Both; also what is not specified.
    #[default]
    DualStack,
    /// IPv4 only.
    Ipv4,
}

/// Redirection of one direction of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Redirect {
    /// Whether traffic is redirected.
    pub enabled: bool,
    /// Port it is redirected to.
    pub port: u32,
}

/// Redirection of the traffic of the proxy's host, as described in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransparentProxyMetadata {
    /// IP families.
    pub ip_family_mode: IpFamilyMode,
    /// Inbound traffic.
    pub inbound: Redirect,
    /// Outbound traffic.
    pub outbound: Redirect,
}

/// The defaults of the transparent proxy's installer.
impl Default for TransparentProxyMetadata {
    fn default() -> Self {
        Self {
            ip_family_mode: IpFamilyMode::DualStack,
            inbound: Redirect { enabled: true, port: 15006 },
            outbound: Redirect { enabled: true, port: 15001 },
        }
    }
}

/// Versions a proxy reports, for its insight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportedVersions {
    /// `version.kumaDp`: keys `version`, `gitTag`, `gitCommit`, `buildDate`.
    pub kuma_dp: BTreeMap<String, String>,
    /// `version.envoy`: keys `version`, `build`, …
    pub envoy: BTreeMap<String, String>,
    /// `version.dependencies` and members of `dynamicMetadata` with the prefix `version.dependencies.`.
    pub dependencies: BTreeMap<String, String>,
}

/// What a proxy tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyMetadata {
    /// Kind of proxy.
    pub proxy_type: ProxyType,
    /// Text (YAML or JSON) of the resource to register for the proxy; `None` when the resource is to be in the store already.
    pub resource: Option<String>,
    /// Port of Envoy's administration interface; 0 when it has none.
    pub admin_port: u32,
    /// Address of Envoy's administration interface as given; empty when not.
    pub admin_address: String,
    /// Port on which kuma-dp reports readiness; 0 when not given.
    pub readiness_port: u32,
    /// Port of the name server on the proxy's host; 0 when there is none.
    pub dns_port: u32,
    /// kuma-dp itself answers probes of the application.
    pub app_probe_proxy: bool,
    /// What the software can do.
    pub features: Features,
    /// Folder of the proxy's sockets.
    pub workdir: String,
    /// Path of the certificates of the proxy's system; empty when not given.
    pub system_ca_path: String,
    /// Path of the certificate for metrics; empty when not given.
    pub metrics_cert_path: String,
    /// Path of the key for metrics; empty when not given.
    pub metrics_key_path: String,
    /// Path of the socket of the SPIRE agent; empty when not given.
    pub spire_socket_path: String,
    /// The host has IPv6.
    pub ipv6_enabled: bool,
    /// Redirection described in the node; `None` when not.
    pub transparent_proxy: Option<TransparentProxyMetadata>,
    /// Versions, for the insight.
    pub versions: ReportedVersions,
}

impl Default for ProxyMetadata {
    fn default() -> Self {
        Self {
            proxy_type: ProxyType::default(),
            resource: None,
            admin_port: 0,
            admin_address: String::new(),
            readiness_port: 0,
            dns_port: 0,
            app_probe_proxy: false,
            features: Features::default(),
            workdir: String::new(),
            system_ca_path: String::new(),
            metrics_cert_path: String::new(),
            metrics_key_path: String::new(),
            spire_socket_path: String::new(),
            ipv6_enabled: true,
            transparent_proxy: None,
            versions: ReportedVersions::default(),
        }
    }
}

/// Reads members of a struct; what is absent or of another type reads as `None`.
#[derive(Clone, Copy)]
struct Members<'a>(Option<&'a Struct>);

impl<'a> Members<'a> {
    fn kind(self, name: &str) -> Option<&'a ValueKind> {
        self.0?.fields.get(name)?.kind.as_ref()
    }

    fn text(self, name: &str) -> Option<&'a str> {
        match self.kind(name)? {
            ValueKind::StringValue(text) => Some(text),
            _ => None,
        }
    }

    fn owned(self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn flag(self, name: &str) -> Option<bool> {
        match self.kind(name)? {
            ValueKind::BoolValue(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A port written as a decimal string; 0 when absent or no port.
    fn port(self, name: &str) -> u32 {
        self.text(name).and_then(|text| text.parse::<u16>().ok()).map_or(0, u32::from)
    }

    /// A port written as a number or as a decimal string.
    fn number_port(self, name: &str) -> Option<u32> {
        match self.kind(name)? {
            ValueKind::NumberValue(number)
                if *number >= 0.0 && *number <= f64::from(u16::MAX) && number.fract() == 0.0 =>
            {
                // In range and whole, as just checked.
                Some(*number as u32)
            }
            ValueKind::StringValue(text) => text.parse::<u16>().ok().map(u32::from),
            _ => None,
        }
    }

    fn members(self, name: &str) -> Members<'a> {
        Members(match self.kind(name) {
            Some(ValueKind::StructValue(members)) => Some(members),
            _ => None,
        })
    }

    fn list(self, name: &str) -> &'a [Value] {
        match self.kind(name) {
            Some(ValueKind::ListValue(list)) => &list.values,
            _ => &[],
        }
    }

    fn texts(self) -> BTreeMap<String, String> {
        let members = self.0.into_iter().flat_map(|members| members.fields.keys());
        members.filter_map(|name| Some((name.clone(), self.text(name)?.to_owned()))).collect()
    }
}

fn redirect(members: Members<'_>, default: Redirect) -> Redirect {
    Redirect {
        enabled: members.flag("enabled").unwrap_or(default.enabled),
        port: members.number_port("port").unwrap_or(default.port),
    }
}

fn transparent_proxy(members: Members<'_>) -> Option<TransparentProxyMetadata> {
    members.0?;
    let default = TransparentProxyMetadata::default();
    let directions = members.members("redirect");
    Some(TransparentProxyMetadata {
        ip_family_mode: match members.text("ipFamilyMode") {
            Some(mode) if mode.eq_ignore_ascii_case("ipv4") => IpFamilyMode::Ipv4,
            _ => IpFamilyMode::DualStack,
        },
        inbound: redirect(directions.members("inbound"), default.inbound),
        outbound: redirect(directions.members("outbound"), default.outbound),
    })
}

fn versions(members: Members<'_>) -> ReportedVersions {
    const PREFIX: &str = "version.dependencies.";
    let version = members.members("version");
    let mut dependencies = version.members("dependencies").texts();
    for (name, value) in members.members("dynamicMetadata").texts() {
        if let Some(name) = name.strip_prefix(PREFIX) {
            dependencies.insert(name.to_owned(), value);
        }
    }
    ReportedVersions {
        kuma_dp: version.members("kumaDp").texts(),
        envoy: version.members("envoy").texts(),
        dependencies,
    }
}

impl ProxyMetadata {
    /// Reads the metadata of a node.
    pub fn from_node(node: &Node) -> Self {
        let members = Members(node.metadata.as_ref());
        let features = members.list("features").iter().filter_map(|value| match &value.kind {
            Some(ValueKind::StringValue(name)) => Some(name.as_str()),
            _ => None,
        });
        Self {
            proxy_type: members.text("dataplane.proxyType").and_then(ProxyType::parse).unwrap_or_default(),
            resource: members.text("dataplane.resource").filter(|text| !text.is_empty()).map(str::to_owned),
            admin_port: members.port("dataplane.admin.port"),
            admin_address: members.owned("dataplane.admin.address"),
            readiness_port: members.port("dataplane.readinessReporter.port"),
            dns_port: members.port("dataplane.dns.port"),
            app_probe_proxy: members.text("dataplane.appProbeProxy.enabled") == Some("true"),
            features: Features::from_names(features),
            workdir: members.owned("workdir"),
            system_ca_path: members.owned("systemCaPath"),
            metrics_cert_path: members.owned("metricsCertPath"),
            metrics_key_path: members.owned("metricsKeyPath"),
            spire_socket_path: members.owned("spireAgent.socketPath"),
            ipv6_enabled: members.flag("ipv6Enabled").unwrap_or(true),
            transparent_proxy: transparent_proxy(members.members("transparentProxy")),
            versions: versions(members),
        }
    }

    /// Path of a socket in the proxy's work folder: `{path, at most 98 bytes}.sock`.
    pub fn socket(&self, name: &str) -> String {
        /// Longest path without the suffix: the limit of Unix sockets leaves room for it and a terminator.
        const LIMIT: usize = 98;
        let mut path = if self.workdir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.workdir) };
        let mut end = path.len().min(LIMIT);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        path.truncate(end);
        path + ".sock"
    }
}
