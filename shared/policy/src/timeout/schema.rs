//! Schema of MeshTimeout.
//!
//! Source: Kuma `pkg/plugins/policies/meshtimeout/api/v1alpha1/meshtimeout.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{FromItem, GoDuration, RuleItem, ToItem};
use crate::target_ref::TargetRef;

/// Specification of MeshTimeout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Timeouts of outgoing traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<ToItem<Conf>>>,
    /// Timeouts of incoming traffic, older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<FromItem<Conf>>>,
    /// Timeouts of incoming traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleItem<Conf>>>,
}

/// Timeouts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// How long establishing a TCP connection may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_timeout: Option<GoDuration>,
    /// How long a connection may carry no byte; zero for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<GoDuration>,
    /// Timeouts of HTTP requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// Timeouts of HTTP requests; zero disables each of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// How long a request may take until the response begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<GoDuration>,
    /// How long a stream may be without activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<GoDuration>,
    /// How long a stream may live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<GoDuration>,
    /// How long a connection may live before it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<GoDuration>,
    /// How long the headers of a request may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers_timeout: Option<GoDuration>,
}
