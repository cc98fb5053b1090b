//! Schema of MeshPassthrough.
//!
//! Source: Kuma `pkg/plugins/policies/meshpassthrough/api/v1alpha1/meshpassthrough.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::target_ref::TargetRef;

/// Specification of MeshPassthrough.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The configuration.
    #[serde(default)]
    pub default: Conf,
}

/// What traffic may leave the mesh.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// How much of it; absent for what matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passthrough_mode: Option<PassthroughMode>,
    /// Destinations that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_match: Option<Vec<Match>>,
}

/// How much traffic may leave the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PassthroughMode {
    /// All of it.
    All,
    /// What matches.
    Matched,
    /// None of it.
    None,
}

/// A destination outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// What describes it.
    #[serde(rename = "type")]
    pub kind: MatchType,
    /// The description.
    pub value: String,
    /// Its port; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// What it speaks.
    #[serde(default)]
    pub protocol: MatchProtocol,
}

/// What describes a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// A name, possibly with a wildcard.
    Domain,
    /// An address.
    #[serde(rename = "IP")]
    Ip,
    /// A range of addresses.
    #[serde(rename = "CIDR")]
    Cidr,
}

/// What a destination outside the mesh speaks.
#[allow(missing_docs)] // the variants are the protocols' names
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchProtocol {
    #[default]
    Tcp,
    Tls,
    Grpc,
    Http,
    Http2,
    Mysql,
}

impl MatchProtocol {
    /// The name in policies and in Envoy resources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Mysql => "mysql",
        }
    }
}
