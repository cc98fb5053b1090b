//! MeshHTTPRoutes and MeshTCPRoutes in configurations.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::destinations::{caller, mesh_service};
use super::{CLUSTER, ENDPOINT, LISTENER, changed, http_inbound, key};
use crate::Generated;
use crate::testing::{Zone, dataplane, json, mesh, names, stored};

const TO_PORT: &str = "outbound:127.0.0.1:10080";
const TO_SERVICE: &str = "outbound:127.0.0.1:10001";

fn policy(kind: Kind, name: &str, spec: Value) -> Resource {
    Resource::from_json(ResourceKey::new(kind, "default", name), spec)
}

/// A rule that hands requests with a prefix on, or connections.
fn rule(prefix: &str, backends: Value) -> Value {
    let matches = json!([{"path": {"type": "PathPrefix", "value": prefix}}]);
    json!({"matches": matches, "default": {"backendRefs": backends}})
}

fn web() -> Value {
    json!({"kind": "MeshService", "name": "web"})
}

fn http(rules: Value) -> Resource {
    policy(Kind::MeshHTTPRoute, "routes", json!({"to": [{"targetRef": web(), "rules": rules}]}))
}

fn tcp(backends: Value) -> Resource {
    let rules = json!([{"default": {"backendRefs": backends}}]);
    policy(Kind::MeshTCPRoute, "split", json!({"to": [{"targetRef": web(), "rules": rules}]}))
}

fn of_service(name: &str) -> Value {
    json!({"kind": "MeshService", "name": name, "weight": 1})
}

fn of_port(name: &str) -> Value {
    json!({"kind": "MeshService", "name": name, "port": 80, "weight": 1})
}

/// `caller` uses the MeshService `web`, `client` and `client-2` the service `web` by its tag.
fn zone() -> Zone {
    let client = |name: &str| http_inbound("default", name).outbound(10001, "web").resource();
    Zone::new(
        "east",
        [
            mesh("default").resource(),
            http_inbound("default", "web").address("10.0.0.2").resource(),
            mesh_service("web", json!(8080), &[]),
            caller("MeshService", "web"),
            client("client"),
            client("client-2"),
        ],
    )
}

fn generated(zone: &Zone, name: &str) -> Generated {
    zone.generate(&key(name), None).unwrap()
}

fn filter(generated: &Generated, listener: &str) -> Value {
    json(generated, LISTENER, listener)["filterChains"][0]["filters"][0]["typedConfig"].clone()
}

fn routes(generated: &Generated, listener: &str) -> Vec<Value> {
    let routes = filter(generated, listener)["routeConfig"]["virtualHosts"][0]["routes"].clone();
    routes.as_array().cloned().unwrap_or_default()
}

/// Path and cluster of each route.
fn ways(generated: &Generated, listener: &str) -> Vec<String> {
    let way = |route: &Value| {
        let condition = &route["match"];
        let path = condition["path"].as_str().or(condition["prefix"].as_str()).unwrap_or_default().to_owned();
        format!("{path} {}", route["route"]["cluster"].as_str().unwrap_or("-"))
    };
    routes(generated, listener).iter().map(way).collect()
}

fn reasons(generated: &Generated) -> Vec<&str> {
    generated.warnings.iter().map(|warning| warning.reason.as_str()).collect()
}

