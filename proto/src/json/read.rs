//! JSON to the encoding of a message. Fields are written by number and map entries by key, so that equal content has
//! equal bytes.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::{ListValue, Struct, Timestamp, value::Kind as StructKind};
use serde_json::{Map, Value};

use super::path::Path;
use super::{JsonError, Unknown};
use crate::duration;

/// Levels of a `Struct`. Decoders give up at 100 nested messages, and a level takes three.
pub(super) const STRUCT_DEPTH: usize = 24;

pub(super) fn object(
    descriptor: &MessageDescriptor,
    value: &Map<String, Value>,
    unknown: Unknown,
) -> Result<Vec<u8>, JsonError> {
    Reader { unknown }.fields(descriptor, value, &Path::Root)
}

struct Reader {
    unknown: Unknown,
}

impl Reader {
    /// The body of an ordinary message.
    fn fields(
        &self,
        descriptor: &MessageDescriptor,
        object: &Map<String, Value>,
        path: &Path,
    ) -> Result<Vec<u8>, JsonError> {
        let mut members: BTreeMap<u32, (FieldDescriptor, &str, &Value)> = BTreeMap::new();
        let mut choices: HashMap<String, &str> = HashMap::new();
        for (name, value) in object {
            let path = Path::Field(path, name);
            let field = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
            let field = match (field, self.unknown) {
                (Some(field), _) => field,
                (None, Unknown::Ignore) => continue,
                (None, Unknown::Refuse) => return Err(path.error("unknown field")),
            };
            if value.is_null() {
                continue;
            }
            if let Some(choice) = field.containing_oneof()
                && let Some(other) = choices.insert(choice.name().to_owned(), name)
                && !members.contains_key(&field.number())
            {
                return Err(path.error(format!("cannot be set together with {other:?}")));
            }
            if let Some((_, other, _)) = members.insert(field.number(), (field, name, value)) {
                return Err(path.error(format!("is the same field as {other:?}; give only one of them")));
            }
        }
        let mut out = Vec::new();
        for (field, name, value) in members.values() {
            self.field(field, value, &Path::Field(path, name), &mut out)?;
        }
        Ok(out)
    }

    fn field(&self, field: &FieldDescriptor, value: &Value, path: &Path, out: &mut Vec<u8>) -> Result<(), JsonError> {
        if field.is_map() {
            return self.map(field, value, path, out);
        }
        let kind = field.kind();
        if field.cardinality() != Cardinality::Repeated {
            let (body, zero) = self.single(&kind, value, path)?;
            if !zero || field.supports_presence() {
                record(field.number(), kind.wire_type(), &body, out);
            }
            return Ok(());
        }
        let items = value.as_array().ok_or_else(|| expected("a list", value, path))?;
        let mut packed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let (body, _) = self.single(&kind, item, &Path::Index(path, index))?;
            if field.is_packed() {
                packed.extend_from_slice(&body);
            } else {
                record(field.number(), kind.wire_type(), &body, out);
            }
        }
        if !packed.is_empty() {
            record(field.number(), WireType::LengthDelimited, &packed, out);
        }
        Ok(())
    }

    fn map(&self, field: &FieldDescriptor, value: &Value, path: &Path, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let kind = field.kind();
        let entry = kind.as_message().ok_or_else(|| path.error("a map without an entry message"))?;
        let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let object = value.as_object().ok_or_else(|| expected("an object", value, path))?;
        let entries: BTreeMap<&String, &Value> = object.iter().collect();
        for (key, value) in entries {
            let path = Path::Entry(path, key);
            let (key, _) = self.single(&key_kind, &Value::from(key.as_str()), &path)?;
            let (value, _) = self.single(&value_kind, value, &path)?;
            let mut body = Vec::with_capacity(key.len() + value.len() + 4);
            // Both parts are written even when empty, as Go does (prost leaves empty ones out).
            record(1, key_kind.wire_type(), &key, &mut body);
            record(2, value_kind.wire_type(), &value, &mut body);
            record(field.number(), WireType::LengthDelimited, &body, out);
        }
        Ok(())
    }

    /// A value without its key and length, and whether it is the zero of its type.
    fn single(&self, kind: &Kind, value: &Value, path: &Path) -> Result<(Vec<u8>, bool), JsonError> {
        Ok(match kind {
            Kind::Bool => {
                let value = value.as_bool().ok_or_else(|| expected("true or false", value, path))?;
                varint(u64::from(value))
            }
            Kind::Int32 => varint(i64::from(integer::<i32>(value, path)?).cast_unsigned()),
            Kind::Int64 => varint(integer::<i64>(value, path)?.cast_unsigned()),
            Kind::Uint32 => varint(u64::from(integer::<u32>(value, path)?)),
            Kind::Uint64 => varint(integer::<u64>(value, path)?),
            Kind::Float => {
                #[allow(clippy::cast_possible_truncation)] // the nearest float is what is asked for
                let value = float(value, path)? as f32;
                (value.to_le_bytes().to_vec(), value.to_bits() == 0)
            }
            Kind::Double => {
                let value = float(value, path)?;
                (value.to_le_bytes().to_vec(), value.to_bits() == 0)
            }
            Kind::String => {
                let value = value.as_str().ok_or_else(|| expected("a string", value, path))?;
                (value.as_bytes().to_vec(), value.is_empty())
            }
            Kind::Bytes => {
                let value = bytes(value, path)?;
                let empty = value.is_empty();
                (value, empty)
            }
            Kind::Enum(values) => varint(i64::from(self.enumerated(values, value, path)?).cast_unsigned()),
            Kind::Message(message) => (self.message(message, value, path)?, false),
            other => return Err(path.error(format!("the type {other:?} has no JSON form here"))),
        })
    }

    /// The number of an enum value. One that the enum does not have is like a member that the message does not have.
    fn enumerated(&self, values: &EnumDescriptor, value: &Value, path: &Path) -> Result<i32, JsonError> {
        let unknown = |quoted: String| path.error(format!("unknown value {quoted:?} for enum {}", values.full_name()));
        match value {
            Value::String(name) => {
                let value = values.get_value_by_name(name).map(|value| value.number());
                value.ok_or_else(|| unknown(format!("{name:?}")))
            }
            Value::Number(_) => {
                let number = integer(value, path)?;
                let is_known = self.unknown == Unknown::Ignore || values.get_value(number).is_some();
                if is_known { Ok(number) } else { Err(unknown(number.to_string())) }
            }
            _ => {
                let names: Vec<_> = values.values().map(|value| value.name().to_owned()).collect();
                Err(expected(&format!("one of {}", names.join(", ")), value, path))
            }
        }
    }

    /// A message, with the forms of their own that the well-known types have.
    fn message(&self, descriptor: &MessageDescriptor, value: &Value, path: &Path) -> Result<Vec<u8>, JsonError> {
        match descriptor.full_name() {
            "google.protobuf.Duration" => {
                let text = value.as_str().ok_or_else(|| expected("a duration such as \"1m30s\"", value, path))?;
                let nanos = duration::parse(text).map_err(|e| path.error(format!("bad Duration: {e}")))?;
                let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
                let nanos = i32::try_from(nanos).expect("a remainder below a billion fits an i32");
                Ok(prost_types::Duration { seconds, nanos }.encode_to_vec())
            }
            "google.protobuf.Timestamp" => {
                let what = "a time such as \"2026-01-31T12:00:00Z\"";
                let text = value.as_str().ok_or_else(|| expected(what, value, path))?;
                let time: Timestamp = text.parse().map_err(|_| expected(what, value, path))?;
                Ok(time.encode_to_vec())
            }
            "google.protobuf.Struct" => {
                let object = value.as_object().ok_or_else(|| expected("an object", value, path))?;
                Ok(to_struct(object, STRUCT_DEPTH, path)?.encode_to_vec())
            }
            "google.protobuf.Any" => Err(path.error("a message of any type has no JSON form here")),
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                let field =
                    descriptor.get_field(1).ok_or_else(|| path.error(format!("{name} has no JSON form here")))?;
                let mut out = Vec::new();
                self.field(&field, value, path, &mut out)?;
                Ok(out)
            }
            _ => {
                let object = value.as_object().ok_or_else(|| expected("an object", value, path))?;
                self.fields(descriptor, object, path)
            }
        }
    }
}

