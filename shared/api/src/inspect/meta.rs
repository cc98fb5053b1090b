//! How inspection names resources.

use serde_json::{Value, json};
use tandem_model::Resource;

/// A resource as inspection shows it: `{"type","mesh","name","labels"}`. Labels are there even if empty; the mesh of a
/// resource that belongs to none is empty.
///
/// Source of the shape: Kuma `api/openapi/specs/common/resource.yaml`, `Meta`.
pub fn meta(resource: &Resource) -> Value {
    json!({
        "type": resource.kind().name(),
        "mesh": resource.key.mesh,
        "name": resource.key.name,
        "labels": resource.labels,
    })
}
