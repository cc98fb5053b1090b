//! Metrics as the Mesh configures them (`metrics.backends` of type `prometheus`), for one proxy.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/mesh/dataplane_helpers.go`,
//! `pkg/core/managers/apis/dataplane/additional_networking.go`.

use prost::Message as _;
use tandem_proto::json::{JsonError, from_struct};
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::{Dataplane, Mesh, PrometheusMetricsBackendConfig};

/// The only type of metrics backends.
const PROMETHEUS: &str = "prometheus";

/// How the metrics of a proxy are exposed: the enabled backend of its mesh, overridden by the Dataplane. `None` when none is
/// enabled.
///
/// # Errors
/// When the settings of the backend or of the Dataplane do not decode.
pub fn settings(mesh: &Mesh, dataplane: &Dataplane) -> Result<Option<PrometheusMetricsBackendConfig>, JsonError> {
    let Some(metrics) = mesh.metrics.as_ref().filter(|metrics| !metrics.enabled_backend.is_empty()) else {
        return Ok(None);
    };
    let backend = metrics.backends.iter().find(|backend| backend.name == metrics.enabled_backend);
    let Some(backend) = backend.filter(|backend| backend.r#type == PROMETHEUS) else { return Ok(None) };
    let mut settings: PrometheusMetricsBackendConfig = from_struct(backend.conf.as_ref())?;
    let own = dataplane.metrics.as_ref().filter(|metrics| metrics.r#type == PROMETHEUS);
    if let Some(own) = own {
        let own: PrometheusMetricsBackendConfig = from_struct(own.conf.as_ref())?;
        settings.aggregate.retain(|of_mesh| own.aggregate.iter().all(|of_proxy| of_proxy.name != of_mesh.name));
        let encoded = own.encode_to_vec();
        settings.merge(encoded.as_slice()).expect("encoded from a message of the same type");
    }
    Ok(Some(settings))
}

/// The inbound at which the metrics of a proxy are fetched, as policies about connections see it.
pub fn inbound(settings: &PrometheusMetricsBackendConfig, dataplane: &Dataplane) -> Inbound {
    Inbound {
        address: dataplane.networking.as_ref().map_or_else(String::new, |networking| networking.address.clone()),
        port: settings.port,
        tags: settings.tags.clone(),
        ..Inbound::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kind::Kind;
    use crate::resource::Resource;
    use crate::rest::{Unknown, from_json};

    fn stored(value: Value) -> Resource {
        from_json(value, None, Unknown::Refuse).expect("a valid resource").resource
    }

    fn mesh(enabled: &str) -> Mesh {
        let conf = json!({
            "port": 5670, "path": "/metrics", "tags": {"kuma.io/service": "dataplane-metrics"},
            "aggregate": [{"name": "app", "port": 1}, {"name": "sidecar", "port": 2}],
        });
        let backends = json!([{"name": "p", "type": "prometheus", "conf": conf}]);
        let mesh = json!({"type": "Mesh", "name": "m", "metrics": {"enabledBackend": enabled, "backends": backends}});
        stored(mesh).proto().expect("a Mesh")
    }

    fn dataplane(metrics: Value) -> Dataplane {
        let dataplane = json!({
            "type": "Dataplane", "mesh": "m", "name": "d", "networking": {"address": "10.0.0.1"}, "metrics": metrics,
        });
        let resource = stored(dataplane);
        assert_eq!(resource.kind(), Kind::Dataplane);
        resource.proto().expect("a Dataplane")
    }

    #[test]
    fn metrics_are_off_unless_a_backend_is_enabled() {
        assert_eq!(settings(&mesh(""), &dataplane(Value::Null)), Ok(None));
        assert_eq!(settings(&mesh("other"), &dataplane(Value::Null)), Ok(None));
        assert!(settings(&mesh("p"), &dataplane(Value::Null)).is_ok_and(|settings| settings.is_some()));
    }

    #[test]
    fn dataplanes_override_the_mesh_member_by_member() {
        let own = json!({"type": "prometheus", "conf": {
            "port": 1234, "tags": {"team": "a"}, "aggregate": [{"name": "app", "port": 9}],
        }});
        let settings = settings(&mesh("p"), &dataplane(own)).expect("decodes").expect("enabled");
        assert_eq!((settings.port, settings.path.as_str()), (1234, "/metrics"));
        let tags: Vec<_> = settings.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        assert_eq!(tags, ["kuma.io/service=dataplane-metrics", "team=a"]);
        let aggregate: Vec<_> = settings.aggregate.iter().map(|app| (app.name.as_str(), app.port)).collect();
        assert_eq!(aggregate, [("sidecar", 2), ("app", 9)]);
    }

    #[test]
    fn policies_see_an_inbound() {
        let dataplane = dataplane(Value::Null);
        let settings = settings(&mesh("p"), &dataplane).expect("decodes").expect("enabled");
        let inbound = inbound(&settings, &dataplane);
        assert_eq!((inbound.address.as_str(), inbound.port), ("10.0.0.1", 5670));
        assert_eq!(inbound.tags["kuma.io/service"], "dataplane-metrics");
    }
}
