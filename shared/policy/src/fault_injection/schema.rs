//! Schema of MeshFaultInjection.
//!
//! Source: Kuma `pkg/plugins/policies/meshfaultinjection/api/v1alpha1/meshfaultinjection.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{FromItem, GoDuration, IntOrString, SpiffeMatch, ToItem};
use crate::target_ref::TargetRef;

/// Specification of MeshFaultInjection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Faults of incoming traffic by tags of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<FromItem<Conf>>>,
    /// Faults of traffic through gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<ToItem<Conf>>>,
    /// Faults of incoming traffic by identity of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

/// Faults of traffic from some clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The clients; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<SpiffeMatch>>,
    /// The faults.
    pub default: Conf,
}

/// Faults.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// Faults of HTTP requests, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<Fault>>,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Refuses requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Delays requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Slows responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bandwidth: Option<ResponseBandwidth>,
}

/// Refuses requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Status code of the response.
    pub http_status: i32,
    /// Share of the requests, in percent.
    pub percentage: IntOrString,
}

/// Delays requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// For how long.
    pub value: GoDuration,
    /// Share of the requests, in percent.
    pub percentage: IntOrString,
}

/// Slows responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseBandwidth {
    /// Bandwidth with a unit of kbps, Mbps or Gbps.
    pub limit: String,
    /// Share of the requests, in percent.
    pub percentage: IntOrString,
}
