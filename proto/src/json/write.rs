//! Message to JSON, straight from its encoding.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_types::{Struct, Timestamp, value::Kind as StructKind};
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value as Json};

use super::shape::{self, Form, Item, Shape};
use super::wire::{self, DEPTH, Raw, Seen};
use super::{JsonError, number};
use crate::duration;

/// An encoded message that is serialized as the JSON object of [`to_json`](super::to_json), without anything in between.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    shape: &'static Shape,
    bytes: &'a [u8],
    depth: usize,
}

impl<'a> Written<'a> {
    /// The encoding of the message called `message`, such as `kuma.mesh.v1alpha1.Mesh`.
    ///
    /// # Errors
    /// When no message has that name. Bytes that do not decode are an error of the serializer.
    pub fn new(message: &str, bytes: &'a [u8]) -> Result<Self, JsonError> {
        let index = shape::find(message).ok_or_else(|| super::no_message(message))?;
        Ok(Self { shape: shape::get(index), bytes, depth: 0 })
    }

    /// Serializes the members of the object into one that is under way.
    ///
    /// # Errors
    /// When the bytes do not decode, and those of the serializer.
    pub fn serialize_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if self.depth > DEPTH {
            return Err(M::Error::custom("messages are nested too deeply"));
        }
        let seen = wire::fields(self.shape, self.bytes).map_err(M::Error::custom)?;
        for values in seen.chunk_by(|a, b| a.0 == b.0) {
            let field = &self.shape.fields[values[0].0];
            let depth = self.depth + 1;
            match &field.form {
                Form::Single { item, presence } => {
                    let [(_, raw)] = values else { return Err(M::Error::custom("a field twice")) };
                    if *presence || !raw.is_zero() {
                        map.serialize_entry(field.name, &Single { item: *item, raw, depth })?;
                    }
                }
                Form::List(item) => map.serialize_entry(field.name, &List { item: *item, values, depth })?,
                Form::Map { key, value } => {
                    map.serialize_entry(field.name, &Entries { key: *key, value: *value, values, depth })?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_members(&mut map)?;
        map.end()
    }
}

impl Raw<'_> {
    /// Whether it is what a field without presence has when it is not set.
    fn is_zero(&self) -> bool {
        match self {
            Raw::Number(number) => *number == 0,
            Raw::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

struct List<'a> {
    item: Item,
    values: &'a [Seen<'a>],
    depth: usize,
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.values.len()))?;
        for (_, raw) in self.values {
            list.serialize_element(&Single { item: self.item, raw, depth: self.depth })?;
        }
        list.end()
    }
}

struct Entries<'a> {
    key: Item,
    value: Item,
    values: &'a [Seen<'a>],
    depth: usize,
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = BTreeMap::new();
        for (_, raw) in self.values {
            let Raw::Bytes(entry) = raw else { return Err(S::Error::custom("a number in place of an entry")) };
            let part = |number| wire::value(entry, number).map_err(S::Error::custom);
            let key = part(1)?.unwrap_or_else(|| self.key.zero());
            let value = part(2)?.unwrap_or_else(|| self.value.zero());
            entries.insert(key_text(self.key, &key).map_err(S::Error::custom)?, value);
        }
        let mut map = serializer.serialize_map(Some(entries.len()))?;
        for (key, raw) in &entries {
            map.serialize_entry(key, &Single { item: self.value, raw, depth: self.depth })?;
        }
        map.end()
    }
}

impl Item {
    /// What an entry of a map has that does not say.
    fn zero(self) -> Raw<'static> {
        match self {
            Item::String
            | Item::Bytes
            | Item::Message(_)
            | Item::Duration
            | Item::Timestamp
            | Item::Struct
            | Item::Wrapper(_)
            | Item::Formless(_) => Raw::Bytes(Cow::Borrowed(&[])),
            _ => Raw::Number(0),
        }
    }
}

