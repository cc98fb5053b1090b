//! Virtual addresses of services known by the tag `kuma.io/service`: what a zone keeps of them in a Config of the mesh, and the
//! outbounds and host names that follow for proxies.
//!
//! Source of the formats and rules: Kuma `pkg/dns/vips`, `pkg/xds/topology/dns.go`.

mod expansion;
mod format;
mod tag_first;

use std::collections::BTreeMap;
use std::fmt;

use crate::tags::Tags;

pub use expansion::{Expansion, VipOutbound, expand, reachable};
pub use format::{FormatError, parse, to_json};
pub use tag_first::to_tag_first_json;

/// Origin of an outbound that stands for a service.
pub const ORIGIN_SERVICE: &str = "service";

/// Beginning of the origin of an outbound that a VirtualOutbound makes; its name follows.
pub const ORIGIN_VIRTUAL_OUTBOUND: &str = "virtual-outbound:";

/// Beginning of the origin of an outbound to the host of an ExternalService; its name follows.
pub const ORIGIN_EXTERNAL_SERVICE: &str = "external-service:";

/// Beginning of the origin of an outbound to a gateway; `{mesh}:{name}:{host name}` follows.
pub const ORIGIN_GATEWAY: &str = "mesh-gateway:";

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameKind {
    /// A value of the tag `kuma.io/service`.
    Service,
    /// Host of an ExternalService: a host name or an IP address.
    Host,
    /// A whole host name: of a VirtualOutbound or a gateway.
    Domain,
}

impl NameKind {
    /// The number that stands for it in the Config.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Service => 0,
            Self::Host => 1,
            Self::Domain => 2,
        }
    }

    pub(crate) fn from_number(number: &str) -> Option<Self> {
        [Self::Service, Self::Host, Self::Domain].into_iter().find(|kind| kind.number().to_string() == number)
    }
}

/// A name with a virtual address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipName {
    /// What it is.
    pub kind: NameKind,
    /// The name.
    pub name: String,
}

impl VipName {
    /// A name of a kind.
    pub fn new(kind: NameKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// For people, such as `service:web`.
impl fmt::Display for VipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NameKind::Service => "service",
            NameKind::Host => "host",
            NameKind::Domain => "fqdn",
        };
        write!(f, "{kind}:{}", self.name)
    }
}

/// What is behind a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vip {
    /// Virtual address; empty when there was none left.
    pub address: String,
    /// Ports and where they lead; at least one, sorted by port.
    pub outbounds: Vec<VipTarget>,
}

/// A port of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipTarget {
    /// Port; 0 for the port that all services have (`dnsServer.serviceVipPort`).
    pub port: u32,
    /// Tags of the service it leads to.
    pub tags: Tags,
    /// What it comes from: [`ORIGIN_SERVICE`] or text that begins with one of the other origins.
    pub origin: String,
}

/// The names of a mesh.
pub type Vips = BTreeMap<VipName, Vip>;

/// Name of the Config that keeps the virtual addresses of a mesh.
pub fn config_name(mesh: &str) -> String {
    format!("kuma-{mesh}-dns-vips")
}

/// The mesh whose virtual addresses a Config of this name keeps; `None` for other Configs.
pub fn mesh_of_config(name: &str) -> Option<&str> {
    name.strip_prefix("kuma-")?.strip_suffix("-dns-vips").filter(|mesh| !mesh.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_are_named_after_meshes() {
        assert_eq!(config_name("default"), "kuma-default-dns-vips");
        assert_eq!(mesh_of_config("kuma-a-b-dns-vips"), Some("a-b"));
        for other in ["kuma-cluster-id", "kuma-dns-vips", "kuma--dns-vips", "kuma-m-internal-config"] {
            assert_eq!(mesh_of_config(other), None, "{other}");
        }
    }
}
