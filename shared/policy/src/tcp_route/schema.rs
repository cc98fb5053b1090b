//! Schema of MeshTCPRoute.
//!
//! Source: Kuma `pkg/plugins/policies/meshtcproute/api/v1alpha1/meshtcproute.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::BackendRef;
use crate::target_ref::TargetRef;

/// Specification of MeshTCPRoute.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Routes by destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub to: Option<Vec<To>>,
}

/// Routes of connections to one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct To {
    /// The destination.
    pub target_ref: TargetRef,
    /// The route; at most one.
    #[schemars(length(max = 1))]
    pub rules: Vec<Rule>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Where connections go.
    pub default: RuleConf,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleConf {
    /// The destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}
