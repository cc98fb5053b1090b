//! Messages as JSON, by the rules of golang's `jsonpb` version 1, which Kuma's HTTP API and kumactl speak.
//!
//! | protobuf | JSON written | JSON accepted |
//! |---|---|---|
//! | field name | lowerCamelCase; unset and zero values omitted | that or the name in the `.proto` file; `null` is unset |
//! | 32-bit integers, floats | number | number, also quoted |
//! | 64-bit integers | quoted number | number, also quoted |
//! | enum | name of the value | name or number |
//! | `bytes`, `BytesValue` | base64 with padding | the same |
//! | wrappers | the bare value, also when it is zero | the bare value |
//! | `Duration` | `90s`, `1.500s` | any Go duration: `1m30s` |
//! | `Timestamp` | RFC 3339 in UTC | RFC 3339 |
//! | `Struct` | the object | the object |
//! | map | object with sorted keys | object |
//! | message that is set but empty | `{}` | `{}` |
//!
//! Source of the rules: `github.com/golang/protobuf/jsonpb`, used by Kuma in `pkg/util/proto`.

mod conf;
mod number;
mod path;
mod read;
mod schema;
mod shape;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub use conf::{from_struct, to_struct};
use prost_reflect::MessageDescriptor;
pub use schema::{base64_schema, duration_schema, schemas};
use serde_json::{Map, Value};
pub use write::Written;

use crate::descriptor_pool;

/// What to do with a member that the message has no field for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error that names the member.
    Refuse,
    /// It is dropped.
    Ignore,
}

/// Why JSON and a message do not go together, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{reason}", path, if path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// Place in the JSON, such as `networking.inbound[0].tags["kuma.io/service"]`; empty for the root.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// Writes an encoded message as a JSON object. Fields the message does not know are left out.
///
/// `message` is the full name, such as `kuma.mesh.v1alpha1.Mesh`.
///
/// # Errors
/// When no message has that name, or the bytes do not decode.
pub fn to_json(message: &str, bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let undecodable = |error| JsonError { path: String::new(), reason: format!("not a message {message}: {error}") };
    match serde_json::to_value(Written::new(message, bytes)?).map_err(undecodable)? {
        Value::Object(members) => Ok(members),
        _ => unreachable!("a message is written as an object"),
    }
}

/// Reads a message from a JSON object and returns its encoding, which depends on nothing but the content.
///
/// `message` is the full name, such as `kuma.mesh.v1alpha1.Mesh`.
///
/// # Errors
/// When no message has that name, a member has the wrong type or value, or, with [`Unknown::Refuse`], no field.
pub fn from_json(message: &str, value: &Map<String, Value>, unknown: Unknown) -> Result<Vec<u8>, JsonError> {
    read::object(&descriptor(message)?, value, unknown)
}

/// Reads a `Struct`, as [`from_json`] does for fields of that type.
///
/// # Errors
/// When it is nested too deeply for decoders of messages.
pub fn struct_from_json(value: &Map<String, Value>) -> Result<prost_types::Struct, JsonError> {
    read::to_struct(value, read::STRUCT_DEPTH, &path::Path::Root)
}

/// Writes a `Struct`, as [`to_json`] does for fields of that type.
pub fn struct_to_json(value: &prost_types::Struct) -> Map<String, Value> {
    write::from_struct(value)
}

fn descriptor(message: &str) -> Result<MessageDescriptor, JsonError> {
    descriptor_pool().get_message_by_name(message).ok_or_else(|| no_message(message))
}

fn no_message(message: &str) -> JsonError {
    JsonError { path: String::new(), reason: format!("no message is named {message:?}") }
}
