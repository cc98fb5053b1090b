//! Faults and limits of incoming traffic, and who tells tags for them.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, LISTENER, key};
use crate::Generated;
use crate::testing::{Zone, dataplane, egress, json, mesh, stored};

const INBOUND: &str = "inbound:10.0.0.1:8080";
const OUTBOUND: &str = "outbound:127.0.0.1:10001";

fn policy(kind: Kind, spec: Value) -> Resource {
    Resource::from_json(ResourceKey::new(kind, "default", "policy"), spec)
}

fn sidecars() -> Value {
    json!({"kind": "Mesh", "proxyTypes": ["Sidecar"]})
}

fn abort() -> Value {
    json!({"http": [{"abort": {"httpStatus": 418, "percentage": 100}}]})
}

fn limit() -> Value {
    let rate = json!({"num": 5, "interval": "1s"});
    json!({"local": {"http": {"requestRate": rate}, "tcp": {"connectionRate": rate}}})
}

fn from(target: Value, conf: Value) -> Value {
    json!({"targetRef": sidecars(), "from": [{"targetRef": target, "default": conf}]})
}

/// Two proxies of one service that call `echo`, and one that is `echo`.
fn zone() -> Zone {
    let speaking = [("kuma.io/service", "caller"), ("kuma.io/protocol", "http")];
    let caller = |name| dataplane("default", name).inbound_with(8080, &speaking).outbound(10001, "echo").resource();
    let echo = dataplane("default", "echo").address("10.0.0.2");
    let echo = echo.inbound_with(80, &[("kuma.io/service", "echo"), ("kuma.io/protocol", "http")]).resource();
    Zone::new("east", [mesh("default").resource(), caller("one"), caller("two"), echo])
}

fn generate(zone: &Zone, name: &str) -> Generated {
    zone.generate(&key(name), None).expect("nothing is missing")
}

