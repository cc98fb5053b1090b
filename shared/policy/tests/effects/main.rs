//! Effects of policies on Envoy resources, through the public interface.

mod drafts;
mod egress;
mod inbound;
mod outbound;
mod routes;
mod sharing;

use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::resource::{Resource, ResourceKey};
use tandem_policy::destinations::Destinations;
use tandem_policy::policy::Policy;
use tandem_policy::subject::Subject;
use tandem_policy::{MeshPolicies, ProxyPolicies};
use tandem_proto::mesh::v1alpha1::Dataplane;

/// A resource of mesh `default` whose specification is JSON.
pub fn resource(kind: Kind, name: &str, spec: Value) -> Arc<Resource> {
    let mesh = if kind == Kind::Mesh { "" } else { "default" };
    Arc::new(Resource::from_json(ResourceKey::new(kind, mesh, name), spec))
}

/// The policies of mesh `default`, whose destinations are the mesh and the service `backend` with port 80, `http`.
pub fn policies(policies: &[(Kind, &str, Value)]) -> MeshPolicies {
    let ports = serde_json::json!({"ports": [{"port": 80, "name": "http"}]});
    let destinations = [
        Arc::new(Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &Dataplane::default())),
        resource(Kind::MeshService, "backend", ports),
    ];
    let policies = policies.iter().map(|(kind, name, spec)| {
        let mut spec = spec.clone();
        let checked = tandem_policy::check(*kind, &mut spec);
        assert!(checked.violations.is_empty(), "{name}: {}", checked.violations);
        Arc::new(Policy::decode(resource(*kind, name, spec)).expect("just checked"))
    });
    MeshPolicies::new("default", policies, Arc::new(Destinations::new(destinations)))
}

/// A Dataplane with inbounds of these ports.
pub fn dataplane(name: &str, ports: &[u32]) -> (Resource, Dataplane) {
    use tandem_proto::mesh::v1alpha1::dataplane::{Networking, networking::Inbound};
    let inbound = |port: &u32| Inbound {
        port: *port,
        tags: [("kuma.io/service".to_owned(), "web".to_owned()), ("port".to_owned(), port.to_string())].into(),
        ..Inbound::default()
    };
    let networking = Networking {
        address: "10.0.0.1".to_owned(),
        inbound: ports.iter().map(inbound).collect(),
        ..Networking::default()
    };
    let dataplane = Dataplane { networking: Some(networking), ..Dataplane::default() };
    (Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", name), &dataplane), dataplane)
}

/// What policies amount to for a Dataplane with one inbound.
pub fn for_one_inbound(of_mesh: &[(Kind, &str, Value)]) -> ProxyPolicies {
    let (resource, dataplane) = dataplane("dp", &[8080]);
    policies(of_mesh).for_proxy(&Subject::new(&resource, &dataplane, &[]))
}
