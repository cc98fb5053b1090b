//! Which resources of Envoy carry what holds for an inbound or a destination: read off a generated configuration.
//!
//! A listener of an outbound says in its metadata which destination it is for; one of an inbound is known by its address. The
//! clusters that a listener sends traffic to, their endpoints and the routes it asks for go with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _};
use tandem_model::label::SERVICE_TAG;
use tandem_policy::envoy::names::TAGS_METADATA;
use tandem_policy::explain::{EnvoyResource, KindExplanation};
use tandem_proto::mesh::v1alpha1::Dataplane;

/// Tag by which a listener names the port of a resource that it is for.
const UNIFIED_NAME: &str = "kuma.io/unified-name";

/// Type and name of a resource.
type Reference = (String, String);

/// The resources of a proxy by what they are for.
#[derive(Debug, Default, PartialEq)]
pub struct Carriers {
    /// By value of `kuma.io/service` or identifier of a port.
    outbounds: BTreeMap<String, BTreeSet<Reference>>,
    /// By section of the inbound.
    inbounds: BTreeMap<String, BTreeSet<Reference>>,
}

/// What would be different without the policies of a kind: JSON pointers by resource.
pub type Changes = BTreeMap<Reference, Vec<String>>;

/// The last part of a type URL.
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

/// The resources of a type.
fn of_type<'a>(xds: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let types = xds.iter().filter(move |(type_url, _)| short(type_url) == name);
    types.filter_map(|(_, by_name)| by_name.as_object()).flatten()
}

impl Carriers {
    /// Of a configuration, by type URL and name, and the Dataplane that it was made for.
    pub fn read(xds: &Map<String, Value>, dataplane: &Dataplane) -> Self {
        let mut carriers = Self::default();
        let names = |of: &str| -> BTreeSet<String> { of_type(xds, of).map(|(name, _)| name.clone()).collect() };
        let (clusters, endpoints) = (names("Cluster"), names("ClusterLoadAssignment"));
        let routes = names("RouteConfiguration");
        for (name, listener) in of_type(xds, "Listener") {
            let mut found = BTreeSet::new();
            named_in(listener, &mut found);
            let mut references = BTreeSet::from([("Listener".to_owned(), name.clone())]);
            for (kind, known) in
                [("Cluster", &clusters), ("ClusterLoadAssignment", &endpoints), ("RouteConfiguration", &routes)]
            {
                references.extend(found.intersection(known).map(|name| (kind.to_owned(), name.clone())));
            }
            let socket = &listener["address"]["socketAddress"];
            if listener["trafficDirection"] == "INBOUND" {
                for inbound in dataplane.inbounds() {
                    let interface = dataplane.inbound_interface(inbound);
                    if socket["portValue"] == interface.port && socket["address"] == interface.address.as_str() {
                        carriers.inbounds.entry(inbound.section_name()).or_default().extend(references.clone());
                    }
                }
                continue;
            }
            let tags = &listener["metadata"]["filterMetadata"][TAGS_METADATA];
            let destination = [UNIFIED_NAME, SERVICE_TAG].into_iter().find_map(|tag| tags[tag].as_str());
            if let Some(destination) = destination {
                carriers.outbounds.entry(destination.to_owned()).or_default().extend(references);
            }
        }
        carriers
    }

    /// Names the resources in an explanation, with what would be different in them.
    pub fn name_in(&self, explanation: &mut KindExplanation, changes: &Changes) {
        let shown = |references: Option<&BTreeSet<Reference>>| -> Vec<EnvoyResource> {
            let references = references.into_iter().flatten();
            let changed = references.clone().filter(|reference| changes.contains_key(*reference)).count() > 0;
            let shown = references.filter(|reference| match changed {
                true => changes.contains_key(*reference),
                // It is as it would be anyway, but this is where it is.
                false => reference.0 != "ClusterLoadAssignment",
            });
            shown.map(|reference| resource(reference, changes)).collect()
        };
        for rule in &mut explanation.outbound {
            for destination in &mut rule.destinations {
                destination.resources = shown(self.outbounds.get(&destination.name));
            }
        }
        for rule in &mut explanation.inbound {
            for inbound in &mut rule.inbounds {
                inbound.resources = shown(self.inbounds.get(&inbound.section));
            }
        }
        if let Some(rule) = &mut explanation.proxy {
            rule.resources = changes.keys().map(|reference| resource(reference, changes)).collect();
        }
    }
}

fn resource(reference: &Reference, changes: &Changes) -> EnvoyResource {
    let (kind, name) = reference.clone();
    EnvoyResource { kind, name, changes: changes.get(reference).cloned().unwrap_or_default() }
}

/// Where a patch of a configuration touches resources.
pub fn places(patch: &[Value]) -> Changes {
    let mut changes = Changes::new();
    let unescaped = |text: &str| text.replace("~1", "/").replace("~0", "~");
    for operation in patch {
        let mut parts = operation["path"].as_str().unwrap_or_default().splitn(4, '/').skip(1);
        let (Some(type_url), Some(name)) = (parts.next(), parts.next()) else { continue };
        let place = parts.next().map(|rest| format!("/{rest}")).unwrap_or_default();
        let places = changes.entry((short(&unescaped(type_url)).to_owned(), unescaped(name))).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    changes
}

/// What a listener names where clusters and route tables are named.
fn named_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match (member.as_str(), value) {
                    ("cluster" | "clusterName" | "routeConfigName", Value::String(name)) => {
                        found.insert(name.clone());
                    }
                    ("weightedClusters", Value::Object(weighted)) => {
                        let clusters = weighted.get("clusters").and_then(Value::as_array).into_iter().flatten();
                        found.extend(clusters.filter_map(|cluster| cluster["name"].as_str()).map(str::to_owned));
                    }
                    _ => named_in(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named_in(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_told_by_resource() {
        let operation = |op: &str, path: &str| json!({"op": op, "path": path});
        let patch = [
            operation("test", "/type.googleapis.com~1envoy.config.cluster.v3.Cluster/a~1b/connectTimeout"),
            operation("remove", "/type.googleapis.com~1envoy.config.cluster.v3.Cluster/a~1b/connectTimeout"),
            operation("add", "/type.googleapis.com~1envoy.config.listener.v3.Listener/l"),
        ];
        let expected = [
            (("Cluster".to_owned(), "a/b".to_owned()), vec!["/connectTimeout".to_owned()]),
            (("Listener".to_owned(), "l".to_owned()), vec![String::new()]),
        ];
        assert_eq!(places(&patch), expected.into());
    }

    #[test]
    fn clusters_are_found_wherever_a_listener_names_them() {
        let listener = json!({
            "filterChains": [{"filters": [
                {"typedConfig": {"cluster": "a"}},
                {"typedConfig": {"rds": {"routeConfigName": "r"}, "routeConfig": {"virtualHosts": [{"routes": [{"route": {
                    "weightedClusters": {"clusters": [{"name": "b", "weight": 1}, {"name": "c"}]},
                    "requestMirrorPolicies": [{"cluster": "m"}],
                }}]}]}}},
            ]}],
        });
        let mut found = BTreeSet::new();
        named_in(&listener, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "m", "r"]);
    }
}