fn names(filters: &Value) -> Vec<String> {
    let filters = filters.as_array().into_iter().flatten();
    filters.map(|filter| filter["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Names of the network filters, and of the HTTP filters, of an inbound.
fn filters(generated: &Generated) -> (Vec<String>, Vec<String>) {
    let chain = &json(generated, LISTENER, INBOUND)["filterChains"][0]["filters"];
    let manager = chain.as_array().into_iter().flatten().find(|filter| filter["typedConfig"]["httpFilters"].is_array());
    (names(chain), names(&manager.expect("a connection manager")["typedConfig"]["httpFilters"]))
}

const HTTP: [&str; 3] = ["envoy.filters.http.fault", "envoy.filters.http.local_ratelimit", "envoy.filters.http.router"];
const NETWORK: [&str; 2] = [
    "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    "envoy.filters.network.http_connection_manager",
];

#[test]
fn inbounds_have_faults_before_limits_before_the_router() {
    let mut zone = zone();
    zone.put(policy(Kind::MeshFaultInjection, from(json!({"kind": "Mesh"}), abort())));
    zone.put(policy(Kind::MeshRateLimit, json!({"targetRef": sidecars(), "rules": [{"default": limit()}]})));
    let (network, http) = filters(&generate(&zone, "one"));
    assert_eq!((network, http), (NETWORK.map(str::to_owned).into(), HTTP.map(str::to_owned).into()));
}

#[test]
fn older_policies_of_an_inbound_stand_above_newer_ones() {
    let mut zone = zone();
    zone.put(policy(Kind::MeshFaultInjection, from(json!({"kind": "Mesh"}), abort())));
    zone.put(policy(Kind::MeshRateLimit, json!({"targetRef": sidecars(), "rules": [{"default": limit()}]})));
    let connection = |conf: Value| {
        let any = json!([{"match": {"kuma.io/service": "*"}}]);
        json!({"sources": any, "destinations": any, "conf": conf})
    };
    let conf = json!({"http": {"requests": 1, "interval": "10s"}});
    zone.put(stored(Kind::RateLimit, "default", "older", &connection(conf)));
    let (network, http) = filters(&generate(&zone, "one"));
    assert_eq!(network, NETWORK[1..], "connections are not limited");
    assert_eq!(http, [HTTP[1], HTTP[0], HTTP[2]], "what is older comes first");
    let conf = json!({"abort": {"httpStatus": 500, "percentage": 1}});
    zone.put(stored(Kind::FaultInjection, "default", "older", &connection(conf)));
    let (_, http) = filters(&generate(&zone, "one"));
    assert_eq!(http, HTTP, "one fault: the older");
}

#[test]
fn callers_tell_their_tags_only_where_that_makes_a_difference() {
    let told = |zone: &Zone| {
        let listener = json(&generate(zone, "one"), LISTENER, OUTBOUND);
        let manager = &listener["filterChains"][0]["filters"][0]["typedConfig"];
        manager["routeConfig"]["requestHeadersToAdd"][0]["header"]["value"].as_str().map(str::to_owned)
    };
    let mut zone = zone();
    assert_eq!(told(&zone), None);
    zone.put(policy(Kind::MeshFaultInjection, from(json!({"kind": "Mesh"}), abort())));
    assert_eq!(told(&zone), None);
    zone.put(policy(Kind::MeshFaultInjection, json!({"rules": [{"default": abort()}]})));
    assert_eq!(told(&zone), None);
    let callers = json!({"kind": "MeshSubset", "tags": {"team": "a"}});
    let trial = policy(Kind::MeshFaultInjection, from(callers.clone(), abort()));
    zone.put(trial.with_labels([("kuma.io/effect", "shadow")]));
    assert_eq!(told(&zone), None, "a policy on trial changes nothing");
    zone.put(policy(Kind::MeshFaultInjection, from(callers, abort())));
    let told = told(&zone).expect("a header");
    assert!(told.contains("&kuma.io/service="), "{told}");

    // Those with the same tags still have everything in common.
    let (one, two) = (generate(&zone, "one"), generate(&zone, "two"));
    for (resource_type, name) in [(LISTENER, OUTBOUND), (CLUSTER, "echo")] {
        let find = |of: &Generated| of.resources.get(resource_type, name).expect("generated").clone();
        assert!(Arc::ptr_eq(&find(&one), &find(&two)), "{name}");
    }
}

#[test]
fn an_egress_has_what_policies_say_about_external_services() {
    let mut resources = mesh("default").mtls().zone_egress().with_authority();
    let outside = |name: &str, address: &str, protocol: &str| {
        let tags = json!({"kuma.io/service": name, "kuma.io/protocol": protocol});
        stored(Kind::ExternalService, "default", name, &json!({"networking": {"address": address}, "tags": tags}))
    };
    resources.extend([egress("egress"), outside("web", "192.0.2.1:80", "http"), outside("db", "192.0.2.2:80", "tcp")]);
    let mut zone = Zone::new("east", resources);
    let egress = ResourceKey::new(Kind::ZoneEgress, "", "egress");
    let about = |kind: &str, name: &str| json!({"kind": kind, "name": name});
    let entry = |conf: Value| json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]);
    let faults = json!({"targetRef": about("MeshService", "web"), "from": entry(abort())});
    zone.put(policy(Kind::MeshFaultInjection, faults));
    zone.put(policy(Kind::MeshRateLimit, json!({"targetRef": sidecars(), "from": entry(limit())})));
    let generated = zone.generate(&egress, None).expect("nothing is missing");
    let listener = crate::testing::names(&generated, LISTENER);
    let listener = json(&generated, LISTENER, listener.iter().find(|name| name.starts_with("inbound:")).expect("one"));
    let chain = |name: &str| {
        let chains = listener["filterChains"].as_array().into_iter().flatten();
        let chain = chains.into_iter().find(|chain| chain["name"] == name).expect("a chain");
        chain["filters"].clone()
    };
    let web = chain("web_default");
    assert_eq!(names(&web), NETWORK);
    let http = names(&web[1]["typedConfig"]["httpFilters"]);
    assert_eq!(http[1..], HTTP.map(str::to_owned), "the permission comes first");
    let db = names(&chain("db_default"));
    assert_eq!(db, ["envoy.filters.network.rbac", NETWORK[0], "envoy.filters.network.tcp_proxy"]);
}

#[test]
fn what_envoy_does_not_take_is_told_at_the_policy() {
    let mut zone = zone();
    let conf = json!({"http": [{"abort": {"httpStatus": 111, "percentage": 1}}]});
    zone.put(policy(Kind::MeshFaultInjection, json!({"rules": [{"default": conf}]})));
    let generated = generate(&zone, "one");
    let [warning] = generated.warnings.as_slice() else { panic!("{:?}", generated.warnings) };
    let policy = ResourceKey::new(Kind::MeshFaultInjection, "default", "policy");
    assert_eq!(warning.resource, Some(policy));
    assert!(warning.reason.contains("111"), "{}", warning.reason);
    assert_eq!(filters(&generated).1.len(), 2, "the rest of the fault is there");
}
