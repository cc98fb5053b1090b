//! Policies of the older generation in configurations.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, ENDPOINT, LISTENER, for_all, http_inbound, key, permission};
use crate::Generated;
use crate::testing::{Zone, dataplane, json, mesh, names, remote_ingress, stored};

const OUTBOUND: &str = "outbound:127.0.0.1:10001";

fn between(source: &str, destination: &str, conf: Value) -> Value {
    let selectors = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    let mut members = json!({"sources": selectors(source), "destinations": selectors(destination)});
    if !conf.is_null() {
        members["conf"] = conf;
    }
    members
}

fn older(kind: Kind, source: &str, destination: &str, conf: Value) -> Resource {
    stored(kind, "default", "policy", &between(source, destination, conf))
}

fn version(version: &str) -> Value {
    json!({"kuma.io/service": "web", "version": version})
}

/// A client of `web`, of which there are two versions.
fn two_versions() -> Zone {
    let web = |name: &str, address: &str, version: &str| {
        let tags = [("kuma.io/service", "web"), ("kuma.io/protocol", "http"), ("version", version)];
        dataplane("default", name).address(address).inbound_with(8080, &tags).resource()
    };
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([
        web("web-1", "10.0.0.2", "v1"),
        web("web-2", "10.0.0.3", "v2"),
        http_inbound("default", "client").outbound(10001, "web").resource(),
        http_inbound("default", "client-2").outbound(10001, "web").resource(),
    ]);
    Zone::new("east", resources)
}

fn client(zone: &Zone) -> Generated {
    zone.generate(&key("client"), None).unwrap()
}

fn manager(generated: &Generated, listener: &str) -> Value {
    let listener = json(generated, LISTENER, listener);
    let filters = listener["filterChains"][0]["filters"].as_array().cloned().unwrap_or_default();
    let manager = filters.into_iter().find(|filter| filter["name"].as_str().is_some_and(|name| name.contains("http")));
    manager.map(|manager| manager["typedConfig"].clone()).unwrap_or_default()
}

fn routes(generated: &Generated) -> Value {
    manager(generated, OUTBOUND)["routeConfig"]["virtualHosts"][0]["routes"].clone()
}

#[test]
fn a_route_splits_and_its_clusters_have_only_the_endpoints_with_their_tags() {
    let mut zone = two_versions();
    let usual = client(&zone);
    let rule = json!({
        "match": {"path": {"prefix": "/new"}, "method": {"exact": "GET"}},
        "modify": {"path": {"rewritePrefix": "/"}, "requestHeaders": {"add": [{"name": "x-new", "value": "1"}]}},
        "destination": version("v2"),
    });
    let share = |weight: u32, tags: Value| json!({"weight": weight, "destination": tags});
    let split = json!([share(90, version("v1")), share(10, version("v2")), share(0, version("v3"))]);
    zone.put(older(Kind::TrafficRoute, "client", "web", json!({"http": [rule], "split": split})));
    let routed = client(&zone);
    let routes = routes(&routed);
    assert_eq!(routes[0]["match"]["prefix"], "/new");
    assert_eq!(routes[0]["match"]["headers"][0]["name"], ":method");
    assert_eq!((&routes[0]["route"]["prefixRewrite"], &routes[0]["route"]["timeout"]), (&json!("/"), &json!("0s")));
    assert_eq!(routes[0]["requestHeadersToAdd"][0]["header"]["key"], "x-new");
    let weighted = &routes[1]["route"]["weightedClusters"]["clusters"];
    let cluster = |index: usize| weighted[index]["name"].as_str().unwrap().to_owned();
    assert_eq!((&weighted[0]["weight"], &weighted[1]["weight"]), (&json!(90), &json!(10)));
    assert_eq!(routes[0]["route"]["cluster"], cluster(1).as_str());
    assert_eq!(names(&routed, ENDPOINT).len(), 2, "nothing for the share of nothing");
    let group = &json(&routed, ENDPOINT, &cluster(1))["endpoints"][0]["lbEndpoints"];
    assert_eq!(group.as_array().unwrap().len(), 1);
    assert_eq!(group[0]["endpoint"]["address"]["socketAddress"]["address"], "10.0.0.3");
    let sni = &json(&routed, CLUSTER, &cluster(1))["transportSocket"]["typedConfig"]["sni"];
    assert_eq!(sni, "web{mesh=default,version=v2}");

    // Whom no route selects reaches nothing.
    let other = zone.generate(&key("client-2"), None).unwrap();
    assert_eq!(json(&other, LISTENER, OUTBOUND)["filterChains"], json!([{}]));
    assert!(names(&other, ENDPOINT).is_empty());
    zone.index.apply([(&ResourceKey::new(Kind::TrafficRoute, "default", "policy"), None)]);
    assert_eq!(client(&zone).resources, usual.resources);
}

