//! What a builtin gateway routes, and the policies of the older generation for it.
//!
//! Source of the shapes: Kuma `pkg/api-server/types/gateway.go`.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tandem_model::tags::Tags;
use tandem_model::{Resource, ResourceKey, rest};
use tandem_policy::legacy::LegacyPolicies;
use tandem_policy::legacy::gateway::{DestinationPolicies, Listener, VirtualHost, destinations, listeners};
use tandem_policy::subject::{Gateway, Subject};

/// A builtin gateway: its MeshGateway, if there is one, and what that asks it to listen for.
#[derive(Debug)]
pub struct GatewayView<'a> {
    gateway: Option<&'a Gateway>,
    /// By port.
    pub listeners: Vec<Listener>,
}

impl<'a> GatewayView<'a> {
    /// The gateway that a proxy is.
    pub fn of(subject: &Subject<'a>, legacy: &LegacyPolicies) -> Self {
        let listeners = subject.gateway.map(|gateway| listeners(gateway, subject.gateway_tags, &legacy.gateway_routes));
        Self { gateway: subject.gateway, listeners: listeners.unwrap_or_default() }
    }

    /// Mesh and name of the MeshGateway; empty without one.
    pub fn key(&self) -> Value {
        self.gateway.map_or_else(|| json!({"mesh": "", "name": ""}), |gateway| key_json(&gateway.resource.key))
    }

    /// The listeners with all that their routes lead to and the policies for it. Hosts are sorted by name.
    pub fn show(&self, legacy: &LegacyPolicies) -> Vec<Value> {
        let route = |host: &VirtualHost, name: &str, to: Vec<&Tags>| {
            let destinations: Vec<Value> = to
                .into_iter()
                .map(|tags| {
                    let policies = DestinationPolicies::of(legacy, &host.tags, tags);
                    json!({"tags": tags, "policies": by_kind(policies.resources())})
                })
                .collect();
            json!({"route": name, "destinations": destinations})
        };
        let listener = |listener: &Listener| {
            let mut hosts: Vec<&VirtualHost> = listener.groups.iter().flat_map(|group| &group.hosts).collect();
            hosts.sort_by(|a, b| a.hostname.cmp(&b.hostname));
            let hosts = hosts.into_iter().map(|host| {
                let routes = routes(host).map(|(name, to)| route(host, name, to));
                json!({"hostName": host.hostname, "routes": routes.collect::<Vec<_>>()})
            });
            shown(listener, hosts.collect())
        };
        self.listeners.iter().map(listener).collect()
    }

    /// The listeners, hosts and routes that lead to destinations for which a policy is used.
    pub fn show_used(&self, legacy: &LegacyPolicies, policy: &ResourceKey) -> Vec<Value> {
        let uses = |host: &VirtualHost, tags: &Tags| {
            DestinationPolicies::of(legacy, &host.tags, tags).resources().any(|resource| resource.key == *policy)
        };
        let host = |host: &VirtualHost| {
            let routes: Vec<Value> = routes(host)
                .map(|(name, to)| (name, to.into_iter().filter(|tags| uses(host, tags)).collect::<Vec<_>>()))
                .filter(|(_, to)| !to.is_empty())
                .map(|(name, to)| json!({"route": name, "destinations": to}))
                .collect();
            (!routes.is_empty()).then(|| json!({"hostName": host.hostname, "routes": routes}))
        };
        let listener = |listener: &Listener| {
            let hosts: Vec<Value> = listener.groups.iter().flat_map(|group| &group.hosts).filter_map(host).collect();
            (!hosts.is_empty()).then(|| shown(listener, hosts))
        };
        self.listeners.iter().filter_map(listener).collect()
    }

    /// True when one of its hosts has the route of this name.
    pub fn has_route(&self, name: &str) -> bool {
        let mut hosts = self.listeners.iter().flat_map(|listener| &listener.groups).flat_map(|group| &group.hosts);
        hosts.any(|host| host.routes.iter().any(|route| route.resource.key.name == name))
    }
}

/// Routes of a host that lead somewhere: name and destinations.
fn routes(host: &VirtualHost) -> impl Iterator<Item = (&str, Vec<&Tags>)> {
    let routes = host.routes.iter().map(|route| (route.resource.key.name.as_str(), destinations(&route.spec)));
    routes.filter(|(_, destinations)| !destinations.is_empty())
}

fn shown(listener: &Listener, hosts: Vec<Value>) -> Value {
    json!({"port": listener.port, "protocol": listener.protocol.as_str_name(), "hosts": hosts})
}

/// Policies by kind, each with all that resources have in common.
pub fn by_kind<'a>(policies: impl Iterator<Item = &'a Arc<Resource>>) -> Map<String, Value> {
    policies.map(|policy| (policy.kind().name().to_owned(), Value::Object(rest::meta_json(policy)))).collect()
}

/// Mesh and name.
pub fn key_json(key: &ResourceKey) -> Value {
    json!({"mesh": key.mesh, "name": key.name})
}
