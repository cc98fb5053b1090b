//! MeshService: a service of one zone.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Address, Condition, HostnameGeneratorStatus, Vip};
use crate::protocol::Protocol;
use crate::schema::IntOrString;

/// Specification of a MeshService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshService {
    /// Whether a healthy proxy serves it. A body without it means [`State::Unavailable`].
    #[serde(default)]
    pub state: State,
    /// The proxies that serve it.
    #[serde(default)]
    pub selector: Selector,
    /// Ports it is reached on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Identities its proxies present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Vec<Identity>>,
}

/// Whether a MeshService can be called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// A healthy proxy serves it.
    Available,
    /// None does.
    #[default]
    Unavailable,
}

/// Selection of proxies: by reference, else by tags; nothing when both are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Tags that one tag set of the Dataplane has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataplane_tags: Option<BTreeMap<String, String>>,
    /// One Dataplane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataplane_ref: Option<DataplaneRef>,
}

/// Reference to a Dataplane of the same mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataplaneRef {
    /// Name of the Dataplane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A port of a MeshService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name, by which policies refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port that clients call.
    pub port: u32,
    /// Port or name of the inbound behind it; absent matches none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// Protocol, as in the tag `kuma.io/protocol`.
    #[serde(default = "tcp")]
    pub app_protocol: String,
}

impl Port {
    /// The protocol spoken on the port.
    pub fn protocol(&self) -> Protocol {
        Protocol::parse(&self.app_protocol)
    }

    /// Name by which identifiers and policies refer to the port: its own, else the number.
    pub fn section_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.port.to_string())
    }
}

pub(super) fn tcp() -> String {
    Protocol::Tcp.name().to_owned()
}

/// An identity of the proxies of a MeshService.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Form of `value`.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// A value of the tag `kuma.io/service`, or a SPIFFE ID.
    pub value: String,
}

/// Form of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum IdentityType {
    /// A value of the tag `kuma.io/service`.
    ServiceTag,
    /// A SPIFFE ID.
    SpiffeID,
}

/// Status of a MeshService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Virtual addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// Whether its proxies speak mutual TLS.
    #[serde(default)]
    pub tls: Tls,
    /// Outcome of the host name generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Observations of this control plane; not a part of Kuma's format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Numbers of proxies.
    #[serde(default)]
    pub dataplane_proxies: DataplaneProxies,
}

/// Whether the proxies of a MeshService speak mutual TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    /// Absent until it was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TlsStatus>,
}

/// Readiness for mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsStatus {
    /// All proxies have certificates.
    Ready,
    /// Some have none.
    NotReady,
}

/// Numbers of proxies behind a MeshService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataplaneProxies {
    /// Connected to the control plane.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connected: u32,
    /// With all inbounds of the service healthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub healthy: u32,
    /// All.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes references
fn is_zero(number: &u32) -> bool {
    *number == 0
}
