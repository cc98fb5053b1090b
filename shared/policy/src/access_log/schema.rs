//! Schema of MeshAccessLog.
//!
//! Source: Kuma `pkg/plugins/policies/meshaccesslog/api/v1alpha1/meshaccesslog.go`.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::schema::{FromItem, RuleItem, ToItem};
use crate::target_ref::TargetRef;

/// Specification of MeshAccessLog.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Logs of outgoing traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = default_is_required)]
    pub to: Option<Vec<ToItem<Conf>>>,
    /// Logs of incoming traffic, older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = default_is_required)]
    pub from: Option<Vec<FromItem<Conf>>>,
    /// Logs of incoming traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = default_is_required)]
    pub rules: Option<Vec<RuleItem<Conf>>>,
}

/// Other than those of most policies, the items may not leave `default` out.
fn default_is_required(list: &mut Schema) {
    if let Some(Value::Object(item)) = list.get_mut("items") {
        item.insert("required".to_owned(), json!(["default"]));
    }
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conf {
    /// The destinations; an empty list for no logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
}

/// A destination of logs; of the objects, the one for the type is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Type of the destination.
    #[serde(rename = "type")]
    pub kind: BackendType,
    /// A TCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpBackend>,
    /// A file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileBackend>,
    /// An OpenTelemetry collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OtelBackend>,
}

/// Type of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendType {
    /// TCP server.
    Tcp,
    /// File.
    File,
    /// OpenTelemetry collector.
    OpenTelemetry,
}

/// A TCP server that takes logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpBackend {
    /// Form of an entry; absent for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Host and port.
    #[schemars(length(min = 1))]
    pub address: String,
}

/// An OpenTelemetry collector that takes logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtelBackend {
    /// Attributes of an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<JsonValue>>,
    /// Body of an entry: text, or an `AnyValue` of OpenTelemetry as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Host and, unless it is 4317, port.
    #[schemars(length(min = 1))]
    pub endpoint: String,
}

/// A file that takes logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileBackend {
    /// Form of an entry; absent for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Path of the file.
    #[schemars(length(min = 1))]
    pub path: String,
}

/// Form of an entry; of the members, the one for the type is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Format {
    /// Type of the form.
    #[serde(rename = "type")]
    pub kind: FormatType,
    /// Text with placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// Members of a JSON object, with placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Vec<JsonValue>>,
    /// Leaves out what is empty instead of writing `-`.
    #[serde(default)]
    pub omit_empty_values: bool,
}

/// Type of the form of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FormatType {
    /// Text.
    Plain,
    /// JSON object.
    Json,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonValue {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}
