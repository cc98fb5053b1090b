//! The form of an explanation. It is what the HTTP API answers and what the programs' commands read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::target_ref::TargetRef;

/// Why the policies of one kind have the effect on a proxy that they have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindExplanation {
    /// The kind.
    pub kind: String,
    /// Policies that select the proxy or a part of it, weakest first: in the order in which they are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selected: Vec<SelectedPolicy>,
    /// Policies that have no part in it, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutPolicy>,
    /// How many there are; more than are listed where there are very many.
    pub left_out_total: usize,
    /// Rules about outgoing traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<OutboundRule>,
    /// Rules about incoming traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<InboundRule>,
    /// The rule about the proxy itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyRule>,
    /// What keeps policies from having the effect that they ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<PolicyProblem>,
}

/// A policy, as an explanation names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyName {
    /// Name under which it is stored.
    pub name: String,
    /// The name that people gave it, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its identifier.
    pub kri: String,
    /// What it selects; the whole mesh if it does not say.
    pub target_ref: TargetRef,
    /// Where it was written: `global`, `zone`, or `unknown`.
    pub origin: String,
    /// Its role: `system`, `producer`, `consumer` or `workload-owner`.
    pub role: String,
}

/// A policy that selects the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectedPolicy {
    /// The policy.
    pub policy: PolicyName,
    /// What of the proxy it selects: `all`, or sections of inbounds and host names of listeners.
    pub selects: Vec<String>,
    /// Why it is stronger than the one before it in the list; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stronger_by: Option<String>,
    /// What becomes of it.
    pub effect: Effect,
    /// What of it has no effect, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What becomes of a policy that selects the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    /// Some field of some rule is from it.
    Contributes,
    /// Stronger policies set all fields that it sets.
    Overridden,
    /// It says nothing about any destination or inbound of the proxy.
    Nothing,
}

/// A policy without part in what holds for the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutPolicy {
    /// The policy.
    pub policy: PolicyName,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
}

/// Why a policy has no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// Its kind is switched off.
    KindDisabled,
    /// It is on trial (`kuma.io/effect: shadow`).
    Shadow,
    /// It is of another zone.
    Zone,
    /// Its role keeps it within its namespace, which is another one.
    Namespace,
    /// `proxyTypes` names other types of proxies.
    ProxyType,
    /// No inbound, listener or gateway has all the tags.
    Tags,
    /// It names another Dataplane.
    Name,
    /// The Dataplane lacks a label, or has another value of it.
    Labels,
    /// No inbound has the section.
    Section,
    /// It is not for builtin gateways.
    BuiltinGateway,
    /// It is about another MeshGateway.
    Gateway,
    /// The proxy has neither inbounds nor a gateway.
    Empty,
    /// The route that it is about does not exist.
    RouteMissing,
    /// Its `targetRef` is of a kind that selects no proxies.
    Unsupported,
}

/// What policies amount to, and how they came to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The entries that were merged, weakest first.
    pub merged: Vec<Contribution>,
    /// What came out: one configuration, or of routes one for each host name.
    pub configurations: Vec<Configuration>,
}

/// An entry of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    /// Stored name of the policy.
    pub policy: String,
    /// Which entry: `to[0]`, `from[0]`, `rules[0]` or `default`.
    pub entry: String,
    /// Why it is stronger than the one before it; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stronger_by: Option<String>,
}

/// A merged configuration and where each part of it is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Configuration {
    /// The configuration.
    pub conf: Value,
    /// Its fields, in its own order.
    pub fields: Vec<Field>,
}

/// A field of a merged configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// Where it is, as a JSON pointer.
    pub path: String,
    /// Its value.
    pub value: Value,
    /// Stored name of the policy it is from.
    pub policy: String,
    /// Entry of the policy.
    pub entry: String,
    /// What weaker entries say about the field, weakest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Overridden>,
}

/// A value that had no effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overridden {
    /// Stored name of the policy it is from.
    pub policy: String,
    /// Entry of the policy.
    pub entry: String,
    /// The value.
    pub value: Value,
}

/// What holds for outgoing traffic to some destinations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutboundRule {
    /// The destinations; the same rule holds for all of them.
    pub destinations: Vec<Destination>,
    /// The rule.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Where traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// `kuma.io/service`, the type of a resource, or `Mesh` for all destinations that no rule names.
    #[serde(rename = "type")]
    pub kind: String,
    /// Value of the tag, or identifier of the resource with its port; of all other destinations the name of the mesh.
    pub name: String,
    /// Hash of the matches of the route that the rule is about, if it is not about all traffic to the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Resources of Envoy that carry the rule; only known in the zone of the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<EnvoyResource>,
}

/// What holds for incoming traffic at some inbounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundRule {
    /// The inbounds; the same rule holds for all of them.
    pub inbounds: Vec<Inbound>,
    /// Tags that a client has or, with `not`, has not; absent for all clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientTag>,
    /// Conditions on clients and requests, of kinds that have them; the entries of such a kind are not merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Value>,
    /// The rule.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An inbound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Inbound {
    /// Its name, or its port as text; of a listener of a gateway its port and host name.
    pub section: String,
    /// Port.
    pub port: u32,
    /// Resources of Envoy that carry the rule; only known in the zone of the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<EnvoyResource>,
}

/// A condition on a tag of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ClientTag {
    /// Name of the tag.
    pub key: String,
    /// Value.
    pub value: String,
    /// The client must not have it.
    pub not: bool,
}

/// What holds for the proxy itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyRule {
    /// Resources of Envoy that carry the rule; only known in the zone of the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<EnvoyResource>,
    /// The rule.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A resource of Envoy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct EnvoyResource {
    /// `Listener`, `Cluster`, `ClusterLoadAssignment`, `RouteConfiguration`, `Secret` or `Runtime`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// JSON pointers to what would be different in it without the policies of the kind; none where these say what would hold
    /// anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Something that keeps a policy from having the effect that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PolicyProblem {
    /// Stored name of the policy; empty when it is about all of the kind.
    pub policy: String,
    /// What is wrong, for a person.
    pub message: String,
}
