//! Schema of MeshProxyPatch.
//!
//! Source: Kuma `pkg/plugins/policies/meshproxypatch/api/v1alpha1/meshproxypatch.go`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::target_ref::TargetRef;

/// Specification of MeshProxyPatch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The configuration.
    pub default: Conf,
}

/// Changes to the configuration of the proxy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// The changes, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_modifications: Option<Vec<Modification>>,
}

/// A change to one kind of Envoy resource.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Modification {
    /// Clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterMod>,
    /// Listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerMod>,
    /// Network filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_filter: Option<NetworkFilterMod>,
    /// HTTP filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_filter: Option<HttpFilterMod>,
    /// Virtual hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<VirtualHostMod>,
}

/// What is done to resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    /// One is added.
    Add,
    /// They are removed.
    Remove,
    /// They are changed.
    Patch,
}

/// What is done to filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FilterOperation {
    /// They are removed.
    Remove,
    /// They are changed.
    Patch,
    /// One is added before all others.
    AddFirst,
    /// One is added before them.
    AddBefore,
    /// One is added after them.
    AddAfter,
    /// One is added after all others.
    AddLast,
}

/// A change to clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMod {
    /// Which of them; absent for all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<ClusterMatch>,
    /// What is done.
    pub operation: Operation,
    /// Envoy resource as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes to the resource as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

/// Which clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMatch {
    /// What generated them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A change to listeners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerMod {
    /// Which of them; absent for all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<ListenerMatch>,
    /// What is done.
    pub operation: Operation,
    /// Envoy resource as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes to the resource as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

/// Which listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerMatch {
    /// What generated them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags of their inbound or outbound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// A change to network filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkFilterMod {
    /// Which of them; absent for all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<FilterMatch>,
    /// What is done.
    pub operation: FilterOperation,
    /// Envoy resource as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes to the resource as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

/// A change to HTTP filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpFilterMod {
    /// Which of them; absent for all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<FilterMatch>,
    /// What is done.
    pub operation: FilterOperation,
    /// Envoy resource as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes to the resource as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

/// Which filters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterMatch {
    /// What generated their listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of their listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_name: Option<String>,
    /// Tags of their inbound or outbound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_tags: Option<BTreeMap<String, String>>,
}

/// A change to virtual hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualHostMod {
    /// Which of them.
    #[serde(rename = "match")]
    pub matches: VirtualHostMatch,
    /// What is done.
    pub operation: Operation,
    /// Envoy resource as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes to the resource as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

/// Which virtual hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualHostMatch {
    /// What generated their listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of their route table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_configuration_name: Option<String>,
}

/// A change to a JSON document, as in RFC 6902.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonPatch {
    /// What is done.
    pub op: JsonPatchOp,
    /// Where.
    pub path: String,
    /// What is added, or replaces what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What is moved or copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What is done to a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JsonPatchOp {
    /// A value is added.
    #[serde(rename = "add")]
    Add,
    /// A value is removed.
    #[serde(rename = "remove")]
    Remove,
    /// A value is replaced.
    #[serde(rename = "replace")]
    Replace,
    /// A value is moved.
    #[serde(rename = "move")]
    Move,
    /// A value is copied.
    #[serde(rename = "copy")]
    Copy,
}
