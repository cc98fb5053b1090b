//! Which endpoints proxies prefer, and what their health checks tell: by policies, and by their own tags.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, ENDPOINT, http_inbound, key};
use crate::testing::{Zone, dataplane, egress, json, mesh, remote_ingress};
use crate::{Encoded, Generated, ResourceType};

fn policy(kind: Kind, conf: Value) -> Resource {
    let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]});
    Resource::from_json(ResourceKey::new(kind, "default", "policy"), spec)
}

fn strategy(locality: Value) -> Resource {
    policy(Kind::MeshLoadBalancingStrategy, json!({"localityAwareness": locality}))
}

/// Clients in racks, and the service `echo`, an instance of which is in each rack and in zones `west` and `north`.
fn racks(more: impl IntoIterator<Item = Resource>) -> Zone {
    let client = |name: &str, rack: &str| {
        let tags = [("kuma.io/service", "client"), ("kuma.io/zone", "east"), ("rack", rack)];
        dataplane("default", name).inbound_with(8080, &tags).outbound(10001, "echo").resource()
    };
    let echo = |name: &str, address: &str, rack: &str| {
        let tags =
            [("kuma.io/service", "echo"), ("kuma.io/protocol", "http"), ("kuma.io/zone", "east"), ("rack", rack)];
        dataplane("default", name).address(address).inbound_with(80, &tags).resource()
    };
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([
        client("client-1", "a"),
        client("client-2", "a"),
        client("client-3", "b"),
        echo("echo-1", "10.0.0.11", "a"),
        echo("echo-2", "10.0.0.12", "b"),
        remote_ingress("198.51.100.7", "ingress-west", "west", &[("default", "echo", 1)]),
        remote_ingress("198.51.100.8", "ingress-north", "north", &[("default", "echo", 1)]),
    ]);
    resources.extend(more);
    Zone::new("east", resources)
}

fn generated(zone: &Zone, name: &str) -> Generated {
    zone.generate(&key(name), None).expect("nothing is missing")
}

fn resource<'a>(generated: &'a Generated, kind: ResourceType, name: &str) -> &'a Arc<Encoded> {
    generated.resources.of(kind).iter().find(|resource| &*resource.name == name).expect("a resource")
}

/// Groups of endpoints: zone, sub-zone, priority, addresses.
fn groups(assignment: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = |group: &Value| {
        let endpoints = group["lbEndpoints"].as_array().into_iter().flatten();
        let addresses: Vec<_> =
            endpoints.map(|endpoint| text(&endpoint["endpoint"]["address"]["socketAddress"]["address"])).collect();
        let (zone, sub_zone) = (text(&group["locality"]["zone"]), text(&group["locality"]["subZone"]));
        format!("{zone}/{sub_zone} {}: {}", group["priority"].as_u64().unwrap_or_default(), addresses.join(" "))
    };
    assignment["endpoints"].as_array().into_iter().flatten().map(group).collect()
}

fn echo(zone: &Zone, client: &str) -> Vec<String> {
    groups(&json(&generated(zone, client), ENDPOINT, "echo"))
}

