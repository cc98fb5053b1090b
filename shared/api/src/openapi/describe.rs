//! What the operations that many types have in common do.

use serde_json::json;
use tandem_model::Kind;

use super::definitions::COMPONENT;
use super::operation::{Operation, Shape};
use super::schemas::{item_name, list_name};
use crate::handlers::overviews::Overview;
use crate::names::{plural, singular};

/// Heading for what the control plane tells of itself.
pub const CONTROL_PLANE: &str = "Control plane";
/// Heading for inspection.
pub const INSPECTION: &str = "Inspection";
/// Heading for synchronization.
pub const SYNCHRONIZATION: &str = "Synchronization";
/// Heading for tokens.
pub const TOKENS: &str = "Tokens";

/// Heading of the operations of a kind.
fn group(kind: Kind) -> &'static str {
    match kind.descriptor() {
        descriptor if descriptor.policy.is_some() => "Policies",
        descriptor if descriptor.name.ends_with("Insight") => "Insights",
        _ => "Resources",
    }
}

/// Statuses with which reading a kind is refused.
fn refusals(kind: Kind) -> &'static [u16] {
    if kind.descriptor().admin_only { &[400, 403, 404] } else { &[400, 404] }
}

fn list_parameters(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Dataplane => &["size", "offset", "name", "filter", "tag", "gateway"],
        Kind::ExternalService => &["size", "offset", "name", "filter", "tag"],
        _ => &["size", "offset", "name", "filter"],
    }
}

/// `GET` of a list.
pub fn list(kind: Kind) -> Operation {
    Operation::new(group(kind), format!("Lists {}", plural(kind)))
        .common(list_parameters(kind))
        .watchable()
        .answers(200, Shape::component(list_name(&item_name(kind))))
        .refuses(refusals(kind))
}

/// `GET` of an item.
pub fn get(kind: Kind) -> Operation {
    Operation::new(group(kind), format!("Shows a {}", singular(kind)))
        .common(&["formatOfItem", "namespace"])
        .watchable()
        .cacheable()
        .answers(200, item_or_kubernetes_object(kind))
        .refuses(refusals(kind))
}

/// An item in either of its forms.
fn item_or_kubernetes_object(kind: Kind) -> Shape {
    let object = json!({
        "type": "object",
        "description": "The object of Kubernetes, with `format=kubernetes`.",
        "required": ["kind", "apiVersion", "metadata"],
    });
    Shape::Json(json!({ "anyOf": [{ "$ref": format!("{COMPONENT}{}", item_name(kind)) }, object] }))
}

/// `PUT` of an item; nobody may do so where the kind is not `writable`.
pub fn put(kind: Kind, writable: bool) -> Operation {
    if !writable {
        return read_only(kind, "Creates or replaces");
    }
    Operation::new(group(kind), format!("Creates or replaces a {}", singular(kind)))
        .takes(Shape::component(item_name(kind)))
        .answers(200, Shape::component("Written"))
        .answers(201, Shape::component("Written"))
        .conditional()
        .refuses(refusals(kind))
        .refuses(&[409])
}

/// `GET` of a history.
pub fn history(kind: Kind) -> Operation {
    Operation::new(group(kind), format!("Lists the last changes of a {}, newest first", singular(kind)))
        .answers(200, Shape::object())
        .refuses(refusals(kind))
}

/// `PUT` of a rollback; nobody may do so where the kind is not `writable`.
pub fn rollback(kind: Kind, writable: bool) -> Operation {
    if !writable {
        return read_only(kind, "Restores an earlier revision of");
    }
    Operation::new(group(kind), format!("Restores an earlier revision of a {}", singular(kind)))
        .query("to", "Revision, as the history names it.", json!({ "type": "integer", "minimum": 1 }))
        .answers(200, Shape::component("Written"))
        .answers(201, Shape::component("Written"))
        .conditional()
        .refuses(refusals(kind))
        .refuses(&[409])
}

/// `POST` of many documents.
pub fn documents(summary: &str) -> Operation {
    Operation::new(CONTROL_PLANE, summary)
        .takes(Shape::Json(json!({ "type": "array", "minItems": 1, "items": { "type": "object" } })))
        .answers(200, Shape::object())
        .refuses(&[400, 403, 405, 409])
}

/// `DELETE` of an item; nobody may do so where the kind is not `writable`.
pub fn delete(kind: Kind, writable: bool) -> Operation {
    if !writable {
        return read_only(kind, "Deletes");
    }
    Operation::new(group(kind), format!("Deletes a {}", singular(kind)))
        .answers(200, Shape::component("Written"))
        .conditional()
        .refuses(refusals(kind))
        .refuses(&[409])
}

/// `GET` of the proxies that an item concerns.
pub fn proxies(kind: Kind) -> Operation {
    Operation::new(INSPECTION, format!("Lists the proxies that a {} concerns", singular(kind)))
        .common(&["size", "offset", "name"])
        .answers(200, Shape::object())
        .refuses(&[400, 404])
}

fn read_only(kind: Kind, what: &str) -> Operation {
    Operation::new(group(kind), format!("{what} a {} (not on this control plane)", singular(kind))).refuses(&[405])
}

/// `GET` of a list of services.
pub fn services() -> Operation {
    Operation::new("Insights", "Lists services")
        .common(&["size", "offset", "name"])
        .answers(200, Shape::component(list_name(&item_name(Kind::ServiceInsight))))
        .refuses(&[400, 404])
}

/// `GET` of a list of overviews.
pub fn overviews(overview: Overview) -> Operation {
    Operation::new("Insights", format!("Lists {} with their insights", plural(overview.kind)))
        .common(list_parameters(overview.kind))
        .answers(200, Shape::component(list_name(overview.name)))
        .refuses(&[400, 404])
}

/// `GET` of an overview.
pub fn overview(overview: Overview) -> Operation {
    Operation::new("Insights", format!("Shows a {} with its insight", singular(overview.kind)))
        .common(&["format"])
        .answers(200, Shape::component(overview.name))
        .refuses(&[400, 404])
}
