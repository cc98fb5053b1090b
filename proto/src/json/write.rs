//! Message to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use prost_types::{Struct, Timestamp, value::Kind as StructKind};
use serde_json::{Map, Value as Json};

use super::path::Path;
use super::{JsonError, number};
use crate::duration;

pub(super) fn object(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<Map<String, Json>, JsonError> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes)
        .map_err(|e| Path::Root.error(format!("not a message {}: {e}", descriptor.full_name())))?;
    fields(&message, &Path::Root)
}

fn fields(message: &DynamicMessage, path: &Path) -> Result<Map<String, Json>, JsonError> {
    let mut object = Map::new();
    for (field, value) in message.fields() {
        let path = Path::Field(path, field.json_name());
        object.insert(field.json_name().to_owned(), field_value(&field, value, &path)?);
    }
    Ok(object)
}

fn field_value(field: &FieldDescriptor, value: &Value, path: &Path) -> Result<Json, JsonError> {
    let kind = field.kind();
    match value {
        Value::List(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| single(&kind, item, &Path::Index(path, index)))
            .collect::<Result<_, _>>()
            .map(Json::Array),
        Value::Map(entries) => {
            let kind = kind.as_message().map(MessageDescriptor::map_entry_value_field).map(|field| field.kind());
            let kind = kind.ok_or_else(|| path.error("a map without an entry message"))?;
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let mut object = Map::new();
            for (key, value) in entries {
                let value = single(&kind, value, &Path::Entry(path, &key))?;
                object.insert(key, value);
            }
            Ok(Json::Object(object))
        }
        value => single(&kind, value, path),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn single(kind: &Kind, value: &Value, path: &Path) -> Result<Json, JsonError> {
    Ok(match value {
        Value::Bool(value) => Json::from(*value),
        Value::I32(value) => Json::from(*value),
        Value::U32(value) => Json::from(*value),
        Value::I64(value) => Json::from(value.to_string()),
        Value::U64(value) => Json::from(value.to_string()),
        Value::F32(value) => number::from_f32(*value),
        Value::F64(value) => number::from_f64(*value),
        Value::String(value) => Json::from(value.as_str()),
        Value::Bytes(value) => Json::from(STANDARD.encode(value)),
        Value::EnumNumber(number) => match kind.as_enum().and_then(|values| values.get_value(*number)) {
            Some(value) => Json::from(value.name()),
            None => Json::from(*number),
        },
        Value::Message(message) => self::message(message, path)?,
        Value::List(_) | Value::Map(_) => return Err(path.error("a list within a list")),
    })
}

/// A message, with the forms of their own that the well-known types have.
fn message(message: &DynamicMessage, path: &Path) -> Result<Json, JsonError> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    let undecodable = |e: prost::DecodeError| path.error(format!("not a message {name}: {e}"));
    match name {
        "google.protobuf.Duration" => {
            let value: prost_types::Duration = message.transcode_to().map_err(undecodable)?;
            Ok(Json::from(duration::format_seconds(value.seconds, value.nanos)))
        }
        "google.protobuf.Timestamp" => {
            let value: Timestamp = message.transcode_to().map_err(undecodable)?;
            Ok(Json::from(value.to_string()))
        }
        "google.protobuf.Struct" => {
            message.transcode_to::<Struct>().map(|value| Json::Object(from_struct(&value))).map_err(undecodable)
        }
        "google.protobuf.Any" => Err(path.error("a message of any type has no JSON form here")),
        name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
            let field = descriptor.get_field(1).ok_or_else(|| path.error(format!("{name} has no JSON form here")))?;
            single(&field.kind(), &message.get_field(&field), path)
        }
        _ => fields(message, path).map(Json::Object),
    }
}

pub(super) fn from_struct(value: &Struct) -> Map<String, Json> {
    value.fields.iter().map(|(key, value)| (key.clone(), from_struct_value(value))).collect()
}

fn from_struct_value(value: &prost_types::Value) -> Json {
    match &value.kind {
        None | Some(StructKind::NullValue(_)) => Json::Null,
        Some(StructKind::BoolValue(value)) => Json::from(*value),
        Some(StructKind::NumberValue(value)) => number::from_f64(*value),
        Some(StructKind::StringValue(value)) => Json::from(value.as_str()),
        Some(StructKind::StructValue(value)) => Json::Object(from_struct(value)),
        Some(StructKind::ListValue(value)) => Json::Array(value.values.iter().map(from_struct_value).collect()),
    }
}
