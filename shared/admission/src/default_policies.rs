//! The policies a new mesh starts with.
//!
//! Names and values: Kuma `pkg/defaults/mesh/mesh.go` and the `mesh_*.go` files beside it. They carry no labels.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::{Selector, TrafficPermission, TrafficRoute, traffic_route};

/// The default policies of mesh `mesh`, owned by it.
///
/// `skipped` is the mesh's `skipCreatingInitialPolicies`: names of kinds, or `*`. `routing` adds the two legacy
/// policies that allow and route everything.
pub fn default_policies(mesh: &str, skipped: &[String], routing: bool) -> Vec<Resource> {
    let wanted = |kind: Kind| !skipped.iter().any(|skip| skip == "*" || skip == kind.name());
    let key = |kind: Kind, prefix: &str| ResourceKey::new(kind, mesh, format!("{prefix}-{mesh}"));
    let mut policies = Vec::new();
    let mut add = |kind: Kind, prefix: &str, spec: Value| {
        if wanted(kind) {
            policies.push(Resource::from_json(key(kind, prefix), spec));
        }
    };
    add(Kind::MeshTimeout, "mesh-timeout-all", sidecar_timeouts());
    add(Kind::MeshTimeout, "mesh-gateways-timeout-all", gateway_timeouts());
    add(Kind::MeshCircuitBreaker, "mesh-circuit-breaker-all", circuit_breaker());
    add(Kind::MeshRetry, "mesh-retry-all", retry());
    if routing && wanted(Kind::TrafficPermission) {
        let spec = TrafficPermission { sources: vec![everything()], destinations: vec![everything()] };
        policies.push(Resource::from_proto(key(Kind::TrafficPermission, "allow-all"), &spec));
    }
    if routing && wanted(Kind::TrafficRoute) {
        policies.push(Resource::from_proto(key(Kind::TrafficRoute, "route-all"), &route_all()));
    }
    let owner = ResourceKey::global(Kind::Mesh, mesh);
    policies.into_iter().map(|policy| policy.with_owner(owner.clone())).collect()
}

fn sidecar_timeouts() -> Value {
    json!({
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {
            "connectionTimeout": "5s", "idleTimeout": "1h0m0s",
            "http": {"requestTimeout": "15s", "streamIdleTimeout": "30m0s"},
        }}],
        "from": [{"targetRef": {"kind": "Mesh"}, "default": {
            "connectionTimeout": "10s", "idleTimeout": "2h0m0s",
            "http": {"requestTimeout": "0s", "streamIdleTimeout": "1h0m0s", "maxStreamDuration": "0s"},
        }}],
    })
}

fn gateway_timeouts() -> Value {
    json!({
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Gateway"]},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {
            "idleTimeout": "1h0m0s", "http": {"streamIdleTimeout": "5s"},
        }}],
        "from": [{"targetRef": {"kind": "Mesh"}, "default": {
            "idleTimeout": "5m0s", "http": {"streamIdleTimeout": "5s", "requestHeadersTimeout": "500ms"},
        }}],
    })
}

fn circuit_breaker() -> Value {
    json!({
        "targetRef": {"kind": "Mesh"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {
            "maxConnections": 1024, "maxPendingRequests": 1024, "maxRetries": 3, "maxRequests": 1024,
        }}}],
    })
}

fn retry() -> Value {
    let attempts = || {
        json!({
            "numRetries": 5, "perTryTimeout": "16s",
            "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"},
        })
    };
    json!({
        "targetRef": {"kind": "Mesh"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {
            "tcp": {"maxConnectAttempt": 5}, "http": attempts(), "grpc": attempts(),
        }}],
    })
}

fn everything() -> Selector {
    Selector { r#match: [("kuma.io/service".to_owned(), "*".to_owned())].into() }
}

fn route_all() -> TrafficRoute {
    use traffic_route::{Conf, LoadBalancer, load_balancer};
    TrafficRoute {
        sources: vec![everything()],
        destinations: vec![everything()],
        conf: Some(Conf {
            destination: everything().r#match,
            load_balancer: Some(LoadBalancer {
                lb_type: Some(load_balancer::LbType::RoundRobin(load_balancer::RoundRobin {})),
            }),
            ..Conf::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(skipped: &[&str], routing: bool) -> Vec<String> {
        let skipped: Vec<String> = skipped.iter().map(|skip| (*skip).to_owned()).collect();
        default_policies("m", &skipped, routing).into_iter().map(|policy| policy.key.name).collect()
    }

    #[test]
    fn all_unless_skipped() {
        let usual =
            ["mesh-timeout-all-m", "mesh-gateways-timeout-all-m", "mesh-circuit-breaker-all-m", "mesh-retry-all-m"];
        assert_eq!(names(&[], false), usual);
        assert_eq!(names(&[], true), [&usual[..], &["allow-all-m", "route-all-m"]].concat());
        assert_eq!(names(&["MeshTimeout"], false), usual[2..]);
        assert_eq!(names(&["TrafficRoute", "MeshRetry"], true), [&usual[..3], &["allow-all-m"]].concat());
        assert!(names(&["*"], true).is_empty());
    }

    #[test]
    fn owned_by_the_mesh_and_without_labels() {
        for policy in default_policies("m", &[], true) {
            assert_eq!(policy.owner, Some(ResourceKey::global(Kind::Mesh, "m")));
            assert!(policy.labels.is_empty());
        }
    }
}
