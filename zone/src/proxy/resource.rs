//! The resource a proxy brings: reading it, and what it says about application metrics.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_model::Resource;
use tandem_model::rest::{self, Unknown};
use tandem_proto::mesh::v1alpha1 as pb;

/// Why the text a proxy brought is no resource.
#[derive(Debug, thiserror::Error)]
pub enum ResourceTextError {
    /// Neither YAML nor JSON.
    #[error("the resource of the proxy is neither YAML nor JSON: {0}")]
    Yaml(#[from] serde_norway::Error),
    /// Not a resource.
    #[error("{0}")]
    Rest(#[from] rest::RestError),
}

/// Reads the resource a proxy brings. Members that this version does not know are ignored: kuma-dp may be newer.
///
/// # Errors
/// When the text is not YAML (of which JSON is a part), or not a resource.
pub fn parse(text: &str) -> Result<Resource, ResourceTextError> {
    let value: Value = serde_norway::from_str(text)?;
    Ok(rest::from_json(value, None, Unknown::Ignore)?.resource)
}

/// Application metrics that kuma-dp is to merge into Envoy's: those of the Mesh's Prometheus backend, overridden by name by those
/// of the Dataplane, without the disabled ones.
///
/// Source of the shape: Kuma `pkg/xds/bootstrap/types/bootstrap_response.go`.
pub fn metrics_aggregates(mesh: &pb::Mesh, dataplane: &pb::Dataplane, address: &str) -> Vec<Value> {
    let backend = mesh.metrics.as_ref().and_then(|metrics| {
        metrics
            .backends
            .iter()
            .find(|backend| backend.name == metrics.enabled_backend && backend.r#type == "prometheus")
    });
    let mut by_name = BTreeMap::new();
    for conf in [backend, dataplane.metrics.as_ref()].into_iter().flatten().filter_map(|backend| backend.conf.as_ref())
    {
        for entry in prometheus_aggregates(conf) {
            by_name.insert(entry.name.clone(), entry);
        }
    }
    by_name
        .into_values()
        .filter(|entry| entry.enabled != Some(false))
        .map(|entry| {
            let address = if entry.address.is_empty() { address } else { &entry.address };
            json!({"name": entry.name, "address": address, "port": entry.port, "path": entry.path})
        })
        .collect()
}

fn prometheus_aggregates(conf: &prost_types::Struct) -> Vec<pb::PrometheusAggregateMetricsConfig> {
    use prost_types::value::Kind;
    let Some(Kind::ListValue(list)) = conf.fields.get("aggregate").and_then(|value| value.kind.as_ref()) else {
        return Vec::new();
    };
    let entries = list.values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StructValue(members)) => Some(&members.fields),
        _ => None,
    });
    entries
        .map(|fields| {
            let text = |name: &str| match fields.get(name).and_then(|value| value.kind.as_ref()) {
                Some(Kind::StringValue(text)) => text.clone(),
                _ => String::new(),
            };
            let port = match fields.get("port").and_then(|value| value.kind.as_ref()) {
                // Out of range or fractional: the mesh's validation refuses it, and 0 is what remains of it here.
                Some(Kind::NumberValue(port)) if (0.0..=65535.0).contains(port) => *port as u32,
                _ => 0,
            };
            let enabled = match fields.get("enabled").and_then(|value| value.kind.as_ref()) {
                Some(Kind::BoolValue(enabled)) => Some(*enabled),
                _ => None,
            };
            pb::PrometheusAggregateMetricsConfig {
                name: text("name"),
                port,
                path: text("path"),
                enabled,
                address: text("address"),
            }
        })
        .collect()
}
