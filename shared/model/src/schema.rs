//! Decoding of JSON specifications, with the texts of schema violations that clients know.
//!
//! Kuma checks a body against an OpenAPI schema before anything else, and turns a text such as
//! `spec.match.port in body should be greater than or equal to 1` into a violation of field `spec.match.port`. Here the
//! schema follows from the type, and [`Checker`] finds the same violations. One difference is deliberate: members that
//! the type does not have are refused.

mod check;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _, Unexpected, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;

use crate::json_schema;
use crate::violation::{Path, Violation, Violations};

pub use check::Checker;

/// Why JSON is no specification of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The shape is not that of the schema; everything that is wrong.
    #[error("{0}")]
    Shape(Violations),
    /// The shape is right, but a value cannot be read, such as a length of time without unit.
    #[error("{}: {}", .0.field, .0.reason)]
    Value(Violation),
}

/// Decodes what a user wrote, found at the member `root` of a resource, after checking it with the `checker` of its type.
///
/// # Errors
/// See [`SpecError`].
pub fn read<T: DeserializeOwned>(checker: &Checker, root: &str, value: &Value) -> Result<T, SpecError> {
    checker.check(root, value).into_result().map_err(SpecError::Shape)?;
    decode_value(root, value).map_err(SpecError::Value)
}

/// Decodes `value`, found at the member `root` of a resource. Members that the type does not have are ignored.
///
/// # Errors
/// The first member that has a type or value that is not allowed, or is required and missing.
pub fn decode<T: DeserializeOwned>(root: &str, value: &Value) -> Result<T, Violations> {
    decode_value(root, value).map_err(Violations::from)
}

fn decode_value<T: DeserializeOwned>(root: &str, value: &Value) -> Result<T, Violation> {
    let mut track = serde_path_to_error::Track::new();
    T::deserialize(serde_path_to_error::Deserializer::new(value, &mut track))
        .map_err(|error| violation(path_of_error(&Path::new(root), &track.path()), &error.to_string()))
}

fn path_of_error(root: &Path, path: &serde_path_to_error::Path) -> Path {
    use serde_path_to_error::Segment;
    path.iter().fold(root.clone(), |path, segment| match segment {
        Segment::Seq { index } => path.index(*index),
        Segment::Map { key } => path.field(key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

/// Turns the text of a serde error into the violation that clients know for the same mistake.
fn violation(path: Path, text: &str) -> Violation {
    let told = |path: Path, reason: String| Violation { field: path.as_str().to_owned(), reason };
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return told(path.field(name), "in body is required".to_owned());
    }
    if let Some((_, expected)) = text.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("expected ")) {
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return told(path, format!("in body should be one of [{}]", names.join(" ")));
    }
    if let Some((found, expected)) = text.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return told(path, format!("in body must be of type {}: {:?}", type_expected(expected), type_found(found)));
    }
    if text.starts_with("invalid value: integer") {
        return told(path, "in body is not in the range of allowed numbers".to_owned());
    }
    told(path, text.to_owned())
}

/// OpenAPI name of what serde expected.
fn type_expected(expected: &str) -> &str {
    match expected {
        "a boolean" => "boolean",
        "a sequence" => "array",
        "a map" => "object",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "integer",
        text if text.starts_with("struct ") => "object",
        text if text.contains("string") || text.starts_with("enum ") || text.starts_with("variant") => "string",
        other => other,
    }
}

/// JSON type of what serde found.
fn type_found(found: &str) -> &'static str {
    match found.split([' ', '`']).next().unwrap_or_default() {
        "integer" | "floating" => "number",
        "string" => "string",
        "boolean" => "boolean",
        "sequence" => "array",
        "map" => "object",
        _ => "null",
    }
}

/// A port number from 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PortNumber(pub u16);

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            ..1 => Err(D::Error::custom("in body should be greater than or equal to 1")),
            port => u16::try_from(port)
                .map(Self)
                .map_err(|_| D::Error::custom("in body should be less than or equal to 65535")),
        }
    }
}

impl JsonSchema for PortNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": u16::MAX })
    }
}

/// A length of time, written as Go does (`1h0m0s`), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(pub i64);

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        tandem_proto::duration::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&tandem_proto::duration::format(self.0))
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema::duration()
    }
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    String(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }

            fn visit_i64<E>(self, number: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IntOrString, E> {
                let number =
                    i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(IntOrString::Int(number))
            }

            fn visit_str<E>(self, name: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Colour {
        Red,
        Green,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        port: PortNumber,
        colour: Option<Colour>,
        time_out: Option<Duration>,
        target: Option<IntOrString>,
        name: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Spec {
        items: Vec<Item>,
    }

    fn refusal(item: Value) -> String {
        decode::<Spec>("spec", &json!({ "items": [item] })).expect_err("a violation").to_string()
    }

    #[test]
    fn violations_name_the_member() {
        for (item, expected) in [
            (json!({}), "spec.items[0].port: in body is required"),
            (json!({"port": 0}), "spec.items[0].port: in body should be greater than or equal to 1"),
            (json!({"port": 65536}), "spec.items[0].port: in body should be less than or equal to 65535"),
            (json!({"port": "x"}), "spec.items[0].port: in body must be of type integer: \"string\""),
            (json!({"port": 1, "colour": "Blue"}), "spec.items[0].colour: in body should be one of [Red Green]"),
            (
                json!({"port": 1, "colour": "Red", "name": 2}),
                "spec.items[0].name: in body must be of type string: \"number\"",
            ),
            (json!({"port": 1, "timeOut": "3"}), "spec.items[0].timeOut: time: missing unit in duration \"3\""),
            (json!(5), "spec.items[0]: in body must be of type object: \"number\""),
        ] {
            assert_eq!(refusal(item), expected);
        }
    }

    #[test]
    fn unknown_members_are_ignored() {
        let value = json!({ "items": [{"port": 1, "new": true, "timeOut": "90s", "target": "web"}], "x": [] });
        let spec: Spec = decode("spec", &value).expect("unknown members are ignored");
        assert_eq!(spec.items[0].time_out, Some(Duration(90_000_000_000)));
        assert_eq!(spec.items[0].target, Some(IntOrString::String("web".into())));
    }

    #[test]
    fn scalars_are_written_in_their_usual_form() {
        assert_eq!(json!(Duration(90_000_000_000)), json!("1m30s"));
        assert_eq!(json!([IntOrString::Int(1), IntOrString::String("a".into())]), json!([1, "a"]));
    }
}
