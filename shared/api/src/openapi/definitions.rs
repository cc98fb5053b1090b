//! Names for the schemas of many types in one document.
//!
//! Types of different resources often have the same name: a `Match` is something else for every policy. A name that means
//! one thing in the whole document is used as it is, others carry the owner's in front: `MeshHTTPRoute.Match`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tandem_model::json_schema::TypeSchema;

/// Beginning of references within a [`TypeSchema`].
const LOCAL: &str = "#/$defs/";
/// Beginning of references within the document.
pub const COMPONENT: &str = "#/components/schemas/";

/// Collects schemas, each under the name of the component that uses it.
#[derive(Default)]
pub struct Definitions {
    schemas: BTreeMap<String, TypeSchema>,
}

impl Definitions {
    /// Adds the schema of `owner`.
    pub fn add(&mut self, owner: impl Into<String>, schema: TypeSchema) {
        self.schemas.insert(owner.into(), schema);
    }

    /// The schemas of all owners and of what they refer to, by the names of their components.
    pub fn components(self) -> BTreeMap<String, Value> {
        let plain = self.unambiguous();
        let mut components = BTreeMap::new();
        for (owner, TypeSchema { root, definitions }) in self.schemas {
            let resolve = |name: &str| resolved(&plain, &owner, name);
            components.insert(owner.clone(), refer(root, &resolve));
            for (name, schema) in definitions {
                components.insert(resolve(&name), refer(schema, &resolve));
            }
        }
        components
    }

    /// Names that mean the same wherever they occur.
    fn unambiguous(&self) -> BTreeSet<String> {
        let mut meanings: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for (name, schema) in self.schemas.values().flat_map(|schema| &schema.definitions) {
            meanings.entry(name).or_default().push(schema);
        }
        let mut plain: BTreeSet<String> = meanings
            .iter()
            .filter(|(name, schemas)| {
                !self.schemas.contains_key(**name) && schemas.windows(2).all(|pair| pair[0] == pair[1])
            })
            .map(|(name, _)| (*name).to_owned())
            .collect();
        // What refers to something ambiguous is ambiguous, unless it occurs once.
        loop {
            let ambiguous: Vec<String> = plain
                .iter()
                .filter(|name| meanings[name.as_str()].len() > 1)
                .filter(|name| references(meanings[name.as_str()][0]).iter().any(|inner| !plain.contains(inner)))
                .cloned()
                .collect();
            if ambiguous.is_empty() {
                return plain;
            }
            for name in ambiguous {
                plain.remove(&name);
            }
        }
    }
}

fn resolved(plain: &BTreeSet<String>, owner: &str, name: &str) -> String {
    let name_of_component = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_");
    if plain.contains(name) { name_of_component(name) } else { name_of_component(&format!("{owner}.{name}")) }
}

fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(LOCAL));
            own.map(str::to_owned).into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The schema with every reference replaced by one within the document.
fn refer(schema: Value, resolve: &dyn Fn(&str) -> String) -> Value {
    match schema {
        Value::Object(members) => members
            .into_iter()
            .map(|(keyword, value)| match (keyword.as_str(), value.as_str().and_then(|t| t.strip_prefix(LOCAL))) {
                ("$ref", Some(name)) => (keyword, Value::from(format!("{COMPONENT}{}", resolve(name)))),
                _ => (keyword, refer(value, resolve)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| refer(item, resolve)).collect(),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(definitions: Value) -> TypeSchema {
        let definitions = definitions.as_object().expect("an object").clone();
        TypeSchema { root: json!({ "$ref": "#/$defs/A" }), definitions: definitions.into_iter().collect() }
    }

    #[test]
    fn only_what_is_ambiguous_names_its_owner() {
        let mut all = Definitions::default();
        let with = |inner: &str| {
            schema(json!({
                "A": { "items": { "$ref": "#/$defs/B" } },
                "B": { "type": inner },
                "C": { "type": "null" },
            }))
        };
        all.add("One", with("string"));
        all.add("Two", with("integer"));
        let components = all.components();
        let names: Vec<&str> = components.keys().map(String::as_str).collect();
        assert_eq!(names, ["C", "One", "One.A", "One.B", "Two", "Two.A", "Two.B"]);
        assert_eq!(components["One.A"], json!({ "items": { "$ref": "#/components/schemas/One.B" } }));
    }
}
