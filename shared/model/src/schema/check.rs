//! Checking JSON against a schema, all of it at once, with the texts that clients know.
//!
//! Texts: Kuma `pkg/core/resources/model/rest/unmarshaller.go` over `k8s.io/kube-openapi/pkg/validation`.

use std::collections::BTreeMap;

use regex::Regex;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::json_schema::{self, TypeSchema};
use crate::rest::UNKNOWN_FIELD;
use crate::violation::{Path, Violations};

/// A schema, prepared for checking.
#[derive(Debug)]
pub struct Checker {
    root: Node,
    definitions: BTreeMap<String, Node>,
}

/// What a schema says of a value; absent means that it says nothing.
#[derive(Debug, Default)]
struct Node {
    reference: Option<String>,
    any_of: Vec<Node>,
    kind: Option<String>,
    /// Whether it is one of several options.
    is_option: bool,
    names: Vec<Value>,
    base64: bool,
    minimum: Option<f64>,
    maximum: Option<f64>,
    lengths: Limits,
    pattern: Option<Regex>,
    items: Option<Box<Node>>,
    counts: Limits,
    properties: Vec<(String, Node)>,
    required: Vec<String>,
    others: Others,
}

/// Members that a schema does not name.
#[derive(Debug, Default)]
enum Others {
    #[default]
    Any,
    None,
    Like(Box<Node>),
}

#[derive(Debug, Default)]
struct Limits {
    least: Option<u64>,
    most: Option<u64>,
}

impl Checker {
    /// A checker of the schema of `T`.
    pub fn of<T: JsonSchema>() -> Self {
        Self::new(&json_schema::of::<T>())
    }

    /// A checker of `schema`. Keywords that are not used by schemas of this project say nothing.
    pub fn new(schema: &TypeSchema) -> Self {
        let definitions = schema.definitions.iter().map(|(name, schema)| (name.clone(), Node::new(schema)));
        Self { root: Node::new(&schema.root), definitions: definitions.collect() }
    }

    /// All that is wrong with the shape of `value`, which stands at the member `root` of a resource.
    pub fn check(&self, root: &str, value: &Value) -> Violations {
        let mut violations = Violations::none();
        self.visit(&self.root, value, &Path::new(root), &mut violations);
        violations
    }

    fn visit(&self, node: &Node, value: &Value, path: &Path, violations: &mut Violations) {
        if let Some(node) = node.reference.as_ref().and_then(|name| self.definitions.get(name)) {
            self.visit(node, value, path, violations);
        }
        self.visit_options(node, value, path, violations);
        let fits = node.kind.as_deref().is_none_or(|kind| match wrong_type(kind, value, node.is_option) {
            Some(text) => {
                violations.add(path, text);
                false
            }
            None => true,
        });
        if !node.names.is_empty() && !node.names.contains(value) {
            let names: Vec<String> = node.names.iter().map(plain).collect();
            violations.add(path, format!("in body should be one of [{}]", names.join(" ")));
        }
        if !fits {
            return;
        }
        match value {
            Value::Number(number) => range(node, number.as_f64().unwrap_or_default(), path, violations),
            Value::String(text) => text_rules(node, text, path, violations),
            Value::Array(items) => {
                node.counts.check(items.len(), "have", "items", path, violations);
                for (index, item) in items.iter().enumerate() {
                    if let Some(node) = &node.items {
                        self.visit(node, item, &path.index(index), violations);
                    }
                }
            }
            Value::Object(members) => self.visit_members(node, members, path, violations),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// When no option fits, the first one tells what is wrong.
    fn visit_options(&self, node: &Node, value: &Value, path: &Path, violations: &mut Violations) {
        let of_option = |option: &Node| {
            let mut violations = Violations::none();
            self.visit(option, value, path, &mut violations);
            violations
        };
        let mut options = node.any_of.iter().map(of_option);
        let Some(first) = options.next().filter(|first| !first.is_empty()) else { return };
        if options.all(|option| !option.is_empty()) {
            violations.add(&Path::root(), format!("{:?} must validate at least one schema (anyOf)", path.as_str()));
            violations.extend(first);
        }
    }

    fn visit_members(&self, node: &Node, members: &Map<String, Value>, path: &Path, violations: &mut Violations) {
        for (name, value) in members {
            let path = path.field(name);
            match (node.properties.iter().find(|(known, _)| known == name), &node.others) {
                (Some((_, node)), _) => self.visit(node, value, &path, violations),
                (None, Others::Like(node)) => self.visit(node, value, &path, violations),
                (None, Others::None) => violations.add(&path, UNKNOWN_FIELD),
                (None, Others::Any) => {}
            }
        }
        for name in node.required.iter().filter(|name| !members.contains_key(*name)) {
            violations.add(&path.field(name), "in body is required");
        }
    }
}

fn wrong_type(kind: &str, value: &Value, is_option: bool) -> Option<String> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if kind == "integer" && number.is_f64() => "fraction",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match (kind, found) {
        ("integer", "fraction") if is_option => Some("in body must be of type integer: \"number\"".to_owned()),
        ("integer", "fraction") => Some("in body must be of type int32: \"float64\"".to_owned()),
        ("integer", "number") => None,
        _ if kind == found => None,
        _ => Some(format!("in body must be of type {kind}: {found:?}")),
    }
}

fn range(node: &Node, number: f64, path: &Path, violations: &mut Violations) {
    if let Some(minimum) = node.minimum.filter(|minimum| number < *minimum) {
        violations.add(path, format!("in body should be greater than or equal to {}", float(minimum)));
    }
    if let Some(maximum) = node.maximum.filter(|maximum| number > *maximum) {
        violations.add(path, format!("in body should be less than or equal to {}", float(maximum)));
    }
}

fn text_rules(node: &Node, text: &str, path: &Path, violations: &mut Violations) {
    if node.base64 && !node.matches(text) {
        violations.add(path, format!("in body must be of type byte: {text:?}"));
    }
    if node.lengths.check(text.chars().count(), "be", "chars long", path, violations) {
        return;
    }
    if let Some(pattern) = node.pattern.as_ref().filter(|_| !node.base64 && !node.matches(text)) {
        violations.add(path, format!("in body should match '{pattern}'"));
    }
}

impl Limits {
    /// Adds the violation of `count`, if any, and tells whether there is one.
    fn check(&self, count: usize, verb: &str, unit: &str, path: &Path, violations: &mut Violations) -> bool {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if let Some(least) = self.least.filter(|least| count < *least) {
            violations.add(path, format!("in body should {verb} at least {least} {unit}"));
            return true;
        }
        if let Some(most) = self.most.filter(|most| count > *most) {
            violations.add(path, format!("in body should {verb} at most {most} {unit}"));
            return true;
        }
        false
    }
}

/// A number as Go prints it: with an exponent from a million on.
fn float(number: f64) -> String {
    if number.abs() < 1e6 {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e+{exponent:0>2}"),
        None => text,
    }
}

/// A name without quotes, as lists of names show it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Node {
    fn matches(&self, text: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }

