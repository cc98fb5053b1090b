//! The document as a whole.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use tandem_runtime::version::Version;

use super::operation::{Operation, Parameter, Shape};
use super::{definitions, parameters, schemas};
use crate::Authentication;
use crate::routes::Described;

/// What of the server's settings the document tells.
#[derive(Debug, Clone)]
pub struct Server {
    /// Path before all others: empty, or `/prefix`.
    pub base_path: String,
    /// How clients prove who they are.
    pub authentication: Authentication,
}

/// The document, made when it is first asked for.
pub struct Document {
    server: Server,
    routes: Arc<[Described]>,
    made: OnceLock<Made>,
}

struct Made {
    json: Bytes,
    yaml: Bytes,
}

impl Document {
    /// The document of these routes.
    pub fn new(server: Server, routes: Arc<[Described]>) -> Self {
        Self { server, routes, made: OnceLock::new() }
    }

    /// The document as indented JSON.
    pub fn json(&self) -> Bytes {
        self.made().json.clone()
    }

    /// The document as YAML.
    pub fn yaml(&self) -> Bytes {
        self.made().yaml.clone()
    }

    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let value = self.value();
            let json = serde_json::to_vec_pretty(&value).expect("a JSON value always has a JSON form");
            let yaml = serde_norway::to_string(&value).expect("a JSON value always has a YAML form");
            Made { json: json.into(), yaml: yaml.into() }
        })
    }

    fn value(&self) -> Value {
        let security = match self.server.authentication {
            Authentication::Tokens => "userToken",
            Authentication::AdminClientCerts => "clientCertificate",
        };
        let base = if self.server.base_path.is_empty() { "/" } else { self.server.base_path.as_str() };
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Tandem control plane",
                "version": Version::current().version,
                "description": "The HTTP API of a control plane of a service mesh, compatible with Kuma. \
                                Bodies are JSON or YAML. A member that is not described is refused, one that is `null` \
                                counts as absent. Requests from the host of the control plane itself need no proof of \
                                who sends them, unless it is configured otherwise.",
                "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": base }],
            "security": [{ security: [] }, {}],
            "paths": self.paths(),
            "components": {
                "schemas": schemas::all(),
                "parameters": parameters::common().into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
                "responses": refusals(),
                "securitySchemes": {
                    "userToken": {
                        "type": "http",
                        "scheme": "bearer",
                        "bearerFormat": "JWT",
                        "description": "A token of a user, as issued by `/tokens/user`.",
                    },
                    "clientCertificate": {
                        "type": "mutualTLS",
                        "description": "A certificate that the server trusts; its owner is an administrator.",
                    },
                },
            },
        })
    }

    fn paths(&self) -> Value {
        let mut paths = Map::new();
        for route in self.routes.iter() {
            let mut item = Map::new();
            let places: Vec<Value> = places(&route.path).map(parameters::in_path).collect();
            if !places.is_empty() {
                item.insert("parameters".to_owned(), Value::Array(places));
            }
            if route.path == "/tokens/user" && !self.server.base_path.is_empty() {
                // The only path beside the base path.
                item.insert("servers".to_owned(), json!([{ "url": "/" }]));
            }
            for (method, operation) in &route.operations {
                item.insert(method.as_str().to_ascii_lowercase(), described(method, &route.path, operation));
            }
            paths.insert(route.path.clone(), Value::Object(item));
        }
        Value::Object(paths)
    }
}

/// Names of the parameters in a template.
fn places(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn described(method: &Method, path: &str, operation: &Operation) -> Value {
    let mut value = Map::new();
    value.insert("operationId".to_owned(), json!(identifier(method, path)));
    value.insert("summary".to_owned(), json!(operation.summary));
    value.insert("tags".to_owned(), json!([operation.group]));
    let parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    if !parameters.is_empty() {
        value.insert("parameters".to_owned(), Value::Array(parameters));
    }
    let carries_body = *method == Method::PUT || *method == Method::POST;
    if let Some(shape) = &operation.request {
        let schema = schema(shape);
        let body = match shape {
            Shape::Text(media_type) => json!({ *media_type: { "schema": schema } }),
            _ => json!({ "application/json": { "schema": schema }, "application/yaml": { "schema": schema } }),
        };
        value.insert("requestBody".to_owned(), json!({ "required": true, "content": body }));
    }
    let mut responses = Map::new();
    for (status, shape) in &operation.answers {
        let mut answer = answer(*status, shape);
        if operation.watchable && *status == 200 {
            answer["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
        }
        responses.insert(status.to_string(), answer);
    }
    let always: &[u16] = if carries_body { &[401, 406, 413, 415, 500] } else { &[401, 406, 415, 500] };
    for status in operation.refusals.iter().chain(always) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    responses.sort_keys();
    value.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(value)
}

/// A name for the operation that no other has.
fn identifier(method: &Method, path: &str) -> String {
    let words = path.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_', ".");
    let words: Vec<&str> = words.split('.').filter(|word| !word.is_empty()).collect();
    let method = method.as_str().to_ascii_lowercase();
    if words.is_empty() { method } else { format!("{method}.{}", words.join(".")) }
}

fn parameter(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Common(name) => json!({ "$ref": format!("#/components/parameters/{name}") }),
        Parameter::Own { name, place, description, schema } => {
            json!({ "name": name, "in": place, "description": description, "schema": schema })
        }
    }
}

fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Component(name) => json!({ "$ref": format!("{}{name}", definitions::COMPONENT) }),
        Shape::Json(schema) => schema.clone(),
        Shape::Text(_) | Shape::JsonOrText | Shape::Nothing => json!({ "type": "string" }),
    }
}

fn answer(status: u16, shape: &Shape) -> Value {
    let content = match shape {
        Shape::Text("text/plain") => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Shape::Nothing => json!({}),
        // What the text means is for readers of that type.
        Shape::Text(media_type) => json!({ *media_type: {} }),
        Shape::JsonOrText => json!({ "application/json": {}, "text/plain": { "schema": { "type": "string" } } }),
        shape => json!({ "application/json": { "schema": schema(shape) } }),
    };
    let description = match status {
        201 => "It was created.",
        304 => "The client has it.",
        _ => "Done.",
    };
    json!({ "description": description, "content": content })
}

/// Answers of refusal, by status.
fn refusals() -> Map<String, Value> {
    let problem =
        || json!({ "application/json": { "schema": { "$ref": format!("{}Problem", definitions::COMPONENT) } } });
    let text = || json!({ "text/plain": { "schema": { "type": "string" } } });
    let either = || {
        let mut both = problem();
        both["text/plain"] = text()["text/plain"].clone();
        both
    };
    [
        (400, "The request or its body is not valid; `invalid_parameters` names the fields.", problem()),
        (401, "The proof of who sends the request does not hold.", problem()),
        (403, "Whoever sends the request may not do this.", problem()),
        (404, "There is nothing of this name, or no such path.", either()),
        (405, "Nobody may do this on this control plane.", either()),
        (406, "The client takes none of the formats that there are.", text()),
        (409, "Somebody else changed it at the same time.", problem()),
        (412, "It is not in the state that the request asks for.", problem()),
        (413, "The body is too long.", problem()),
        (415, "The body is in no format that the server reads.", text()),
        (500, "The server failed; its log tells why.", problem()),
    ]
    .into_iter()
    .map(|(status, description, content): (u16, _, _)| {
        (status.to_string(), json!({ "description": description, "content": content }))
    })
    .collect()
}
