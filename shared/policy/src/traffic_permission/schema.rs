//! Schema of MeshTrafficPermission.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrafficpermission/api/v1alpha1/meshtrafficpermission.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{FromItem, SpiffeMatch};
use crate::target_ref::TargetRef;

/// Specification of MeshTrafficPermission.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Permissions by tags of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<FromItem<Conf>>>,
    /// Permissions by identity of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

/// What happens to requests of a group of clients.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// What happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
    /// It passes and is logged as if it had been refused.
    AllowWithShadowDeny,
}

/// Permissions by identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// The permissions.
    pub default: RuleConf,
}

/// Clients by what happens to their requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleConf {
    /// Their requests are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<SpiffeMatch>>,
    /// Their requests pass and are logged as if refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_with_shadow_deny: Option<Vec<SpiffeMatch>>,
    /// Their requests pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<SpiffeMatch>>,
}
