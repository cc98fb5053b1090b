//! Bodies that a schema does not allow, each with one mistake.

use serde_json::{Value, json};
use tandem_model::Kind;

use crate::document::Document;

/// A body with a mistake.
pub struct Mutation {
    pub body: Value,
    /// The mistake.
    pub what: String,
    /// Name of the member at fault.
    pub member: String,
}

/// Every mistake at every place of a valid body.
pub fn all(document: &Document, kind: Kind, valid: &Value) -> Vec<Mutation> {
    let mut walk = Walk { document, valid, found: Vec::new() };
    walk.at(document.item(kind), valid, String::new());
    walk.found
}

struct Walk<'a> {
    document: &'a Document,
    valid: &'a Value,
    found: Vec<Mutation>,
}

impl Walk<'_> {
    /// Mistakes at the place `pointer`, where `value` fits `schema`, and below.
    fn at(&mut self, schema: &Value, value: &Value, pointer: String) {
        let schema = self.document.resolve(schema).clone();
        if !pointer.is_empty() {
            self.types(&schema, &pointer);
        }
        match value {
            Value::Object(members) => {
                if schema["additionalProperties"] == false {
                    let mut more = value.clone();
                    more["mistake"] = json!(1);
                    self.replace(&pointer, more, "an unknown member", "mistake");
                }
                for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    // The default mesh need not be named; the address names the one that counts.
                    let mut fewer = value.clone();
                    fewer.as_object_mut().expect("an object").remove(name);
                    self.replace(&pointer, fewer, "a missing member", name);
                }
                for (name, member) in members {
                    let inner = match (schema["properties"].get(name), &schema["additionalProperties"]) {
                        (Some(schema), _) => schema.clone(),
                        (None, schema @ Value::Object(_)) => schema.clone(),
                        _ => continue,
                    };
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.at(&inner, member, format!("{pointer}/{name}"));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.at(&schema["items"], item, format!("{pointer}/{index}"));
                }
            }
            _ => {}
        }
    }

    /// Values of other types and out of range.
    fn types(&mut self, schema: &Value, pointer: &str) {
        let types = match &schema["type"] {
            Value::String(name) => vec![name.as_str()],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return,
        };
        let member = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
        let member = member.replace("~1", "/").replace("~0", "~");
        for (name, wrong) in [
            ("object", json!({ "a": 1 })),
            ("array", json!(["a"])),
            ("boolean", json!(true)),
            ("integer", json!(70_007)),
            ("number", json!(1.25)),
            ("string", json!("no value of this type")),
        ] {
            let fits = types.contains(&name) || (name == "integer" && types.contains(&"number"));
            if !fits {
                self.replace(pointer, wrong, &format!("{name} instead of {types:?}"), &member);
            }
        }
        if schema["enum"].is_array() {
            self.replace(pointer, json!("no-such-value"), "none of the values", &member);
        }
        if types == ["integer"] {
            if let Some(minimum) = schema["minimum"].as_i64() {
                self.replace(pointer, json!(minimum - 1), "below the minimum", &member);
            }
            if let Some(maximum) = schema["maximum"].as_i64().filter(|maximum| *maximum < i64::MAX) {
                self.replace(pointer, json!(maximum + 1), "above the maximum", &member);
            }
        }
        if schema["format"] == "go-duration" {
            self.replace(pointer, json!("5 minutes"), "no duration", &member);
        }
    }

    fn replace(&mut self, pointer: &str, value: Value, what: &str, member: &str) {
        let mut body = self.valid.clone();
        *body.pointer_mut(pointer).expect("a place of the body") = value;
        self.found.push(Mutation { body, what: format!("{what} at {pointer:?}"), member: member.to_owned() });
    }
}