#[test]
fn proxies_with_the_same_routes_share_what_follows() {
    let mut zone = two_versions();
    zone.put(older(Kind::TrafficRoute, "*", "*", json!({"destination": {"kuma.io/service": "*"}})));
    // Every request tells the tags of the proxy, so these have to be the same.
    zone.put(dataplane("default", "client-3").inbound(80, "caller").outbound(10001, "web").resource());
    zone.put(dataplane("default", "client-4").inbound(80, "caller").outbound(10001, "web").resource());
    let (one, other) = (zone.generate(&key("client-3"), None).unwrap(), zone.generate(&key("client-4"), None).unwrap());
    for (resource_type, name) in [(LISTENER, OUTBOUND), (CLUSTER, "web"), (ENDPOINT, "web")] {
        let find = |of: &Generated| of.resources.get(resource_type, name).expect("generated").clone();
        assert!(std::sync::Arc::ptr_eq(&find(&one), &find(&other)), "{name}");
    }
}

#[test]
fn policies_about_connections_act_where_routes_decide() {
    let mut zone = two_versions();
    let policies = |zone: &mut Zone| {
        zone.put(older(Kind::Timeout, "client", "web", json!({"http": {"requestTimeout": "7s"}})));
        zone.put(older(Kind::Retry, "client", "web", json!({"http": {"numRetries": 4}})));
        let detectors = json!({"totalErrors": {"consecutive": 3}});
        zone.put(older(Kind::CircuitBreaker, "client", "web", json!({"detectors": detectors})));
        let check = json!({"interval": "1s", "timeout": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1});
        zone.put(older(Kind::HealthCheck, "client", "web", check));
    };
    let usual = client(&zone);
    policies(&mut zone);
    assert_eq!(client(&zone).resources, usual.resources, "without TrafficRoutes they have no effect");
    zone.put(older(Kind::TrafficRoute, "*", "*", json!({"destination": {"kuma.io/service": "*"}})));
    let routed = client(&zone);
    assert_eq!(routes(&routed)[0]["route"]["timeout"], "7s");
    let host = &manager(&routed, OUTBOUND)["routeConfig"]["virtualHosts"][0];
    assert_eq!(host["retryPolicy"]["numRetries"], 4);
    let cluster = json(&routed, CLUSTER, "web");
    assert_eq!(cluster["outlierDetection"]["consecutive5xx"], 3);
    assert_eq!(cluster["healthChecks"].as_array().map(Vec::len), Some(1));

    // Policies of the newer generation act over them.
    let to = |kind, conf| for_all(kind, "default", "newer", "to", conf);
    zone.put(to(Kind::MeshTimeout, json!({"http": {"requestTimeout": "9s"}})));
    zone.put(to(Kind::MeshRetry, json!({"http": {"numRetries": 6}})));
    let routed = client(&zone);
    let action = &routes(&routed)[0]["route"];
    assert_eq!((&action["timeout"], &action["retryPolicy"]["numRetries"]), (&json!("9s"), &json!(6)));

    // So does a MeshHTTPRoute, which takes over where HTTP is spoken.
    let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "default": {}}]);
    let to = json!([{"targetRef": {"kind": "MeshService", "name": "web"}, "rules": rules}]);
    let spec = json!({"targetRef": {"kind": "Mesh"}, "to": to});
    zone.put(Resource::from_json(ResourceKey::new(Kind::MeshHTTPRoute, "default", "newer"), spec));
    let newer = client(&zone);
    assert!(manager(&newer, OUTBOUND)["normalizePath"] == true, "generated as without TrafficRoutes");
    assert!(json(&newer, CLUSTER, "web")["healthChecks"].is_null());
}

#[test]
fn services_outside_need_a_permission_where_routes_decide() {
    let outside = json!({
        "networking": {"address": "192.0.2.1:80"}, "tags": {"kuma.io/service": "outside", "kuma.io/protocol": "http"},
    });
    let mut zone = Zone::new(
        "east",
        [
            mesh("default").resource(),
            http_inbound("default", "client").outbound(10001, "outside").resource(),
            stored(Kind::ExternalService, "default", "outside", &outside),
        ],
    );
    let address = |zone: &Zone| {
        let cluster = json(&client(zone), CLUSTER, "outside");
        cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"].clone()
    };
    assert_eq!(address(&zone)["address"], "192.0.2.1");
    zone.put(older(Kind::TrafficRoute, "*", "*", json!({"destination": {"kuma.io/service": "*"}})));
    assert!(address(&zone).is_null(), "it is not permitted");
    assert_eq!(names(&client(&zone), ENDPOINT), ["outside"]);
    zone.put(older(Kind::TrafficPermission, "other", "outside", Value::Null));
    assert!(address(&zone).is_null(), "it is permitted to somebody else");
    zone.put(older(Kind::TrafficPermission, "client", "outside", Value::Null));
    assert_eq!(address(&zone)["address"], "192.0.2.1");
    assert_eq!(routes(&client(&zone))[0]["route"]["autoHostRewrite"], true);
    zone.put(older(Kind::RateLimit, "client", "outside", json!({"http": {"requests": 1, "interval": "1s"}})));
    assert!(routes(&client(&zone))[0]["typedPerFilterConfig"]["envoy.filters.http.local_ratelimit"].is_object());
}

