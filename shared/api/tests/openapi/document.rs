//! The document as the tests use it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};
use tandem_model::Kind;

use crate::generate::{Choices, Generator};

const COMPONENTS: &str = "#/components/schemas/";

/// The document, and validators of its schemas as they were needed.
pub struct Document {
    value: Value,
    validators: RefCell<HashMap<String, Validator>>,
}

impl Document {
    pub fn new(value: Value) -> Self {
        Self { value, validators: RefCell::default() }
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What a reference stands for.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let target = self.value.pointer(&reference[1..]);
                self.resolve(target.unwrap_or_else(|| panic!("{reference} is not defined")))
            }
            None => schema,
        }
    }

    pub fn item(&self, kind: Kind) -> &Value {
        &self.value["components"]["schemas"][format!("{kind}Item")]
    }

    /// Schema of a body.
    pub fn body(&self, kind: Kind) -> Value {
        json!({ "$ref": format!("{COMPONENTS}{kind}Item") })
    }

    pub fn example(&self, kind: Kind) -> Value {
        self.item(kind)["examples"][0].clone()
    }

    /// Template of the path of a kind's item or list.
    pub fn template(&self, kind: Kind, item: bool) -> String {
        let path = kind.descriptor().path.expect("a kind that is served");
        let list = if kind.is_mesh_scoped() { format!("/meshes/{{mesh}}/{path}") } else { format!("/{path}") };
        if item { format!("{list}/{{name}}") } else { list }
    }

    pub fn is_writable(&self, kind: Kind) -> bool {
        self.value["paths"][self.template(kind, true)]["put"]["requestBody"].is_object()
    }

    /// A body of a kind that its schema allows: made from nothing, or from the example.
    pub fn generate(&self, kind: Kind, choices: &mut Choices) -> Value {
        let example = self.example(kind);
        let base = if choices.below(3) == 0 { None } else { Some(&example) };
        Generator { document: self }.value(self.item(kind), base, choices, 0)
    }

    /// Schema of the documented answer: the outer option is about the status, the inner one about JSON.
    pub fn answer(&self, method: &str, path: &str, status: u16) -> Option<Option<Value>> {
        let response = self.value["paths"][path][method]["responses"].get(status.to_string())?;
        let content = &self.resolve(response)["content"];
        if content.get("text/plain").is_some() || content.get("application/yaml").is_some() {
            return Some(None);
        }
        Some(Some(content["application/json"]["schema"].clone()))
    }

    pub fn validate(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut root = schema.clone();
            if root.is_object() {
                root["components"] = json!({ "schemas": self.value["components"]["schemas"] });
            }
            let options = jsonschema::options().with_draft(Draft::Draft202012);
            options.build(&root).unwrap_or_else(|error| panic!("{error} in {schema}"))
        });
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// Paths and the names of their methods.
    pub fn methods(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        let paths = self.value["paths"].as_object().expect("paths");
        paths.iter().map(|(path, item)| {
            let members = item.as_object().expect("an object").keys().cloned();
            (path.clone(), members.filter(|name| !["parameters", "servers"].contains(&name.as_str())).collect())
        })
    }

    pub fn check_references(&self) {
        let mut used = BTreeSet::new();
        references(&self.value, &mut used);
        for reference in &used {
            assert!(self.value.pointer(&reference[1..]).is_some(), "{reference} is not defined");
        }
        for name in self.value["components"]["schemas"].as_object().expect("schemas").keys() {
            assert!(used.contains(&format!("{COMPONENTS}{name}")), "schema {name} is used nowhere");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
        }
    }

    pub fn check_operations(&self) {
        assert_eq!(self.value["openapi"], "3.1.0");
        let mut identifiers = BTreeSet::new();
        for (path, methods) in self.methods() {
            for method in methods {
                let operation = &self.value["paths"][&path][&method];
                let identifier = operation["operationId"].as_str().expect("an identifier").to_owned();
                assert!(identifiers.insert(identifier.clone()), "{identifier} twice");
                assert!(!operation["summary"].as_str().expect("a summary").is_empty(), "{method} {path}");
                let parameters = self.value["paths"][&path]["parameters"].as_array().into_iter().flatten();
                let places: Vec<String> =
                    parameters.map(|p| format!("{{{}}}", p["name"].as_str().expect("a name"))).collect();
                assert_eq!(path.matches('{').count(), places.len(), "{path}");
                assert!(places.iter().all(|place| path.contains(place)), "{path}: {places:?}");
            }
        }
    }

    pub fn check_schemas(&self) {
        for (name, schema) in self.value["components"]["schemas"].as_object().expect("schemas") {
            assert!(jsonschema::draft202012::meta::is_valid(schema), "{name} is no schema");
        }
        for kind in Kind::all().filter(|kind| kind.descriptor().path.is_some() && !kind.descriptor().read_only) {
            self.validate(&self.body(kind), &self.example(kind))
                .unwrap_or_else(|error| panic!("example of {kind}: {error}"));
        }
    }
}

/// The template with a name for each parameter.
pub fn filled(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "{mesh}" => "default",
        "{kri}" => "kri_m____none_",
        "{operation}" => "xds",
        segment if segment.starts_with('{') => "none",
        segment => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                found.insert(reference.to_owned());
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
