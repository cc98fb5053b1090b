//! Parameters that several operations have.

use serde_json::{Value, json};

use crate::query::paging::{DEFAULT_SIZE, MAX_SIZE};

/// Parameters of the query, by the name under which operations refer to them.
pub fn common() -> Vec<(&'static str, Value)> {
    vec![
        (
            "size",
            query(
                "size",
                "Items on a page; 0 for all.",
                json!({ "type": "integer", "minimum": 0, "maximum": MAX_SIZE, "default": DEFAULT_SIZE }),
            ),
        ),
        (
            "offset",
            query(
                "offset",
                "Items before the page.",
                json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX, "default": 0 }),
            ),
        ),
        ("name", query("name", "Shows items whose name contains this text.", json!({ "type": "string" }))),
        (
            "filter",
            json!({
                "name": "filter",
                "in": "query",
                "description": "Shows items with these labels: `filter[labels.team]=payments`.",
                "style": "deepObject",
                "explode": true,
                "schema": {
                    "type": "object",
                    "propertyNames": { "pattern": "^labels\\.[A-Za-z0-9./_-]+$" },
                    "additionalProperties": { "type": "string" },
                },
                "example": { "labels.team": "payments" },
            }),
        ),
        (
            "tag",
            json!({
                "name": "tag",
                "in": "query",
                "description": "Shows items that have all of these tags on one inbound, gateway or service. \
                                The value of the item's tag contains the one given; `*` stands for any.",
                "style": "form",
                "explode": true,
                "schema": { "type": "array", "items": { "type": "string", "pattern": "^[^:]+:.*$" } },
                "example": ["kuma.io/service:web"],
            }),
        ),
        (
            "gateway",
            query(
                "gateway",
                "Shows gateways only, those of one type only, or no gateways.",
                json!({ "type": "string", "enum": ["true", "false", "builtin", "delegated"] }),
            ),
        ),
        ("format", query("format", "Form of the answer.", json!({ "type": "string", "enum": ["universal"] }))),
        (
            "formatOfItem",
            query(
                "format",
                "Form of the answer: as written, or as an object of Kubernetes.",
                json!({ "type": "string", "enum": ["universal", "kubernetes", "k8s"], "default": "universal" }),
            ),
        ),
        ("namespace", query("namespace", "Namespace of objects of Kubernetes.", json!({ "type": "string" }))),
    ]
}

/// A parameter of the query.
pub fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A parameter in a path, by the name in the template.
pub fn in_path(name: &str) -> Value {
    let (description, schema) = match name {
        "mesh" => ("Name of the mesh.", json!({ "type": "string", "minLength": 1 })),
        "name" => ("Name of the item.", json!({ "type": "string", "minLength": 1 })),
        "kri" | "inbound" | "outbound" | "route" => (
            "Identifier of a resource: `kri_<short name>_<mesh>_<zone>_<namespace>_<name>_<section>`.",
            json!({ "type": "string", "pattern": "^kri(_[^_]*){6}$" }),
        ),
        "operation" => {
            ("What is asked of the proxy.", json!({ "type": "string", "enum": ["xds", "stats", "clusters"] }))
        }
        _ => ("", json!({ "type": "string", "minLength": 1 })),
    };
    let mut parameter = json!({ "name": name, "in": "path", "required": true, "schema": schema });
    if !description.is_empty() {
        parameter["description"] = json!(description);
    }
    parameter
}
