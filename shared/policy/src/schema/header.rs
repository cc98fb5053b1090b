//! Matches and references used by several policies.
//!
//! Source: Kuma `api/common/v1alpha1/{header,match,targetref}.go`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_empty;
use crate::target_ref::{ProxyType, TargetKind, TargetRef};

/// Pattern of the name of a header.
pub const HEADER_NAME: &str = r"^[a-z0-9!#$%&'*+\-.^_\x60|~]+$";

/// How a header value is compared.
#[allow(missing_docs)] // the variants are the names users write
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum HeaderMatchType {
    #[default]
    Exact,
    Present,
    RegularExpression,
    Absent,
    Prefix,
}

/// A condition on an HTTP header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HeaderMatch {
    /// How the value is compared.
    #[serde(default, rename = "type")]
    pub kind: HeaderMatchType,
    /// Name of the header, in lower case.
    #[schemars(length(min = 1, max = 256), regex(pattern = HEADER_NAME))]
    pub name: String,
    /// Value, or pattern; empty for comparisons that need none.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub value: String,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HeaderKeyValue {
    /// Name, in lower case.
    #[schemars(length(min = 1, max = 256), regex(pattern = HEADER_NAME))]
    pub name: String,
    /// Value; several are separated by commas.
    pub value: String,
}

/// Changes to headers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HeaderChanges {
    /// Headers that are replaced.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<HeaderKeyValue>>,
    /// Headers that are added.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<HeaderKeyValue>>,
}

/// How a SPIFFE identity is compared.
#[allow(missing_docs)] // the variants are the names users write
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SpiffeIdMatchType {
    Exact,
    Prefix,
}

/// A condition on the SPIFFE identity of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SpiffeIdMatch {
    /// How the identity is compared.
    #[serde(rename = "type")]
    pub kind: SpiffeIdMatchType,
    /// Identity, or the beginning of one.
    pub value: String,
}

/// A condition on a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SpiffeMatch {
    /// Condition on its identity.
    #[serde(default, rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeIdMatch>,
}

/// A destination of a route: a reference with a weight and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the fields are those of `TargetRef`
pub struct BackendRef {
    pub kind: TargetKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_types: Option<Vec<ProxyType>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Share of the traffic relative to the other destinations; zero for none.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Port of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
}

fn default_weight() -> u32 {
    1
}

impl BackendRef {
    /// The reference without weight and port.
    pub fn target_ref(&self) -> TargetRef {
        TargetRef {
            kind: self.kind,
            name: self.name.clone(),
            tags: self.tags.clone(),
            mesh: self.mesh.clone(),
            proxy_types: self.proxy_types.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            section_name: self.section_name.clone(),
        }
    }

    /// True when it names a resource, as opposed to a value of `kuma.io/service`.
    pub fn references_resource(&self) -> bool {
        match self.kind {
            TargetKind::MeshServiceSubset => false,
            TargetKind::MeshService => {
                self.section_name.as_deref().is_some_and(|name| !name.is_empty()) || self.port.is_some()
            }
            _ => true,
        }
    }
}
