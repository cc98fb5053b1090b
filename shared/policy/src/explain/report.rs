//! The form of answers about a whole proxy, and about a whole mesh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::KindExplanation;

/// Why policies have the effect on a proxy that they have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The proxy.
    pub proxy: ProxyName,
    /// By kind of policy: those that were asked for, else those that say something.
    pub policies: Vec<KindExplanation>,
    /// Whether resources of Envoy are named.
    pub envoy: EnvoyKnowledge,
    /// What a policy that is not stored would change; only when one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ProxyChange>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProxyName {
    /// `Dataplane` or `ZoneEgress`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its mesh; empty for a ZoneEgress.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mesh: String,
    /// Its name.
    pub name: String,
    /// Its zone, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Whether the control plane that answers knows the configurations of Envoys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvoyKnowledge {
    /// True in the zone of the proxies.
    pub known: bool,
    /// Where to ask, or what kept the configuration from being made; absent when nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a change of a policy would change for a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyChange {
    /// The proxy.
    pub proxy: ProxyName,
    /// What would hold instead of what holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleChange>,
    /// The difference in its Envoy configuration as a JSON patch, as `_config?include=diff` shows it; absent where that is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Vec<Value>>,
    /// Why the difference is not known, if it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A rule that would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleChange {
    /// Kind of the policies.
    pub kind: String,
    /// What it is about: `to …`, `inbound …`, or `proxy`.
    pub about: String,
    /// What holds now; absent when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What would hold; absent when nothing would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What a change of a policy would change in the whole mesh. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Always true.
    pub dry_run: bool,
    /// `created`, `updated`, `unchanged` or `deleted`.
    pub result: String,
    /// What a writer should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How many proxies of the mesh the policy would select, changed or not.
    pub selected: usize,
    /// How many proxies would change.
    pub total: usize,
    /// Those of the page that was asked for, sorted by name.
    pub items: Vec<ProxyChange>,
    /// Address of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Proxies of the mesh that never connected: it is not known what their Envoys would be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_connected: Vec<ProxyName>,
    /// Whether differences in the configurations of Envoys are told.
    pub envoy: EnvoyKnowledge,
}