/// Writes the key, the length where the wire type has one, and the body.
fn record(number: u32, wire_type: WireType, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, wire_type, out);
    if wire_type == WireType::LengthDelimited {
        encode_varint(body.len() as u64, out);
    }
    out.extend_from_slice(body);
}

fn varint(value: u64) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(10);
    encode_varint(value, &mut out);
    (out, value == 0)
}

/// An integer, bare or quoted.
fn integer<T: TryFrom<i128>>(value: &Value, path: &Path) -> Result<T, JsonError> {
    let number = match value {
        Value::Number(number) => number.as_i128(),
        Value::String(text) => text.parse().ok(),
        _ => return Err(expected("an integer", value, path)),
    };
    let number = number.ok_or_else(|| expected("an integer", value, path))?;
    T::try_from(number).map_err(|_| path.error(format!("{number} is out of range for {}", std::any::type_name::<T>())))
}

/// A number, bare or quoted.
fn float(value: &Value, path: &Path) -> Result<f64, JsonError> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| expected("a number", value, path))
}

fn bytes(value: &Value, path: &Path) -> Result<Vec<u8>, JsonError> {
    let text = value.as_str().ok_or_else(|| expected("a base64 string", value, path))?;
    STANDARD.decode(text).map_err(|e| {
        let at = match e {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len(),
        };
        path.error(format!("illegal base64 data at input byte {at}"))
    })
}

pub(super) fn to_struct(object: &Map<String, Value>, depth: usize, path: &Path) -> Result<Struct, JsonError> {
    let depth = depth.checked_sub(1).ok_or_else(|| path.error("is nested too deeply"))?;
    let fields =
        object.iter().map(|(name, value)| Ok((name.clone(), to_struct_value(value, depth, &Path::Field(path, name))?)));
    Ok(Struct { fields: fields.collect::<Result<_, _>>()? })
}

fn to_struct_value(value: &Value, depth: usize, path: &Path) -> Result<prost_types::Value, JsonError> {
    let kind = match value {
        Value::Null => StructKind::NullValue(0),
        Value::Bool(value) => StructKind::BoolValue(*value),
        Value::Number(_) => StructKind::NumberValue(float(value, path)?),
        Value::String(value) => StructKind::StringValue(value.clone()),
        Value::Object(object) => StructKind::StructValue(to_struct(object, depth, path)?),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or_else(|| path.error("is nested too deeply"))?;
            let values =
                items.iter().enumerate().map(|(index, item)| to_struct_value(item, depth, &Path::Index(path, index)));
            StructKind::ListValue(ListValue { values: values.collect::<Result<_, _>>()? })
        }
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

/// A value of the wrong type.
fn expected(what: &str, found: &Value, path: &Path) -> JsonError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string().chars().take(80).collect(),
    };
    path.error(format!("expected {what}, found {found}"))
}
