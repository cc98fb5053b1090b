//! Schemas of what the API takes and answers: items and lists of every type, overviews, problems.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tandem_insights::GlobalInsight;
use tandem_kds::status::SyncOverview;
use tandem_model::json_schema::{self, TypeSchema};
use tandem_model::{Encoding, Kind, core};
use tandem_policy::explain::{DryRun, Explanation};
use tandem_proto::json::schemas as message_schemas;

use super::definitions::{COMPONENT, Definitions};
use crate::handlers::global_insight::GlobalCounts;
use crate::handlers::index::{Index, WhoAmI};
use crate::handlers::inspect::confs::{InboundPolicyConfs, PolicyConfs};
use crate::handlers::inspect::layout::ProxyLayout;
use crate::handlers::inspect::routes::OutboundRoutes;
use crate::handlers::overviews::{OVERVIEWS, Overview};
use crate::handlers::policy_problems::PolicyProblems;
use crate::handlers::problems::{Problems, ProxyProblems};
use crate::handlers::tokens::{DataplaneRequest, UserRequest, ZoneRequest};
use crate::handlers::types::{PolicyTypes, ResourceTypes};

/// Full name of the message that describes one service of a ServiceInsight.
const SERVICE: &str = "kuma.mesh.v1alpha1.ServiceInsight.Service";

/// Component with the item of a kind.
pub fn item_name(kind: Kind) -> String {
    format!("{kind}Item")
}

/// Component with a list of items, from the component of the item.
pub fn list_name(item: &str) -> String {
    format!("{}List", item.strip_suffix("Item").unwrap_or(item))
}

/// All schemas of the components, by name.
pub fn all() -> Map<String, Value> {
    let mut definitions = Definitions::default();
    definitions.add("Index", json_schema::written::<Index>());
    definitions.add("WhoAmI", json_schema::written::<WhoAmI>());
    definitions.add("ResourceTypes", json_schema::written::<ResourceTypes>());
    definitions.add("PolicyTypes", json_schema::written::<PolicyTypes>());
    definitions.add("GlobalInsight", json_schema::written::<GlobalInsight>());
    definitions.add("GlobalCounts", json_schema::written::<GlobalCounts>());
    definitions.add("SyncOverview", json_schema::written::<SyncOverview>());
    definitions.add("ProxyLayout", json_schema::written::<ProxyLayout>());
    definitions.add("Problems", json_schema::written::<Problems>());
    definitions.add("ProxyProblems", json_schema::written::<ProxyProblems>());
    definitions.add("PolicyProblems", json_schema::written::<PolicyProblems>());
    definitions.add("Explanation", json_schema::written::<Explanation>());
    definitions.add("DryRun", json_schema::written::<DryRun>());
    definitions.add("PolicyConfs", json_schema::written::<PolicyConfs>());
    definitions.add("InboundPolicyConfs", json_schema::written::<InboundPolicyConfs>());
    definitions.add("OutboundRoutes", json_schema::written::<OutboundRoutes>());
    definitions.add("DataplaneTokenRequest", json_schema::of::<DataplaneRequest>());
    definitions.add("UserTokenRequest", json_schema::of::<UserRequest>());
    definitions.add("ZoneTokenRequest", json_schema::of::<ZoneRequest>());
    for kind in served() {
        let spec = core::spec_schema(kind).or_else(|| tandem_policy::spec_schema(kind));
        if let Some(schema) = spec {
            definitions.add(format!("{kind}Spec"), schema);
        }
        if let Some(schema) = core::status_schema(kind) {
            definitions.add(format!("{kind}Status"), schema);
        }
        if let Some(message) = message(kind) {
            // The root stands in the item; what it refers to has names that are unique.
            let schemas = message_schemas(message).unwrap_or_default();
            definitions.add(item_name(kind), TypeSchema { root: json!({}), definitions: schemas });
        }
    }
    let mut components = definitions.components();
    for kind in served() {
        let item = item(kind, &components);
        let name = item_name(kind);
        components.insert(list_name(&name), list(&name));
        components.insert(name, item);
    }
    for view in OVERVIEWS {
        components.insert(list_name(view.name), list(view.name));
        components.insert(view.name.to_owned(), overview(view));
    }
    components.insert("Problem".to_owned(), problem());
    components.insert("Written".to_owned(), written());
    // Messages whose fields stand in items, unless something else refers to them, too.
    for message in served().filter_map(message) {
        let reference = reference(message);
        if !components.values().any(|schema| mentions(schema, &reference)) {
            components.remove(message);
        }
    }
    components.into_iter().collect()
}

/// Whether `part` is in `value`.
fn mentions(value: &Value, part: &Value) -> bool {
    value == part
        || match value {
            Value::Object(members) => members.values().any(|value| mentions(value, part)),
            Value::Array(items) => items.iter().any(|value| mentions(value, part)),
            _ => false,
        }
}

/// The kinds that the API serves.
pub fn served() -> impl Iterator<Item = Kind> {
    Kind::all().filter(|kind| kind.descriptor().path.is_some())
}

/// The message whose fields an item of the flat form has.
fn message(kind: Kind) -> Option<&'static str> {
    match kind.descriptor().encoding {
        Encoding::Proto { .. } if kind == Kind::ServiceInsight => Some(SERVICE),
        Encoding::Proto { message } => Some(message),
        Encoding::Json { .. } => None,
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{COMPONENT}{name}") })
}