#[test]
fn clients_in_different_places_prefer_different_endpoints() {
    let mut zone = racks([]);
    let unequal = ["east/ 0: 10.0.0.11 10.0.0.12", "north/ 0: 198.51.100.8", "west/ 0: 198.51.100.7"];
    assert_eq!(echo(&zone, "client-1"), unequal);
    let before = ["client-1", "client-3"].map(|client| generated(&zone, client));
    let shared = |one: &Generated, other: &Generated| {
        Arc::ptr_eq(resource(one, ENDPOINT, "echo"), resource(other, ENDPOINT, "echo"))
    };
    assert!(shared(&before[0], &before[1]), "without policies about it racks make no difference");

    let touched = zone.put(strategy(json!({"localZone": {"affinityTags": [{"key": "rack"}]}})));
    assert!(touched.concerns(&key("client-1"), &before[0].services));
    let after = ["client-1", "client-2", "client-3"].map(|client| generated(&zone, client));
    assert_eq!(echo(&zone, "client-1"), ["east/ 0: 10.0.0.12", "east/rack=a 0: 10.0.0.11"]);
    assert_eq!(echo(&zone, "client-3"), ["east/ 0: 10.0.0.11", "east/rack=b 0: 10.0.0.12"]);
    assert!(shared(&after[0], &after[1]), "those of one rack share");
    let clusters = [0, 2].map(|index: usize| resource(&after[index], CLUSTER, "echo"));
    assert!(Arc::ptr_eq(clusters[0], clusters[1]), "clusters are the same in all racks");
    assert_eq!(json(&after[0], CLUSTER, "echo")["commonLbConfig"], json!({"localityWeightedLbConfig": {}}));

    zone.put(strategy(json!({"crossZone": {"failover": [{"to": {"type": "Only", "zones": ["north"]}}]}})));
    assert_eq!(echo(&zone, "client-1"), ["east/ 0: 10.0.0.11 10.0.0.12", "north/ 1: 198.51.100.8"]);
    zone.put(strategy(json!({"disabled": false})));
    assert_eq!(
        echo(&zone, "client-1"),
        ["east/ 0: 10.0.0.11 10.0.0.12", "north/ 1: 198.51.100.8", "west/ 1: 198.51.100.7"]
    );
    zone.put(strategy(json!({"disabled": true})));
    assert_eq!(echo(&zone, "client-1"), unequal);
}

#[test]
fn the_egress_chooses_among_other_zones() {
    let more = || mesh("default").mtls().zone_egress().with_authority().into_iter().chain([egress("egress")]);
    let mut zone = racks(more());
    zone.put(strategy(json!({"crossZone": {"failover": [{"to": {"type": "Only", "zones": ["north"]}}]}})));
    let of_client = echo(&zone, "client-1");
    assert_eq!(of_client[0], "east/ 0: 10.0.0.11 10.0.0.12");
    assert!(of_client[1].starts_with("egress_") && of_client[1].ends_with("/ 1: 10.0.0.9 10.0.0.9"), "{of_client:?}");
    let egress = ResourceKey::global(Kind::ZoneEgress, "egress");
    let made = zone.generate(&egress, None).expect("nothing is missing");
    assert_eq!(groups(&json(&made, ENDPOINT, "default:echo")), ["north/ 1: 198.51.100.8"]);
}

#[test]
fn health_checks_tell_the_tags_of_the_proxy_where_they_can() {
    let mut zone = racks([http_inbound("default", "other").outbound(10001, "echo").resource()]);
    let clusters = |zone: &Zone, clients: [&str; 2]| {
        clients.map(|client| resource(&generated(zone, client), CLUSTER, "echo").clone())
    };
    zone.put(policy(Kind::MeshHealthCheck, json!({"http": {"path": "/health"}})));
    let [one, other] = clusters(&zone, ["client-1", "client-2"]);
    assert_eq!(one.body, other.body, "proxies with the same tags check alike");
    let [one, other] = clusters(&zone, ["client-1", "client-3"]);
    assert_ne!(one.body, other.body);
    let check = json(&generated(&zone, "client-3"), CLUSTER, "echo")["healthChecks"][0].clone();
    assert_eq!(check["httpHealthCheck"]["path"], "/health");
    let header = &check["httpHealthCheck"]["requestHeadersToAdd"][0]["header"];
    let expected = json!({"key": "x-kuma-tags", "value": "&kuma.io/service=client&&kuma.io/zone=east&&rack=b&"});
    assert_eq!(*header, expected);

    // A check of connections tells nothing, so that all share it.
    zone.put(policy(Kind::MeshHealthCheck, json!({"http": {"disabled": true}, "tcp": {}})));
    let made = ["client-1", "client-3", "other"].map(|client| generated(&zone, client));
    let clusters = [0, 1, 2].map(|index: usize| resource(&made[index], CLUSTER, "echo"));
    assert!(Arc::ptr_eq(clusters[0], clusters[1]) && Arc::ptr_eq(clusters[1], clusters[2]));
    assert!(json(&made[0], CLUSTER, "echo")["healthChecks"][0]["tcpHealthCheck"].is_object());
}