#[test]
fn what_a_route_leads_to_is_added_with_its_endpoints_and_followed() {
    let mut zone = zone();
    zone.put(http(json!([rule("/other", json!([of_service("other")]))])));
    let before = generated(&zone, "client");
    assert_eq!(ways(&before, TO_SERVICE), ["/ web"], "nobody provides the other service");
    assert!(reasons(&before).iter().any(|reason| reason.contains("kuma.io/service=other")), "{:?}", before.warnings);

    let other = http_inbound("default", "other").address("10.0.0.7").resource();
    let touched = zone.put(other);
    assert!(touched.concerns(&key("client"), &before.services));
    let after = zone.generate(&key("client"), Some(&before)).unwrap();
    assert_eq!(ways(&after, TO_SERVICE), ["/other other", "/other/ other", "/ web"]);
    assert!(names(&after, CLUSTER).contains(&"other"));
    let endpoint = &json(&after, ENDPOINT, "other")["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"];
    assert_eq!(endpoint["socketAddress"]["address"], "10.0.0.7");
    assert!(after.warnings.is_empty(), "{:?}", after.warnings);

    // Moved endpoints are all that changes.
    let touched = zone.put(http_inbound("default", "other").address("10.0.0.8").resource());
    assert!(touched.concerns(&key("client"), &after.services));
    let moved = zone.generate(&key("client"), Some(&after)).unwrap();
    assert_eq!(changed(&after, &moved), [(ENDPOINT, "other".to_owned())]);
}

#[test]
fn ports_are_found_by_name_number_and_labels_once_they_exist() {
    let mut zone = zone();
    let labelled = json!({"kind": "MeshService", "labels": {"team": "x"}, "sectionName": "main"});
    let rules = json!([
        rule("/number", json!([of_port("other")])),
        rule("/labels", json!([labelled])),
        rule("/wrong", json!([{"kind": "MeshService", "name": "web", "port": 81}])),
    ]);
    zone.put(http(rules));
    let before = generated(&zone, "caller");
    // A reference by labels that nothing has is as none; a name that nothing has leaves the rule out.
    let own = "default_web___msvc_80";
    let to = |path: &str, cluster: &str| [format!("{path} {cluster}"), format!("{path}/ {cluster}")];
    let last = [format!("/ {own}")];
    assert_eq!(ways(&before, TO_PORT), [&to("/labels", own)[..], &last].concat());
    assert_eq!(reasons(&before).len(), 4, "{:?}", before.warnings);

    let touched = zone.put(mesh_service("other", json!(8080), &[("team", "x")]));
    assert!(touched.concerns(&key("caller"), &before.services));
    let after = generated(&zone, "caller");
    let other = "default_other___msvc_80";
    assert_eq!(ways(&after, TO_PORT), [&to("/number", other)[..], &to("/labels", other), &last].concat());
    assert!(names(&after, ENDPOINT).contains(&other));

    // Of several the oldest one.
    let mut older = mesh_service("older", json!(8080), &[("team", "x")]);
    older.created = "1999-01-01T00:00:00Z".parse().unwrap();
    zone.put(older);
    let mut newer = mesh_service("other", json!(8080), &[("team", "x")]);
    newer.created = "2020-01-01T00:00:00Z".parse().unwrap();
    zone.put(newer);
    let of_oldest = ["/labels default_older___msvc_80", "/labels/ default_older___msvc_80"];
    assert_eq!(ways(&generated(&zone, "caller"), TO_PORT)[2..4], of_oldest);
}

#[test]
fn proxies_with_the_same_routes_share_what_follows() {
    let mut zone = zone();
    zone.put(http(json!([rule("/a", json!([of_port("web"), of_service("web")]))])));
    let (one, other) = (generated(&zone, "client"), generated(&zone, "client-2"));
    for (kind, name) in [(LISTENER, TO_SERVICE), (CLUSTER, "web"), (CLUSTER, "default_web___msvc_80")] {
        let of = |generated: &Generated| generated.resources.get(kind, name).unwrap().clone();
        assert!(std::sync::Arc::ptr_eq(&of(&one), &of(&other)), "{name}");
    }
    let weighted = &routes(&one, TO_SERVICE)[0]["route"]["weightedClusters"]["clusters"];
    assert_eq!(weighted[0], json!({"name": "default_web___msvc_80", "weight": 1}));
}

