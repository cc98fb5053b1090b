//! Values that a schema allows, made from bytes: the same bytes make the same value, and fewer or smaller bytes a simpler one,
//! so that failures shrink.

use serde_json::{Map, Value, json};

use crate::document::Document;

/// Decisions, one byte each; zeros when the bytes are used up.
pub struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or_default()
    }

    /// A number below `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn of<'t, T>(&mut self, options: &'t [T]) -> &'t T {
        &options[self.below(options.len())]
    }
}

/// Makes values for the schemas of a document.
pub struct Generator<'d> {
    pub document: &'d Document,
}

impl Generator<'_> {
    /// A value; `base` is one that is known to be valid and of which parts may be used.
    pub fn value(&self, schema: &Value, base: Option<&Value>, choices: &mut Choices, depth: usize) -> Value {
        let schema = self.document.resolve(schema);
        for keyword in ["anyOf", "oneOf"] {
            if let Some(options) = schema[keyword].as_array() {
                let option = choices.of(options);
                return self.value(option, None, choices, depth + 1);
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            return match base {
                Some(base) if choices.below(4) > 0 => base.clone(),
                _ => choices.of(values).clone(),
            };
        }
        let kind = match &schema["type"] {
            Value::String(name) => name.as_str(),
            Value::Array(names) => choices.of(names).as_str().expect("a name"),
            _ => return free(choices, 2),
        };
        match (kind, base) {
            ("object", base) => self.object(schema, base, choices, depth),
            ("array", Some(Value::Array(items))) if choices.below(4) > 0 => {
                items.iter().map(|item| self.value(&schema["items"], Some(item), choices, depth + 1)).collect()
            }
            ("array", _) => {
                let least = schema["minItems"].as_u64().unwrap_or_default() as usize;
                let length = if depth > 12 { least } else { choices.below(3).max(least) };
                (0..length).map(|_| self.value(&schema["items"], None, choices, depth + 1)).collect()
            }
            (_, Some(base)) if choices.below(4) > 0 => base.clone(),
            ("string", _) => Value::String(text(schema, choices)),
            ("integer", _) => integer(schema, choices),
            ("number", _) => choices.of(&[json!(0), json!(1), json!(0.5), json!(-3.25), json!(1e6)]).clone(),
            ("boolean", _) => Value::Bool(choices.below(2) == 1),
            (other, _) => panic!("{other} in {schema}"),
        }
    }

    fn object(&self, schema: &Value, base: Option<&Value>, choices: &mut Choices, depth: usize) -> Value {
        let mut object = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["readOnly"] == true {
                continue;
            }
            let base = base.and_then(|base| base.get(name));
            let is_there = match base {
                _ if required.contains(&name.as_str()) => true,
                Some(_) => choices.below(8) > 0,
                None => depth < 10 && choices.below(4 + depth) == 1,
            };
            if is_there {
                object.insert(name.clone(), self.value(property, base, choices, depth + 1));
            }
        }
        let others = &schema["additionalProperties"];
        if others.is_object() || others == true {
            match base {
                Some(Value::Object(members)) if choices.below(4) > 0 => object.extend(members.clone()),
                _ => {
                    for _ in 0..choices.below(3) {
                        let name = choices.of(&["kuma.io/service", "version", "kuma.io/protocol", "team", ""]);
                        let value = self.value(others, None, choices, depth + 1);
                        object.insert((*name).to_owned(), value);
                    }
                }
            }
        }
        for choice in schema["allOf"].as_array().into_iter().flatten() {
            let options = choice["oneOf"].as_array().into_iter().flatten();
            let names = options.filter_map(|option| option["required"][0].as_str());
            let present: Vec<&str> = names.filter(|name| object.contains_key(*name)).collect();
            for extra in present.iter().skip(1) {
                object.remove(*extra);
            }
        }
        Value::Object(object)
    }
}

/// A value of no schema.
fn free(choices: &mut Choices, depth: usize) -> Value {
    match choices.below(if depth == 0 { 4 } else { 6 }) {
        0 => json!("text"),
        1 => json!(1),
        2 => json!(true),
        3 => json!(0.5),
        4 => json!([free(choices, depth - 1)]),
        _ => json!({ "member": free(choices, depth - 1) }),
    }
}

fn text(schema: &Value, choices: &mut Choices) -> String {
    let of = |choices: &mut Choices, options: &[&str]| (*choices.of(options)).to_owned();
    match (schema["format"].as_str(), schema["contentEncoding"].as_str()) {
        (Some("go-duration"), _) => {
            of(choices, &["10s", "0", "0s", "1m30s", "-5s", "+.5h", "1.5ms", "300ns", "1000000h", "7us"])
        }
        (Some("date-time"), _) => of(choices, &["2026-01-31T12:00:00Z", "1970-01-01T00:00:00.123456789Z"]),
        (Some("int64"), _) => of(choices, &["0", "-1", "123456789012345678"]),
        (Some("uint64"), _) => of(choices, &["0", "1", "1234567890123456789"]),
        (_, Some("base64")) => of(choices, &["", "c2VjcmV0", "YQ==", "YWI="]),
        _ if schema["pattern"].is_string() => of(choices, &["a", "web-1", "a.b.c"]),
        _ => {
            let length = schema["minLength"].as_u64().unwrap_or_default();
            let words = [
                "web",
                "",
                "10.0.0.1",
                "::1",
                "kuma.io/service",
                "http",
                "example.com:443",
                "/",
                "/api",
                "*",
                "80",
                "50.5",
                "tcp",
                "GET",
                "5xx",
                "100mbps",
                "{{.name}}",
                "{{ .DisplayName }}.mesh",
                "^[a-z]+$",
                "(",
                "name: x\n",
                "spiffe://default/web",
                "fd00::/8",
                "\u{0}",
                "é\u{202e}🦀",
                "%REQ(:path)%",
            ];
            let word = (*choices.of(&words)).to_owned();
            if word.len() as u64 >= length { word } else { "x".repeat(length as usize) }
        }
    }
}

fn integer(schema: &Value, choices: &mut Choices) -> Value {
    let minimum = schema["minimum"].as_i64().unwrap_or(i64::MIN);
    let maximum = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    let numbers = [80, 1, 0, 8080, 503, 100, minimum, maximum, -1, 65536, i64::from(choices.byte())];
    let number = *choices.of(&numbers);
    json!(number.clamp(minimum, maximum))
}
