//! Envoy messages as JSON.

use serde_json::Value;

/// The JSON form of an encoded message inside an `Any`, with its type as member `@type`.
pub(crate) fn any_to_json(any: &[u8]) -> Value {
    tandem_envoy_json::any_to_json(any).expect("generated messages have a JSON form")
}

/// The JSON form of an encoded message.
pub(crate) fn to_json(message: &str, bytes: &[u8]) -> Value {
    tandem_envoy_json::to_json(message, bytes).expect("generated messages have a JSON form")
}
