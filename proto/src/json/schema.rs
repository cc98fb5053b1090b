//! JSON Schemas of messages, in the form that [`to_json`](super::to_json) writes.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{JsonError, descriptor};
use crate::duration;

/// JSON Schemas (draft 2020-12) of a message and of all messages in it, by full name; descriptions are the comments of
/// the `.proto` files. References are of the form `#/$defs/<full name>`.
///
/// What readers accept beyond that form (names as in the `.proto` file, quoted numbers, `null`, numbers of enum values) is
/// not described.
///
/// # Errors
/// When no message is called `message`.
pub fn schemas(message: &str) -> Result<BTreeMap<String, Value>, JsonError> {
    let mut schemas = Schemas::default();
    schemas.add(&descriptor(message)?);
    Ok(schemas.done)
}

#[derive(Default)]
struct Schemas {
    done: BTreeMap<String, Value>,
    comments: HashMap<String, Comments>,
}

/// Comments of one file, by the path of what they stand before.
type Comments = HashMap<Vec<i32>, String>;

impl Schemas {
    fn add(&mut self, message: &MessageDescriptor) {
        if self.done.contains_key(message.full_name()) {
            return;
        }
        // Reserves the name, so that messages may contain themselves.
        self.done.insert(message.full_name().to_owned(), Value::Null);
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        if let Some(comment) = self.comment(&message.parent_file(), message.path()) {
            schema.insert("description".to_owned(), json!(comment));
        }
        let mut properties = Map::new();
        for field in message.fields() {
            let mut property = self.field(&field);
            if let (Some(comment), Value::Object(property)) =
                (self.comment(&message.parent_file(), field.path()), &mut property)
            {
                property.insert("description".to_owned(), json!(comment));
            }
            properties.insert(field.json_name().to_owned(), property);
        }
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("additionalProperties".to_owned(), json!(false));
        let choices: Vec<Value> = message.oneofs().filter(|choice| choice.fields().len() > 1).map(choice).collect();
        if !choices.is_empty() {
            schema.insert("allOf".to_owned(), json!(choices));
        }
        self.done.insert(message.full_name().to_owned(), Value::Object(schema));
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let kind = field.kind();
        if field.is_map() {
            let entry = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let values = entry.map_or(json!(true), |kind| self.single(&kind));
            return json!({ "type": "object", "additionalProperties": values });
        }
        let single = self.single(&kind);
        if field.cardinality() == Cardinality::Repeated { json!({ "type": "array", "items": single }) } else { single }
    }

    fn single(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX })
            }
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$" })
            }
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]{1,19}$" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => base64_schema(),
            Kind::Enum(values) => self.enumeration(values),
            Kind::Message(message) => self.message(message),
        }
    }

    fn enumeration(&mut self, values: &EnumDescriptor) -> Value {
        let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
        let mut schema = json!({ "type": "string", "enum": names });
        if let Some(comment) = self.comment(&values.parent_file(), values.path()) {
            schema["description"] = json!(comment);
        }
        schema
    }

    fn message(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Duration" => duration_schema(),
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Struct" => json!({ "type": "object", "additionalProperties": true }),
            "google.protobuf.Value" | "google.protobuf.Any" => json!({}),
            "google.protobuf.ListValue" => json!({ "type": "array", "items": {} }),
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                message.get_field(1).map_or(json!({}), |field| self.single(&field.kind()))
            }
            name => {
                self.add(message);
                json!({ "$ref": format!("#/$defs/{name}") })
            }
        }
    }

    fn comment(&mut self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        let comments = self.comments.entry(file.name().to_owned());
        comments.or_insert_with(|| comments_of(file.file_descriptor_proto())).get(path).cloned()
    }
}

/// Schema of a duration as Go writes it.
#[must_use]
pub fn duration_schema() -> Value {
    json!({ "type": "string", "format": "go-duration", "pattern": duration::PATTERN })
}

/// Schema of bytes in base64.
#[must_use]
pub fn base64_schema() -> Value {
    json!({ "type": "string", "contentEncoding": "base64", "pattern": BASE64 })
}

/// Standard base64 with padding.
const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

fn comments_of(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let described = locations.filter_map(|location| {
        let lines = location.leading_comments.as_deref()?.lines().map(str::trim);
        Some((location.path.clone(), lines.collect::<Vec<_>>().join(" ").trim().to_owned()))
    });
    described.filter(|(_, text)| !text.is_empty()).collect()
}

/// At most one field of a `oneof` is set.
fn choice(choice: prost_reflect::OneofDescriptor) -> Value {
    let one: Vec<Value> = choice.fields().map(|field| json!({ "required": [field.json_name()] })).collect();
    let mut options = one.clone();
    options.push(json!({ "not": { "anyOf": one } }));
    json!({ "oneOf": options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_the_form_in_which_they_are_written() {
        let schemas = schemas("kuma.mesh.v1alpha1.Mesh").expect("a message");
        let mesh = &schemas["kuma.mesh.v1alpha1.Mesh"];
        assert_eq!(mesh["properties"]["mtls"]["$ref"], "#/$defs/kuma.mesh.v1alpha1.Mesh.Mtls");
        let mtls = &schemas["kuma.mesh.v1alpha1.Mesh.Mtls"];
        assert_eq!(mtls["description"], "Mutual TLS between the proxies of a mesh.");
        assert_eq!(
            mtls["properties"]["enabledBackend"],
            json!({ "type": "string", "description": "Name of the backend in use; empty when mutual TLS is off." })
        );
        let services = &schemas["kuma.mesh.v1alpha1.Mesh.MeshServices"];
        assert_eq!(services["properties"]["mode"]["enum"][3], "Exclusive");
        let rotation = &schemas["kuma.mesh.v1alpha1.CertificateAuthorityBackend.DpCert.Rotation"];
        assert_eq!(rotation["additionalProperties"], false);
    }

    #[test]
    fn every_reference_is_defined() {
        for message in crate::descriptor_pool().all_messages().filter(|m| m.full_name().starts_with("kuma.")) {
            let schemas = schemas(message.full_name()).expect("a message of the pool");
            let text = serde_json::to_string(&schemas).expect("JSON");
            for reference in text.split("\"#/$defs/").skip(1) {
                let name = reference.split('"').next().expect("a closing quote");
                assert!(schemas.contains_key(name), "{name} in {}", message.full_name());
            }
        }
    }
}