#[test]
fn an_inbound_has_the_permission_that_selects_it_until_a_newer_one_does() {
    let mut zone = two_versions();
    let inbound = |zone: &Zone| json(&client(zone), LISTENER, "inbound:10.0.0.1:8080")["filterChains"][0].clone();
    let first_http_filter = |chain: &Value| {
        let filters = chain["filters"].as_array().unwrap();
        filters[filters.len() - 1]["typedConfig"]["httpFilters"][0]["name"].clone()
    };
    assert_eq!(first_http_filter(&inbound(&zone)), "envoy.filters.http.rbac", "nobody is let in");
    zone.put(older(Kind::TrafficPermission, "web", "client", Value::Null));
    let chain = inbound(&zone);
    assert_eq!(chain["filters"].as_array().unwrap().len(), 2);
    let rbac = &chain["filters"][0]["typedConfig"];
    assert_eq!(rbac["statPrefix"], "inbound_10_0_0_1_8080.");
    let principal = &rbac["rules"]["policies"]["policy"]["principals"][0]["authenticated"]["principalName"];
    assert_eq!(principal["exact"], "spiffe://default/web");
    assert_eq!(first_http_filter(&chain), "envoy.filters.http.router");
    zone.put(permission("Allow"));
    let chain = inbound(&zone);
    assert_eq!(chain["filters"].as_array().unwrap().len(), 1, "the older permission is gone");
    assert_eq!(first_http_filter(&chain), "envoy.filters.http.rbac");
}

#[test]
fn callers_tell_their_tags_where_inbounds_want_to_know() {
    let mut zone = two_versions();
    let header = |zone: &Zone| manager(&client(zone), OUTBOUND)["routeConfig"]["requestHeadersToAdd"].clone();
    assert!(header(&zone).is_null());
    let touched =
        zone.put(older(Kind::FaultInjection, "client", "web", json!({"abort": {"percentage": 1, "httpStatus": 500}})));
    assert!(touched.meshes.contains("default"), "everybody begins to tell: {touched:?}");
    assert_eq!(
        header(&zone)[0]["header"],
        json!({"key": "x-kuma-tags", "value": "&kuma.io/protocol=http&&kuma.io/service=client&&kuma.io/zone=east&"})
    );
    let web = zone.generate(&key("web-1"), None).unwrap();
    let filters = manager(&web, "inbound:10.0.0.2:8080")["httpFilters"].clone();
    let fault = &filters[filters.as_array().unwrap().len() - 2];
    assert_eq!(fault["name"], "envoy.filters.http.fault");
    let regex = &fault["typedConfig"]["headers"][0]["safeRegexMatch"]["regex"];
    assert_eq!(regex, ".*&kuma.io/service=[^&]*client[,&].*");
}

#[test]
fn an_ingress_leads_where_routes_do() {
    let ingress_key = ResourceKey::global(Kind::ZoneIngress, "ingress");
    let mut zone = two_versions();
    zone.put(remote_ingress("10.0.0.8", "ingress", "", &[("default", "web", 2), ("default", "client", 1)]));
    let chains = |zone: &Zone| {
        let generated = zone.generate(&ingress_key, None).unwrap();
        let listener = json(&generated, LISTENER, "inbound:10.0.0.8:10001");
        let names = listener["filterChains"].as_array().unwrap().iter();
        names.map(|chain| chain["filterChainMatch"]["serverNames"][0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(chains(&zone), ["client{mesh=default}", "web{mesh=default}"]);
    zone.put(older(Kind::TrafficRoute, "*", "*", json!({"destination": version("v2")})));
    assert_eq!(chains(&zone), ["web{mesh=default,version=v2}"], "no route leads to the rest");
    let everything = json!({"http": [{"match": {"path": {"prefix": "/a"}}, "destination": version("v1")}],
        "destination": {"kuma.io/service": "*"}});
    zone.put(older(Kind::TrafficRoute, "*", "*", everything));
    let expected = ["client{mesh=default}", "web{mesh=default,version=v1}", "web{mesh=default}"];
    assert_eq!(chains(&zone), expected);
}
