//! The entries of `to`, `from` and `rules`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::target_ref::TargetRef;

/// Configuration of traffic to some destinations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", bound(deserialize = "C: Deserialize<'de> + Default"))]
#[schemars(bound = "C: JsonSchema + Serialize + Default")]
pub struct ToItem<C> {
    /// The destinations.
    pub target_ref: TargetRef,
    /// The configuration.
    #[serde(default)]
    pub default: C,
}

/// Configuration of traffic from some clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", bound(deserialize = "C: Deserialize<'de> + Default"))]
#[schemars(bound = "C: JsonSchema + Serialize + Default")]
pub struct FromItem<C> {
    /// The clients.
    pub target_ref: TargetRef,
    /// The configuration.
    #[serde(default)]
    pub default: C,
}

/// Configuration of all incoming traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "C: Deserialize<'de> + Default"))]
#[schemars(bound = "C: JsonSchema + Serialize + Default")]
pub struct RuleItem<C> {
    /// The configuration.
    #[serde(default)]
    pub default: C,
}