fn key_text(item: Item, raw: &Raw<'_>) -> Result<String, &'static str> {
    match (item, raw) {
        (Item::String, Raw::Bytes(bytes)) => Ok(text(bytes)?.to_owned()),
        (Item::Bool, Raw::Number(number)) => Ok((*number != 0).to_string()),
        (Item::Int32 | Item::Int64, Raw::Number(number)) => Ok(number.cast_signed().to_string()),
        (Item::Sint32 | Item::Sint64, Raw::Number(number)) => Ok(zigzag(*number).to_string()),
        (Item::Sfixed32, Raw::Number(number)) => Ok(low(*number).cast_signed().to_string()),
        (Item::Sfixed64, Raw::Number(number)) => Ok(number.cast_signed().to_string()),
        (_, Raw::Number(number)) => Ok(number.to_string()),
        _ => Err("a key of the wrong type"),
    }
}

fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8")
}

#[allow(clippy::cast_possible_truncation)] // 32-bit numbers are encoded in 64
fn low(number: u64) -> u32 {
    number as u32
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

struct Single<'a> {
    item: Item,
    raw: &'a Raw<'a>,
    depth: usize,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.raw {
            Raw::Number(number) => self.number(*number, serializer),
            Raw::Bytes(bytes) => self.bytes(bytes, serializer),
        }
    }
}

impl Single<'_> {
    fn number<S: Serializer>(&self, number: u64, serializer: S) -> Result<S::Ok, S::Error> {
        match self.item {
            Item::Bool => serializer.serialize_bool(number != 0),
            Item::Int32 | Item::Sfixed32 => serializer.serialize_i32(low(number).cast_signed()),
            Item::Sint32 => serializer.serialize_i64(zigzag(u64::from(low(number)))),
            Item::Uint32 | Item::Fixed32 => serializer.serialize_u32(low(number)),
            Item::Int64 | Item::Sfixed64 => serializer.collect_str(&number.cast_signed()),
            Item::Sint64 => serializer.collect_str(&zigzag(number)),
            Item::Uint64 | Item::Fixed64 => serializer.collect_str(&number),
            Item::Float => number::from_f32(f32::from_bits(low(number))).serialize(serializer),
            Item::Double => number::from_f64(f64::from_bits(number)).serialize(serializer),
            Item::Enum(names) => {
                let number = low(number).cast_signed();
                match names.iter().find(|(value, _)| *value == number) {
                    Some((_, name)) => serializer.serialize_str(name),
                    None => serializer.serialize_i32(number),
                }
            }
            _ => Err(S::Error::custom("a number in place of text or a message")),
        }
    }

    fn bytes<S: Serializer>(&self, bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match self.item {
            Item::String => serializer.serialize_str(text(bytes).map_err(S::Error::custom)?),
            Item::Bytes => serializer.serialize_str(&STANDARD.encode(bytes)),
            Item::Message(index) => {
                Written { shape: shape::get(index), bytes, depth: self.depth }.serialize(serializer)
            }
            Item::Duration => {
                let value = prost_types::Duration::decode(bytes).map_err(S::Error::custom)?;
                serializer.serialize_str(&duration::format_seconds(value.seconds, value.nanos))
            }
            Item::Timestamp => serializer.collect_str(&Timestamp::decode(bytes).map_err(S::Error::custom)?),
            Item::Struct => from_struct(&Struct::decode(bytes).map_err(S::Error::custom)?).serialize(serializer),
            Item::Wrapper(item) => {
                let raw = wire::value(bytes, 1).map_err(S::Error::custom)?.unwrap_or_else(|| item.zero());
                Single { item: *item, raw: &raw, depth: self.depth }.serialize(serializer)
            }
            Item::Formless(name) => Err(S::Error::custom(format!("a message {name} has no JSON form here"))),
            _ => Err(S::Error::custom("text or a message in place of a number")),
        }
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
