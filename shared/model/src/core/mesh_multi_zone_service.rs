//! MeshMultiZoneService: MeshServices of several zones under one name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Address, Condition, HostnameGeneratorStatus, LabelSelector, Vip};
use super::mesh_service::tcp;
use crate::protocol::Protocol;
use crate::violation::{Path, Violations};

/// Specification of a MeshMultiZoneService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshMultiZoneService {
    /// The MeshServices.
    pub selector: Selector,
    /// Ports it is reached on; a MeshService takes part with its port of the same number.
    #[schemars(length(min = 1))]
    pub ports: Vec<Port>,
}

/// Selection of MeshServices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels of the MeshServices. The mesh counts only when it is named here.
    pub mesh_service: LabelSelector,
}

/// A port of a MeshMultiZoneService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name, by which policies refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port that clients call.
    pub port: u32,
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

/// Status of a MeshMultiZoneService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Virtual addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// The MeshServices it consists of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mesh_services: Vec<MatchedMeshService>,
    /// Outcome of the host name generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Observations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A MeshService that takes part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MatchedMeshService {
    /// Display name.
    pub name: String,
    /// Kubernetes namespace; empty on Universal.
    pub namespace: String,
    /// Zone it was created in.
    pub zone: String,
    /// Mesh.
    pub mesh: String,
}

impl MeshMultiZoneService {
    /// Rules beyond the schema.
    pub(super) fn validate(&self) -> Violations {
        let mut violations = Violations::none();
        let spec = Path::new("spec");
        if self.selector.mesh_service.match_labels.as_ref().is_none_or(|labels| labels.is_empty()) {
            violations.add(&spec.field("selector").field("meshService").field("matchLabels"), "cannot be empty");
        }
        let ports = spec.field("ports");
        if self.ports.is_empty() {
            violations.add(&ports, "cannot be empty");
        }
        for (index, port) in self.ports.iter().enumerate() {
            let path = ports.index(index);
            if port.name.as_ref().is_some_and(String::is_empty) {
                violations.add(&path.field("name"), "must not be empty");
            }
            let offered = Protocol::OFFERED.split(", ").any(|name| name == port.app_protocol);
            if !offered {
                let text = format!("appProtocol must be one of: {}", Protocol::OFFERED);
                violations.add(&path.field("appProtocol"), text);
            }
        }
        violations
    }
}