#[test]
fn other_policies_are_about_single_routes() {
    let mut zone = zone();
    let set = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}});
    let mut changing = rule("/a", json!([of_port("web")]));
    changing["default"]["filters"] = json!([set]);
    zone.put(http(json!([changing])));
    let second = json!({"to": [{"targetRef": web(), "rules": [rule("/b", json!([of_port("web")]))]}]});
    zone.put(policy(Kind::MeshHTTPRoute, "second", second));
    let about = |kind, conf: Value| {
        let route = json!({"kind": "MeshHTTPRoute", "name": "routes"});
        policy(kind, "about-a-route", json!({"to": [{"targetRef": route, "default": conf}]}))
    };
    zone.put(about(Kind::MeshTimeout, json!({"http": {"requestTimeout": "7s"}})));
    zone.put(about(Kind::MeshRetry, json!({"http": {"numRetries": 3}})));
    let hash = json!({"hashPolicies": [{"type": "Header", "header": {"name": "x-user"}}]});
    let balancer = json!({"type": "RingHash", "ringHash": hash});
    zone.put(about(Kind::MeshLoadBalancingStrategy, json!({"loadBalancer": balancer})));

    let named = |routes: &[Value], name: &str| -> Vec<Value> {
        routes.iter().filter(|route| route["name"] == name).cloned().collect()
    };
    let of_caller = routes(&generated(&zone, "caller"), TO_PORT);
    for route in named(&of_caller, "kri_mhttpr_default___routes_") {
        assert_eq!(route["route"]["timeout"], "7s", "{route}");
        assert_eq!(route["route"]["retryPolicy"]["numRetries"], 3, "{route}");
        assert_eq!(route["route"]["hashPolicy"][0]["header"]["headerName"], "x-user", "{route}");
        assert_eq!(route["requestHeadersToAdd"][0]["header"]["key"], "x", "{route}");
    }
    let others = named(&of_caller, "kri_mhttpr_default___second_");
    assert_eq!((others.len(), of_caller.len()), (2, 5), "two routes for each prefix, and one that takes everything");
    for route in others {
        assert_eq!(route["route"]["timeout"], "15s", "{route}");
        assert!(route["route"]["retryPolicy"].is_null() && route["route"]["hashPolicy"].is_null(), "{route}");
    }

    // About destinations by tags a policy selects the route as a whole.
    let route = json!({"kind": "MeshHTTPRoute", "name": "routes"});
    let all = json!([{"targetRef": {"kind": "Mesh"}, "default": {"http": {"requestTimeout": "9s"}}}]);
    zone.put(policy(Kind::MeshTimeout, "about-a-route", json!({"targetRef": route, "to": all})));
    let of_client = routes(&generated(&zone, "client"), TO_SERVICE);
    let timeouts: Vec<_> = of_client.iter().map(|route| route["route"]["timeout"].as_str().unwrap()).collect();
    assert_eq!(timeouts, ["9s", "9s", "0s", "0s", "0s"], "{of_client:#?}");
}

#[test]
fn connections_are_split_where_no_route_of_requests_decides() {
    let mut zone = zone();
    let tcp_service = dataplane("default", "raw").address("10.0.0.6").inbound(9000, "raw").resource();
    zone.put(tcp_service);
    zone.put(tcp(json!([of_service("raw"), {"kind": "MeshService", "name": "web", "weight": 0}])));
    let split = generated(&zone, "client");
    assert_eq!(filter(&split, TO_SERVICE)["cluster"], "raw");
    let caller = generated(&zone, "caller");
    assert_eq!(filter(&caller, TO_PORT)["cluster"], "raw", "the policy is about the resource, too");

    zone.put(http(json!([rule("/a", json!([of_service("raw")]))])));
    let routed = generated(&zone, "client");
    assert_eq!(ways(&routed, TO_SERVICE), ["/ web"], "what does not speak HTTP gets no requests");
    assert!(!reasons(&routed).is_empty());

    // Where all weights are zero there is nowhere to go.
    zone.put(http(json!([])));
    let nowhere = zone.put(tcp(json!([{"kind": "MeshService", "name": "raw", "weight": 0}])));
    assert!(nowhere.concerns(&key("client"), &routed.services));
    assert_eq!(ways(&generated(&zone, "client"), TO_SERVICE), ["/ web"], "routes without rules decide, too");
    let mut without_routes = self::zone();
    without_routes.put(tcp(json!([{"kind": "MeshService", "name": "web", "weight": 0}])));
    let closed = json(&generated(&without_routes, "client"), LISTENER, TO_SERVICE);
    assert!(closed["filterChains"][0]["filters"].is_null(), "{closed}");

    // References that nothing fits are as none: requests go on, connections of other protocols find nobody.
    without_routes.put(tcp(json!([{"kind": "MeshService", "labels": {"team": "nobody"}, "port": 80}])));
    assert_eq!(ways(&generated(&without_routes, "client"), TO_SERVICE), ["/ web"]);
    let raw = dataplane("default", "web").address("10.0.0.2").inbound(8080, "web").resource();
    without_routes.put(raw);
    assert!(!names(&generated(&without_routes, "client"), LISTENER).contains(&TO_SERVICE));
}