/// Members that all items have; `type_name` is what member `type` says.
fn meta(kind: Kind, type_name: &str) -> Map<String, Value> {
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "readOnly": true, "description": description });
    let mut members = Map::new();
    members.insert("type".to_owned(), json!({ "type": "string", "enum": [type_name] }));
    if kind.is_mesh_scoped() {
        members.insert("mesh".to_owned(), json!({ "type": "string", "description": "Mesh the item belongs to." }));
    }
    let mut name = json!({ "type": "string", "description": "Name, unique for the type within its scope." });
    if !kind.descriptor().read_only {
        name["pattern"] = json!("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$");
        name["maxLength"] = json!(253);
    }
    members.insert("name".to_owned(), name);
    members.insert("creationTime".to_owned(), time("When it was created."));
    members.insert("modificationTime".to_owned(), time("When it was last changed."));
    let labels = json!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "description": "Labels; those that the control plane computes are added when the item is written.",
    });
    members.insert("labels".to_owned(), labels);
    if kind.descriptor().short_name.is_some() {
        let kri = json!({ "type": "string", "readOnly": true, "description": "Identifier across zones." });
        members.insert("kri".to_owned(), kri);
    }
    members
}

fn item(kind: Kind, components: &BTreeMap<String, Value>) -> Value {
    let mut properties = meta(kind, kind.name());
    let mut required = vec!["type", "name"];
    let mut item = Map::new();
    item.insert("type".to_owned(), json!("object"));
    match message(kind) {
        Some(message) => {
            let root = components.get(message).cloned().unwrap_or_default();
            if let Some(description) = root.get("description") {
                item.insert("description".to_owned(), description.clone());
            }
            for (name, property) in root["properties"].as_object().into_iter().flatten() {
                properties.entry(name.clone()).or_insert_with(|| property.clone());
            }
            if let Some(choices) = root.get("allOf") {
                item.insert("allOf".to_owned(), choices.clone());
            }
            if kind.is_mesh_scoped() {
                required.push("mesh");
            }
        }
        None => {
            if let Some(mesh) = properties.get_mut("mesh") {
                mesh["default"] = json!("default");
            }
            properties.insert("spec".to_owned(), reference(&format!("{kind}Spec")));
            required.push("spec");
            if kind.has_status() {
                let status = format!("{kind}Status");
                let mut schema =
                    if components.contains_key(&status) { reference(&status) } else { json!({ "type": "object" }) };
                schema["readOnly"] = json!(true);
                schema["description"] = json!("What control planes found out about it.");
                properties.insert("status".to_owned(), schema);
            }
        }
    }
    item.insert("required".to_owned(), json!(required));
    item.insert("properties".to_owned(), Value::Object(properties));
    item.insert("additionalProperties".to_owned(), json!(false));
    if let Some(example) = super::examples::of(kind) {
        item.insert("examples".to_owned(), json!([example]));
    }
    Value::Object(item)
}

fn list(item: &str) -> Value {
    json!({
        "type": "object",
        "required": ["total", "items", "next"],
        "properties": {
            "total": { "type": "integer", "minimum": 0, "description": "Number of items on all pages." },
            "items": { "type": "array", "items": reference(item) },
            "next": { "type": ["string", "null"], "format": "uri", "description": "Address of the next page." },
        },
        "additionalProperties": false,
    })
}

fn overview(view: Overview) -> Value {
    let mut properties = meta(view.kind, view.name);
    properties.remove("kri");
    for (member, kind) in [(view.member, view.kind), (view.insight_member, view.insight)] {
        properties.insert(member.to_owned(), reference(message(kind).unwrap_or_default()));
    }
    json!({
        "type": "object",
        "description": format!("A {} together with its insight.", view.kind),
        "required": ["type", "name", "creationTime", "modificationTime", view.member],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn problem() -> Value {
    let parameters = |text: &str| {
        json!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", text],
                "properties": { "field": { "type": "string" }, text: { "type": "string" } },
            },
        })
    };
    json!({
        "type": "object",
        "description": "Why a request was refused.",
        "required": ["type", "status", "title", "detail"],
        "properties": {
            "type": { "type": "string", "enum": ["/std-errors"] },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "title": { "type": "string", "description": "What could not be done." },
            "detail": { "type": "string", "description": "Why not." },
            "invalid_parameters": parameters("reason"),
            "details": { "type": "string", "deprecated": true, "description": "Same as `detail`." },
            "causes": parameters("message"),
        },
        "examples": [{
            "type": "/std-errors",
            "status": 400,
            "title": "Could not process a resource",
            "detail": "Resource is not valid",
            "invalid_parameters": [{ "field": "networking.address", "reason": "address can't be empty" }],
            "details": "Resource is not valid",
            "causes": [{ "field": "networking.address", "message": "address can't be empty" }],
        }],
    })
}

fn written() -> Value {
    json!({
        "type": "object",
        "properties": {
            "warnings": {
                "type": "array",
                "items": { "type": "string" },
                "description": "What was accepted but should be written otherwise.",
            },
            "dryRun": { "type": "boolean", "description": "Nothing was written; this is what would have been." },
            "result": { "type": "string", "enum": ["created", "updated", "unchanged", "deleted"] },
            "type": { "type": "string" },
            "mesh": { "type": "string" },
            "name": { "type": "string" },
            "resource": { "type": "object", "description": "What would be stored." },
            "also": {
                "type": "array",
                "items": { "type": "object" },
                "description": "What would be written or deleted beside it.",
            },
        },
        "additionalProperties": false,
    })
}
