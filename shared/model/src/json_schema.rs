//! JSON Schemas generated from types.
//!
//! The types that decode specifications are the schema: what [`of`] says of a type is what
//! [`read`](crate::schema::read) accepts.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// A schema (draft 2020-12) and the definitions it refers to, as `#/$defs/<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeSchema {
    /// The schema of the type itself.
    pub root: Value,
    /// Schemas of the types in it, by name.
    pub definitions: BTreeMap<String, Value>,
}

/// The schema of `T` as clients write it; documentation of types and members becomes their description.
pub fn of<T: JsonSchema>() -> TypeSchema {
    generated::<T>(SchemaSettings::draft2020_12())
}

/// The schema of `T` as it is answered: members that are always written are required.
pub fn written<T: JsonSchema>() -> TypeSchema {
    generated::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn generated<T: JsonSchema>(settings: SchemaSettings) -> TypeSchema {
    let mut root = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut root);
    let Value::Object(members) = &mut root else {
        return TypeSchema { root, definitions: BTreeMap::new() };
    };
    for generated in ["$schema", "title"] {
        members.remove(generated);
    }
    let definitions = match members.remove("$defs") {
        Some(Value::Object(definitions)) => definitions.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    TypeSchema { root, definitions }
}

/// Schema of a length of time as Go writes it.
pub fn duration() -> Schema {
    Schema::try_from(tandem_proto::json::duration_schema()).expect("an object is a schema")
}

/// Says more exactly what decoding accepts, in the fewest words.
fn tidy(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    for keyword in ["properties", "$defs"] {
        if let Some(Value::Object(schemas)) = members.get_mut(keyword) {
            schemas.values_mut().for_each(tidy);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        members.get_mut(keyword).into_iter().for_each(tidy);
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(schemas)) = members.get_mut(keyword) {
            schemas.iter_mut().for_each(tidy);
        }
    }
    without_null(members);
    names(members);
    closed(members);
    range(members);
    if let Some(Value::String(text)) = members.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
    }
}

/// A member that may be absent may not be `null`.
fn without_null(members: &mut Map<String, Value>) {
    if members.get("default").is_some_and(Value::is_null) {
        members.remove("default");
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            members["type"] = only.clone();
        }
    }
    let Some(Value::Array(options)) = members.get_mut("anyOf") else { return };
    options.retain(|option| option != &json!({ "type": "null" }));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        members.remove("anyOf");
        for (keyword, value) in only {
            members.entry(keyword).or_insert(value);
        }
    }
}

/// Turns alternatives that are names, each with a description, into one list of names.
fn names(members: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = members.get("oneOf") else { return };
    let mut names = Vec::new();
    let mut lines = Vec::new();
    for option in options {
        match (option.get("const"), option.get("enum").and_then(Value::as_array)) {
            (Some(name), _) => {
                names.push(name.clone());
                if let (Some(name), Some(text)) = (name.as_str(), option["description"].as_str()) {
                    lines.push(format!("`{name}`: {text}"));
                }
            }
            (None, Some(several)) => names.extend(several.iter().cloned()),
            (None, None) => return,
        }
    }
    members.remove("oneOf");
    members.insert("type".to_owned(), json!("string"));
    members.insert("enum".to_owned(), Value::Array(names));
    let title = members.get("description").and_then(Value::as_str).map(str::to_owned);
    let description: Vec<String> = title.into_iter().chain(lines).collect();
    members.insert("description".to_owned(), json!(description.join(" ")));
}

/// Members that a type does not have are refused.
fn closed(members: &mut Map<String, Value>) {
    if members.get("type").is_some_and(|name| name == "object") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), json!(false));
    }
}

/// The range of an integer type, which JSON Schema does not know by its name.
fn range(members: &mut Map<String, Value>) {
    let (minimum, maximum) = match members.get("format").and_then(Value::as_str) {
        Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        Some("uint32") => (json!(0), json!(u32::MAX)),
        _ => return,
    };
    if members.get("format").is_some_and(|format| format == "uint32") {
        // No format of OpenAPI.
        members.remove("format");
    }
    members.entry("minimum").or_insert(minimum);
    members.entry("maximum").or_insert(maximum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{MeshExternalService, MeshIdentity, MeshService};

    #[test]
    fn schemas_say_what_decoding_accepts() {
        let schema = of::<MeshExternalService>();
        assert_eq!(schema.root["required"], json!(["match"]));
        assert_eq!(schema.root["additionalProperties"], false);
        assert_eq!(
            schema.root["properties"]["endpoints"],
            json!({ "description": "Where it is.", "type": "array", "items": { "$ref": "#/$defs/Endpoint" } })
        );
        assert_eq!(schema.root["properties"]["tls"]["$ref"], "#/$defs/Tls");
        let matching = &schema.definitions["Match"];
        assert_eq!(matching["required"], json!(["port"]));
        assert_eq!(matching["properties"]["port"]["maximum"], 65535);
        assert_eq!(matching["properties"]["protocol"]["default"], "tcp");
        assert_eq!(schema.definitions["MatchProtocol"]["enum"], json!(["tcp", "grpc", "http", "http2"]));
        assert_eq!(schema.definitions["SanMatch"]["required"], json!(["value"]));
    }

    #[test]
    fn numbers_and_durations() {
        let service = of::<MeshService>();
        let port = &service.definitions["Port"]["properties"];
        assert_eq!((&port["port"]["minimum"], &port["port"]["maximum"]), (&json!(0), &json!(u32::MAX)));
        assert_eq!(service.definitions["DataplaneRef"]["properties"]["name"]["type"], "string");
        let identity = of::<MeshIdentity>();
        let expiry = &identity.definitions["CertificateParameters"]["properties"]["expiry"];
        assert_eq!((&expiry["type"], &expiry["format"]), (&json!("string"), &json!("go-duration")));
    }
}
