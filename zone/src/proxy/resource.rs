//! The resource a proxy brings: reading it, and what it says about application metrics.

use serde_json::{Value, json};
use tandem_model::rest::{self, Unknown};
use tandem_model::{Resource, prometheus};
use tandem_proto::mesh::v1alpha1 as pb;

use super::document;

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
    Ok(rest::from_json(document::read(text)?, None, Unknown::Ignore)?.resource)
}

/// Application metrics that kuma-dp is to merge into Envoy's: those of the Mesh's Prometheus backend, overridden by name by those
/// of the Dataplane, without the disabled ones. None with settings that make no sense; generation tells about them.
///
/// Source of the shape: Kuma `pkg/xds/bootstrap/types/bootstrap_response.go`.
pub fn metrics_aggregates(mesh: &pb::Mesh, dataplane: &pb::Dataplane, address: &str) -> Vec<Value> {
    let settings = prometheus::settings(mesh, dataplane).ok().flatten();
    let mut aggregates = settings.map(|settings| settings.aggregate).unwrap_or_default();
    aggregates.retain(|entry| entry.enabled != Some(false));
    aggregates.sort_by(|one, other| one.name.cmp(&other.name));
    let listed = aggregates.into_iter().map(|entry| {
        let address = if entry.address.is_empty() { address } else { &entry.address };
        json!({"name": entry.name, "address": address, "port": entry.port, "path": entry.path})
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<S: prost::Message + prost::Name + Default>(document: Value) -> S {
        rest::from_json(document, None, Unknown::Refuse).expect("a resource").resource.proto().expect("of this kind")
    }

    #[test]
    fn applications_are_those_of_the_mesh_and_of_the_proxy() {
        let app = |name: &str, port: u32| json!({"name": name, "port": port, "path": "/m", "address": "10.0.0.9"});
        let mut off = app("off", 3);
        off["enabled"] = json!(false);
        let mesh = |enabled: &str| -> pb::Mesh {
            let conf = json!({"aggregate": [app("web", 1), app("db", 2), off]});
            let backends = json!([{"name": "p", "type": "prometheus", "conf": conf}]);
            spec(json!({"type": "Mesh", "name": "m", "metrics": {"enabledBackend": enabled, "backends": backends}}))
        };
        let own = json!({"aggregate": [{"name": "web", "port": 9, "path": "/own"}]});
        let dataplane: pb::Dataplane = spec(json!({
            "type": "Dataplane", "mesh": "m", "name": "d", "networking": {"address": "10.0.0.1"},
            "metrics": {"type": "prometheus", "conf": own},
        }));
        let expected = [
            json!({"name": "db", "address": "10.0.0.9", "port": 2, "path": "/m"}),
            json!({"name": "web", "address": "10.0.0.1", "port": 9, "path": "/own"}),
        ];
        assert_eq!(metrics_aggregates(&mesh("p"), &dataplane, "10.0.0.1"), expected);
        assert_eq!(metrics_aggregates(&mesh(""), &dataplane, "10.0.0.1"), [Value::Null; 0]);
    }
}
