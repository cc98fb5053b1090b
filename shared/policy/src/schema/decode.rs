//! Decoding of specifications with the texts of schema violations that clients know.
//!
//! Source of the texts: the OpenAPI validation that Kuma runs before its own, e.g.
//! `spec.to[0].targetRef.kind in body should be one of [Mesh Dataplane]`. A text that begins with a path becomes the
//! field of the violation.

use serde::de::DeserializeOwned;
use serde_json::Value;

use tandem_model::violation::{Path, Violations};

/// What happens to members that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They are violations: what a user writes must have an effect.
    Refuse,
    /// They are left out: a newer peer may know more.
    Ignore,
}

/// The value does not have the shape the schema asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(pub Violations);

/// Decodes a specification.
///
/// # Errors
/// When a member has the wrong type or is missing, or when members are unknown and `unknown` says to refuse them. Paths begin with `spec`.
pub fn decode<T: DeserializeOwned>(spec: &Value, unknown: Unknown) -> Result<T, SchemaError> {
    let mut ignored = Violations::none();
    let mut track = serde_path_to_error::Track::new();
    let result = {
        let tracked = serde_path_to_error::Deserializer::new(spec, &mut track);
        let mut report = |path: serde_ignored::Path<'_>| {
            ignored.add(&path_of_ignored(&path), "unknown field");
        };
        T::deserialize(serde_ignored::Deserializer::new(tracked, &mut report))
    };
    match result {
        Err(error) => Err(SchemaError(shape_violation(&track.path(), &error.to_string()))),
        Ok(_) if unknown == Unknown::Refuse && !ignored.is_empty() => Err(SchemaError(ignored)),
        Ok(value) => Ok(value),
    }
}

fn path_of_ignored(path: &serde_ignored::Path<'_>) -> Path {
    use serde_ignored::Path as Ignored;
    match path {
        Ignored::Root => Path::new("spec"),
        Ignored::Seq { parent, index } => path_of_ignored(parent).index(*index),
        Ignored::Map { parent, key } => path_of_ignored(parent).field(key),
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            path_of_ignored(parent)
        }
    }
}

fn path_of_error(path: &serde_path_to_error::Path) -> Path {
    use serde_path_to_error::Segment;
    path.iter().fold(Path::new("spec"), |path, segment| match segment {
        Segment::Seq { index } => path.index(*index),
        Segment::Map { key } => path.field(key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

/// Turns the text of a serde error into the violation that Kuma reports for the same mistake.
fn shape_violation(path: &serde_path_to_error::Path, text: &str) -> Violations {
    let path = path_of_error(path);
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return Violations::one(&path.field(name), "in body is required");
    }
    if let Some((_, expected)) = text.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("expected ")) {
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return Violations::one(&path, format!("in body should be one of [{}]", names.join(" ")));
    }
    if let Some(rest) = text.strip_prefix("invalid type: ")
        && let Some((found, expected)) = rest.split_once(", expected ")
    {
        let text = format!("in body must be of type {}: {:?}", type_name(expected), found_type(found));
        return Violations::one(&path, text);
    }
    Violations::one(&path, text)
}

/// OpenAPI name of what serde expected.
fn type_name(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" | "string or map" => "string",
        "a boolean" => "boolean",
        "a sequence" => "array",
        "a map" => "object",
        text if text.starts_with("struct ") => "object",
        "u32" | "i32" | "u64" | "i64" | "u8" | "u16" => "integer",
        text if text.starts_with("variant") || text.starts_with("enum") => "string",
        other => other,
    }
}

/// JSON type of what serde found.
fn found_type(found: &str) -> &'static str {
    match found.split([' ', '`']).next().unwrap_or_default() {
        "integer" | "floating" => "number",
        "string" => "string",
        "boolean" => "boolean",
        "sequence" => "array",
        "map" => "object",
        _ => "null",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ToItem;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, Default)]
    struct Conf {
        #[serde(default)]
        size: Option<u32>,
        #[serde(default)]
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Spec {
        to: Option<Vec<ToItem<Conf>>>,
    }

    fn refused(spec: Value) -> String {
        decode::<Spec>(&spec, Unknown::Refuse).expect_err("a violation").to_string()
    }

    #[test]
    fn violations_name_the_member() {
        let to = |target: Value, default: Value| json!({"to": [{"targetRef": target, "default": default}]});
        assert_eq!(
            refused(to(json!({"kind": "Mesh"}), json!({"foo": 1, "size": 1}))),
            "spec.to[0].default.foo: unknown field"
        );
        assert_eq!(refused(to(json!({}), json!({}))), "spec.to[0].targetRef.kind: in body is required");
        assert_eq!(
            refused(to(json!({"kind": "Moon"}), json!({}))),
            "spec.to[0].targetRef.kind: in body should be one of [Mesh MeshSubset MeshGateway MeshService \
             MeshExternalService MeshMultiZoneService MeshServiceSubset MeshHTTPRoute Dataplane]"
        );
        assert_eq!(
            refused(to(json!({"kind": "Mesh"}), json!({"name": 5}))),
            "spec.to[0].default.name: in body must be of type string: \"number\""
        );
        assert_eq!(refused(json!({"to": {}})), "spec.to: in body must be of type array: \"object\"");
    }

    #[test]
    fn unknown_members_can_be_ignored() {
        let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "new": true, "default": {"size": 2}}]});
        let spec: Spec = decode(&spec, Unknown::Ignore).expect("decodes");
        let to = spec.to.expect("an item");
        assert_eq!((to[0].default.size, &to[0].default.name), (Some(2), &None));
    }
}