#[test]
fn copies_of_requests_go_to_services_and_resources() {
    let mut zone = zone();
    zone.put(mesh_service("copy", json!(8080), &[]));
    let mirror = |backend: Value, percentage: Value| {
        let mut conf = json!({"backendRef": backend});
        if !percentage.is_null() {
            conf["percentage"] = percentage;
        }
        json!({"type": "RequestMirror", "requestMirror": conf})
    };
    let filters = json!([
        mirror(of_service("nobody"), Value::Null),
        mirror(of_port("copy"), json!("0.5")),
        mirror(of_service("web"), Value::Null),
    ]);
    let matches = json!([{"path": {"type": "Exact", "value": "/a"}}]);
    zone.put(http(json!([{"matches": matches, "default": {"filters": filters}}])));
    let client = generated(&zone, "client");
    let copies = &routes(&client, TO_SERVICE)[0]["route"]["requestMirrorPolicies"];
    let fraction = json!({"defaultValue": {"numerator": 50, "denominator": "TEN_THOUSAND"}});
    let expected = json!([{"cluster": "default_copy___msvc_80", "runtimeFraction": fraction}, {"cluster": "web"}]);
    assert_eq!(*copies, expected);
    assert!(names(&client, ENDPOINT).contains(&"default_copy___msvc_80"));
    assert_eq!(client.warnings.len(), 1, "{:?}", client.warnings);
}

#[test]
fn older_routes_decide_what_no_newer_one_is_about() {
    let mut zone = zone();
    let everything = json!([{"match": {"kuma.io/service": "*"}}]);
    let older = json!({"sources": everything, "destinations": everything,
        "conf": {"destination": {"kuma.io/service": "older"}}});
    zone.put(stored(Kind::TrafficRoute, "default", "older", &older));
    zone.put(http_inbound("default", "older").address("10.0.0.5").resource());
    zone.put(http_inbound("default", "newer").address("10.0.0.6").resource());
    zone.put(dataplane("default", "raw").address("10.0.0.7").inbound(9000, "raw").resource());
    let client = http_inbound("default", "client").outbound(10001, "web").outbound(10002, "raw");
    zone.put(client.resource());
    const TO_RAW: &str = "outbound:127.0.0.1:10002";
    assert_eq!(ways(&generated(&zone, "client"), TO_SERVICE), ["/ older"]);
    assert_eq!(ways(&generated(&zone, "client"), TO_RAW), ["/ older"], "which speaks HTTP");

    zone.put(http(json!([rule("/newer", json!([of_service("newer")]))])));
    assert_eq!(ways(&generated(&zone, "client"), TO_SERVICE), ["/newer newer", "/newer/ newer", "/ web"]);
    assert_eq!(
        ways(&generated(&zone, "client"), TO_RAW),
        ["/ older"],
        "a policy about requests leaves connections alone"
    );
    zone.put(tcp(json!([of_service("newer")])));
    assert_eq!(
        filter(&generated(&zone, "client"), TO_RAW)["cluster"],
        "raw",
        "a policy about connections decides all of them"
    );
}