    fn new(schema: &Value) -> Self {
        let text = |keyword: &str| schema[keyword].as_str();
        let number = |keyword: &str| schema[keyword].as_u64();
        let list = |keyword: &str| schema[keyword].as_array().into_iter().flatten();
        Self {
            reference: text("$ref").map(|name| name.trim_start_matches("#/$defs/").to_owned()),
            any_of: list("anyOf").map(|option| Self { is_option: true, ..Self::new(option) }).collect(),
            is_option: false,
            kind: text("type").map(str::to_owned),
            names: list("enum").chain(schema.get("const")).cloned().collect(),
            base64: text("contentEncoding") == Some("base64"),
            minimum: schema["minimum"].as_f64(),
            maximum: schema["maximum"].as_f64(),
            lengths: Limits { least: number("minLength"), most: number("maxLength") },
            // Decoding tells what is wrong with a length of time.
            pattern: text("pattern").filter(|_| text("format") != Some("go-duration")).map(|pattern| {
                Regex::new(pattern).expect("the patterns of this project's schemas are regular expressions")
            }),
            items: schema.get("items").map(|items| Box::new(Node::new(items))),
            counts: Limits { least: number("minItems"), most: number("maxItems") },
            properties: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Node::new(schema)))
                .collect(),
            required: list("required").map(plain).collect(),
            others: match schema.get("additionalProperties") {
                None | Some(Value::Bool(true)) => Others::Any,
                Some(Value::Bool(false)) => Others::None,
                Some(schema) => Others::Like(Box::new(Node::new(schema))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(schema: Value, value: &Value) -> String {
        let schema = TypeSchema { root: schema, definitions: BTreeMap::new() };
        Checker::new(&schema).check("spec", value).to_string()
    }

    #[test]
    fn every_violation_is_told() {
        let schema = json!({
            "type": "object", "required": ["kind", "port"], "additionalProperties": false,
            "properties": {
                "kind": {"type": "string", "enum": ["Mesh", "Dataplane"]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "items": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "minLength": 2}},
            },
        });
        assert_eq!(
            violations(schema.clone(), &json!({"kind": 4, "labels": {"a": 1}, "items": ["a", null], "more": 1})),
            "spec.kind: in body must be of type string: \"number\"; \
             spec.kind: in body should be one of [Mesh Dataplane]; \
             spec.labels.a: in body must be of type string: \"number\"; \
             spec.items[0]: in body should be at least 2 chars long; \
             spec.items[1]: in body must be of type string: \"null\"; \
             spec.more: unknown field; spec.port: in body is required"
        );
        assert_eq!(
            violations(schema, &json!({"kind": "Mesh", "port": 1, "items": []})),
            "spec.port: unknown field; spec.items: in body should have at least 1 items"
        );
    }

    #[test]
    fn numbers() {
        let schema = json!({"type": "integer", "minimum": 1, "maximum": 8_000_000});
        for (value, expected) in [
            (json!(0), "spec: in body should be greater than or equal to 1"),
            (json!(8_000_001), "spec: in body should be less than or equal to 8e+06"),
            (json!(1.5), "spec: in body must be of type int32: \"float64\""),
            (json!("1"), "spec: in body must be of type integer: \"string\""),
            (json!(8_000_000), ""),
        ] {
            assert_eq!(violations(schema.clone(), &value), expected);
        }
        assert_eq!(float(5_000_011.0), "5.000011e+06");
        assert_eq!(float(4_294_967_295.0), "4.294967295e+09");
    }

    #[test]
    fn alternatives() {
        let schema = json!({"anyOf": [{"type": "integer"}, {"type": "string"}]});
        assert_eq!(violations(schema.clone(), &json!("half")), "");
        assert_eq!(
            violations(schema, &json!(true)),
            ": \"spec\" must validate at least one schema (anyOf); spec: in body must be of type integer: \"boolean\""
        );
    }
}
