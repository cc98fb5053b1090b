//! Validation of specifications: the rules beyond the schema, with the field paths and texts of Kuma.
//!
//! Policies selected by `targetRef` are validated where they are defined, not here. Some paths look odd
//! (`networking.transparentProxing`, `mtls.dpcert.rotation.expiration`, `logging.backends[0].config`); clients know them
//! that way. Source of rules and texts: Kuma `pkg/core/resources/apis/mesh/*_validator.go`.

mod dataplane;
mod external_service;
mod field;
mod gateway;
mod legacy;
mod mesh;
mod observability;
mod tags;
mod virtual_outbound;
mod zone_proxy;

use prost::Message;
use serde_json::Value;

use crate::core;
use crate::kind::Kind;
use crate::resource::Resource;
use crate::violation::{Path, Violations};

/// Validates the specification of a resource. Kinds without rules are valid, and so are policies selected by
/// `targetRef`.
///
/// The name and labels of the resource are not looked at, but for the display names that become host names.
pub fn validate(resource: &Resource) -> Violations {
    match resource.kind() {
        Kind::Mesh => checked(resource, mesh::validate),
        Kind::Dataplane => checked(resource, dataplane::validate),
        Kind::ZoneIngress => checked(resource, zone_proxy::validate_ingress),
        Kind::ZoneEgress => checked(resource, zone_proxy::validate_egress),
        Kind::ExternalService => checked(resource, external_service::validate),
        Kind::VirtualOutbound => checked(resource, virtual_outbound::validate),
        Kind::MeshGateway => checked(resource, gateway::validate),
        Kind::MeshGatewayRoute => checked(resource, legacy::gateway_route::validate),
        Kind::TrafficPermission => checked(resource, legacy::validate_traffic_permission),
        Kind::TrafficLog => checked(resource, legacy::validate_traffic_log),
        Kind::TrafficTrace => checked(resource, legacy::validate_traffic_trace),
        Kind::TrafficRoute => checked(resource, legacy::traffic_route::validate),
        Kind::HealthCheck => checked(resource, legacy::health_check::validate),
        Kind::CircuitBreaker => checked(resource, legacy::circuit_breaker::validate),
        Kind::Retry => checked(resource, legacy::retry::validate),
        Kind::Timeout => checked(resource, legacy::timeout::validate),
        Kind::FaultInjection => checked(resource, legacy::fault_injection::validate),
        Kind::RateLimit => checked(resource, legacy::rate_limit::validate),
        Kind::ProxyTemplate => checked(resource, legacy::proxy_template::validate),
        _ => core::validate(resource),
    }
}

/// What keeps a text from being a resource of Envoy as YAML: it has to be an object. Whether Envoy takes it is not
/// known here.
pub fn native_resource_problem(yaml: &str) -> Option<String> {
    let found = match serde_norway::from_str::<Value>(yaml) {
        Ok(Value::Object(_)) => return None,
        Ok(Value::Null) => "null",
        Ok(Value::Bool(_)) => "bool",
        Ok(Value::Number(_)) => "number",
        Ok(Value::String(_)) => "string",
        Ok(Value::Array(_)) => "array",
        Err(error) => return Some(format!("native Envoy resource is not valid: {error}")),
    };
    Some(format!(
        "native Envoy resource is not valid: json: cannot unmarshal {found} into Go value of type \
         map[string]json.RawMessage"
    ))
}

fn checked<M: Message + Default>(resource: &Resource, validate: impl Fn(&M) -> Violations) -> Violations {
    match resource.proto() {
        Ok(spec) => validate(&spec),
        Err(error) => Violations::one(&Path::root(), error.to_string()),
    }
}

#[cfg(test)]
mod testing {
    use serde_json::Value;

    use crate::rest::{Unknown, from_json};

    /// The violations of a resource given as JSON, each as `field: reason`.
    pub(super) fn violations(resource: Value) -> Vec<String> {
        let document =
            from_json(resource, None, Unknown::Refuse).expect("the resources of these tests fit their schema");
        super::validate(&document.resource).iter().map(|v| format!("{}: {}", v.field, v.reason)).collect()
    }
}
