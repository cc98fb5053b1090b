//! Workload: the proxies of one deployment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Specification of a Workload: nothing; the name says it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {}

/// Status of a Workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Numbers of proxies.
    #[serde(default)]
    pub dataplane_proxies: DataplaneProxies,
}

/// Numbers of proxies of a Workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataplaneProxies {
    /// Connected to the control plane.
    pub connected: u32,
    /// With a healthy inbound.
    pub healthy: u32,
    /// All.
    pub total: u32,
}
