mod effects;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::resource::Resource;
use tandem_model::rest::{Unknown, from_json};
use tandem_model::tags::Tags;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;

use super::gateway::{DestinationPolicies, Listener, destinations, listeners};
use super::{Decoded, LegacyPolicies, MatchedPolicies, traffic_route};
use crate::subject::Gateway;

fn stored(value: Value, created: i64) -> Arc<Resource> {
    let mut resource = from_json(value, None, Unknown::Refuse).expect("a valid resource").resource;
    resource.created = Timestamp::from_second(created).expect("a small number of seconds");
    Arc::new(resource)
}

/// Policies given as kind, name, creation time, and members.
fn policies(of: &[(&str, &str, i64, Value)]) -> LegacyPolicies {
    let mut policies = LegacyPolicies::default();
    for (kind, name, created, members) in of {
        let mut value = json!({"type": kind, "mesh": "m", "name": name});
        for (member, content) in members.as_object().into_iter().flatten() {
            value[member] = content.clone();
        }
        policies.add(stored(value, *created)).expect("a valid policy");
    }
    policies
}

fn selectors(of: &[Value]) -> Value {
    of.iter().map(|tags| json!({"match": tags})).collect()
}

/// Sources and destinations, each given as one tag set.
fn between(source: Value, destination: Value) -> Value {
    json!({"sources": selectors(&[source]), "destinations": selectors(&[destination])})
}

fn service(name: &str) -> Value {
    json!({"kuma.io/service": name})
}

fn dataplane(networking: Value) -> Dataplane {
    stored(json!({"type": "Dataplane", "mesh": "m", "name": "d", "networking": networking}), 1).proto().expect("valid")
}

/// A proxy of service `web`, version 1, with outbounds to these services.
fn web(outbounds: &[&str]) -> Dataplane {
    let outbound = |(index, name): (usize, &&str)| json!({"port": 9000 + index, "tags": service(name)});
    dataplane(json!({
        "address": "10.0.0.1",
        "inbound": [{"port": 80, "servicePort": 8080, "tags": {"kuma.io/service": "web", "version": "1"}}],
        "outbound": outbounds.iter().enumerate().map(outbound).collect::<Vec<_>>(),
    }))
}

fn matched(policies: &LegacyPolicies, dataplane: &Dataplane) -> MatchedPolicies {
    MatchedPolicies::of(policies, dataplane, dataplane.outbounds(), &[])
}

/// Names of policies by what they apply to.
fn names<'a, K: ToString + 'a, S: 'a>(
    by: impl IntoIterator<Item = (&'a K, &'a Arc<Decoded<S>>)>,
) -> Vec<(String, &'a str)> {
    by.into_iter().map(|(key, policy)| (key.to_string(), policy.resource.key.name.as_str())).collect()
}

fn is(name: &str) -> impl Fn(&str) -> (String, &str) {
    let name = name.to_owned();
    move |policy| (name.clone(), policy)
}

#[test]
fn the_most_specific_pair_of_selectors_wins() {
    let any = || service("*");
    let policies = policies(&[
        ("TrafficLog", "everything", 9, between(any(), any())),
        ("TrafficLog", "to-redis", 1, between(any(), service("redis"))),
        ("TrafficLog", "of-version", 1, between(json!({"kuma.io/service": "*", "version": "1"}), any())),
        ("TrafficLog", "of-another", 1, between(service("api"), service("redis"))),
    ]);
    let matched = matched(&policies, &web(&["redis", "search"]));
    // Two tags of the source beat one exact tag of the destination; the number of tags comes first.
    let expected = [is("pass_through")("of-version"), is("redis")("of-version"), is("search")("of-version")];
    assert_eq!(names(&matched.traffic_logs), expected);
}

#[test]
fn the_best_of_several_selectors_of_a_policy_counts() {
    let both =
        json!({"sources": selectors(&[service("*"), service("web")]), "destinations": selectors(&[service("*")])});
    let policies =
        policies(&[("TrafficLog", "older", 1, both), ("TrafficLog", "newer", 2, between(service("*"), service("*")))]);
    assert_eq!(names(&matched(&policies, &web(&[])).traffic_logs), [is("pass_through")("older")]);
}

#[test]
fn the_newest_wins_among_equals_and_then_the_first_by_name() {
    let any = || between(service("*"), service("*"));
    let log = |name, created| ("TrafficLog", name, created, any());
    let winner =
        |of: &[(&str, &str, i64, Value)]| names(&matched(&policies(of), &web(&[])).traffic_logs)[0].1.to_owned();
    assert_eq!(winner(&[log("a", 1), log("b", 2)]), "b");
    assert_eq!(winner(&[log("b", 1), log("a", 1), log("c", 1)]), "a");
}

#[test]
fn destinations_of_outbounds_are_known_by_service_only() {
    let policies = policies(&[
        ("Timeout", "tagged", 1, between(service("*"), json!({"kuma.io/service": "redis", "version": "1"}))),
        ("Timeout", "plain", 1, between(service("*"), service("redis"))),
    ]);
    let matched = matched(&policies, &web(&["redis", "search"]));
    let timeouts: Vec<_> = matched.timeouts.iter().collect();
    assert_eq!(timeouts.len(), 1);
    let (outbound, policy) = timeouts[0];
    assert_eq!((outbound.address.as_str(), outbound.port), ("127.0.0.1", 9000));
    assert_eq!(policy.resource.key.name, "plain");
}

#[test]
fn permissions_are_chosen_by_destination_alone() {
    let policies = policies(&[
        ("TrafficPermission", "exact", 1, between(service("nobody"), service("web"))),
        ("TrafficPermission", "any", 2, between(service("*"), service("*"))),
        ("TrafficPermission", "tagged", 1, between(service("*"), json!({"kuma.io/service": "web", "version": "2"}))),
    ]);
    let matched = matched(&policies, &web(&[]));
    let permissions: Vec<_> = matched.traffic_permissions.iter().collect();
    assert_eq!(permissions.len(), 1);
    let (inbound, policy) = permissions[0];
    assert_eq!((inbound.address.as_str(), inbound.port, inbound.workload_port), ("10.0.0.1", 80, 8080));
    assert_eq!(policy.resource.key.name, "exact");
}

#[test]
fn all_faults_and_limits_of_an_inbound_apply_each_once() {
    let to_web = |source: Value| json!({"sources": selectors(&[source]), "destinations": selectors(&[service("web"), service("*")])});
    let specific = || json!({"kuma.io/service": "api", "version": "1"});
    let names = |kind| {
        let policies = policies(&[
            (kind, "general", 5, to_web(service("*"))),
            (kind, "specific", 1, to_web(specific())),
            (kind, "newer", 6, to_web(service("*"))),
            (kind, "other", 1, between(service("*"), service("api"))),
        ]);
        let matched = matched(&policies, &web(&[]));
        let of = |resources: Vec<Arc<Resource>>| resources.iter().map(|r| r.key.name.clone()).collect::<Vec<_>>();
        let faults = matched.fault_injections.values().flatten().map(|policy| Arc::clone(&policy.resource));
        let limits = matched.inbound_rate_limits.values().flatten().map(|policy| Arc::clone(&policy.resource));
        of(faults.chain(limits).collect())
    };
    assert_eq!(names("FaultInjection"), ["specific", "newer", "general"]);
    assert_eq!(names("RateLimit"), ["specific", "newer", "general"]);
}

#[test]
fn rate_limits_also_apply_to_outbounds() {
    let policies = policies(&[("RateLimit", "limit", 1, between(service("web"), service("search")))]);
    let matched = matched(&policies, &web(&["redis", "search"]));
    assert!(matched.inbound_rate_limits.is_empty());
    assert_eq!(matched.outbound_rate_limits.keys().map(|outbound| outbound.port).collect::<Vec<_>>(), [9001]);
}

#[test]
fn policies_about_services_follow_the_routes() {
    let mut route = between(service("*"), service("redis"));
    route["conf"] = json!({"split": [
        {"weight": 1, "destination": {"kuma.io/service": "*", "version": "1"}},
        {"weight": 1, "destination": {"kuma.io/service": "cache"}},
    ], "http": [{"match": {"path": {"prefix": "/"}}, "destination": {"kuma.io/service": "elsewhere"}}]});
    let any = || between(service("*"), service("*"));
    let policies = policies(&[
        ("TrafficRoute", "route", 1, route),
        ("HealthCheck", "check", 1, any()),
        ("CircuitBreaker", "breaker", 1, any()),
        ("Retry", "retry", 1, any()),
    ]);
    let matched = matched(&policies, &web(&["redis", "search"]));
    assert_eq!(matched.traffic_routes.keys().map(|outbound| outbound.port).collect::<Vec<_>>(), [9000]);
    let reached = ["cache", "redis", "search"];
    assert_eq!(matched.health_checks.keys().collect::<Vec<_>>(), reached);
    assert_eq!(matched.circuit_breakers.keys().collect::<Vec<_>>(), reached);
    assert_eq!(matched.retries.keys().collect::<Vec<_>>(), reached);
}

#[test]
fn routes_take_what_they_leave_open_from_the_outbound() {
    let tags = |value: Value| -> Tags { serde_json::from_value(value).expect("tags") };
    let outbound = tags(json!({"kuma.io/service": "redis", "version": "2", "team": "a"}));
    let destination = tags(json!({"kuma.io/service": "*", "version": "1"}));
    let expected = tags(json!({"kuma.io/service": "redis", "version": "1", "team": "a"}));
    assert_eq!(traffic_route::with_outbound_tags(&destination, &outbound), expected);
}

#[test]
fn outbounds_to_resources_have_no_part() {
    let dataplane = dataplane(json!({
        "address": "10.0.0.1",
        "inbound": [{"port": 80, "tags": service("web")}],
        "outbound": [{"port": 1, "backendRef": {"kind": "MeshService", "name": "redis", "port": 1}}],
    }));
    let any = || between(service("*"), service("*"));
    let policies = policies(&[("Timeout", "t", 1, any()), ("Retry", "r", 1, any())]);
    let matched = matched(&policies, &dataplane);
    assert!(matched.timeouts.is_empty() && matched.retries.is_empty());
}

#[test]
fn one_policy_applies_to_the_whole_proxy() {
    let select = |tags: Value| json!({"selectors": selectors(&[tags])});
    let winner = |of: &[(&str, &str, i64, Value)]| {
        let trace = matched(&policies(of), &web(&[])).traffic_trace;
        trace.map(|policy| policy.resource.key.name.clone())
    };
    assert_eq!(winner(&[]), None);
    assert_eq!(winner(&[("TrafficTrace", "other", 1, select(service("api")))]), None);
    let (any, exact) = (select(service("*")), select(service("web")));
    let of = [("TrafficTrace", "any", 2, any), ("TrafficTrace", "exact", 1, exact)];
    assert_eq!(winner(&of).as_deref(), Some("exact"));
    let template = |name, created, members: Value| ("ProxyTemplate", name, created, members);
    let of = [template("all", 3, json!({})), template("web", 1, select(service("web")))];
    let chosen = matched(&policies(&of), &web(&[])).proxy_template.expect("both select the proxy");
    assert_eq!(chosen.resource.key.name, "web");
    let of = [template("all", 3, json!({})), template("older", 1, json!({"selectors": [{}]}))];
    let chosen = matched(&policies(&of), &web(&[])).proxy_template.expect("both select every proxy");
    assert_eq!(chosen.resource.key.name, "all");
}

#[test]
fn inbounds_that_the_mesh_adds_are_matched_too() {
    let metrics = Inbound {
        address: "10.0.0.1".to_owned(),
        port: 5670,
        tags: serde_json::from_value(service("dataplane-metrics")).expect("tags"),
        ..Inbound::default()
    };
    let policies = policies(&[("TrafficPermission", "scrape", 1, between(service("*"), service("dataplane-metrics")))]);
    let dataplane = web(&[]);
    let matched = MatchedPolicies::of(&policies, &dataplane, &[], &[metrics]);
    assert_eq!(matched.traffic_permissions.keys().map(|inbound| inbound.port).collect::<Vec<_>>(), [5670]);
}

fn gateway(listeners: Value) -> Gateway {
    let gateway = json!({
        "type": "MeshGateway", "mesh": "m", "name": "edge", "selectors": selectors(&[service("edge")]),
        "tags": {"tier": "front"}, "conf": {"listeners": listeners},
    });
    Gateway::decode(stored(gateway, 1)).expect("a valid gateway")
}

fn route(name: &'static str, selector: Value, hostnames: &[&str]) -> (&'static str, &'static str, i64, Value) {
    let rule = json!({
        "matches": [{"path": {"value": "/"}}],
        "filters": [{"mirror": {"backend": {"destination": service("shadow")}, "percentage": 1}}],
        "backends": [{"destination": service("web")}, {"destination": service("api")}, {"destination": service("web")}],
    });
    let http = json!({"hostnames": hostnames, "rules": [rule.clone(), rule]});
    ("MeshGatewayRoute", name, 1, json!({"selectors": selectors(&[selector]), "conf": {"http": http}}))
}

/// Host names and the names of their routes.
fn hosts(listener: &Listener) -> Vec<(&str, Vec<&str>)> {
    let hosts = listener.groups.iter().flat_map(|group| &group.hosts);
    let names = hosts.map(|host| {
        let routes = host.routes.iter().map(|route| route.resource.key.name.as_str()).collect();
        (host.hostname.as_str(), routes)
    });
    names.collect()
}

#[test]
fn gateways_follow_the_routes_of_their_listeners() {
    let gateway = gateway(json!([
        {"port": 443, "protocol": "TCP"},
        {"port": 80, "protocol": "HTTP", "tags": {"port": "http"}},
        {"port": 80, "protocol": "HTTP", "hostname": "*.example.com"},
    ]));
    let policies = policies(&[
        route("all", json!({"tier": "front"}), &[]),
        route("by-listener", json!({"port": "http"}), &["shop.example.com", "other.org"]),
        route("elsewhere", json!({"tier": "back"}), &[]),
    ]);
    let tags: Tags = serde_json::from_value(service("edge")).expect("tags");
    let listeners = listeners(&gateway, Some(&tags), &policies.gateway_routes);
    assert_eq!(listeners.iter().map(|listener| listener.port).collect::<Vec<_>>(), [80, 443]);
    assert_eq!(
        hosts(&listeners[0]),
        [
            ("other.org", vec!["by-listener"]),
            ("shop.example.com", vec!["by-listener"]),
            ("*.example.com", vec!["all"]),
            ("*", vec!["all"]),
        ]
    );
    // A route for HTTP is none for TCP.
    assert_eq!(hosts(&listeners[1]), [("*", vec![])]);
    let of_listener = &listeners[0].groups[0].hosts[0].tags;
    assert_eq!(of_listener["tier"], "front");
    assert_eq!(of_listener["kuma.io/service"], "edge");
}

#[test]
fn host_names_of_tls_listeners_are_groups() {
    let tls = |hostname: &str| json!({"port": 443, "protocol": "HTTPS", "hostname": hostname});
    let gateway = gateway(json!([tls("*.example.com"), tls("a.example.com")]));
    let policies = policies(&[route("a", json!({"tier": "front"}), &["a.example.com"])]);
    let listeners = listeners(&gateway, None, &policies.gateway_routes);
    let groups: Vec<_> = listeners[0].groups.iter().map(|group| group.server_name.as_str()).collect();
    assert_eq!(groups, ["a.example.com", "*.example.com"]);
    assert_eq!(hosts(&listeners[0]), [("a.example.com", vec!["a"]), ("*.example.com", vec!["a"])]);
}

#[test]
fn destinations_of_a_route_are_listed_once() {
    let policies = policies(&[route("r", json!({}), &[])]);
    let services: Vec<_> = destinations(&policies.gateway_routes[0].spec)
        .into_iter()
        .map(|tags| tags["kuma.io/service"].as_str())
        .collect();
    assert_eq!(services, ["api", "shadow", "web"]);
}

#[test]
fn policies_of_gateways_depend_on_listener_and_destination() {
    let first_counts = json!({"sources": selectors(&[service("*"), json!({"kuma.io/service": "edge", "tier": "front"})]),
               "destinations": selectors(&[service("*")])});
    let policies = policies(&[
        ("Timeout", "first-selector-is-general", 9, first_counts),
        ("Timeout", "exact", 1, between(service("*"), service("web"))),
        ("Retry", "elsewhere", 1, between(service("api"), service("*"))),
    ]);
    let tags = |value: Value| -> Tags { serde_json::from_value(value).expect("tags") };
    let listener = tags(json!({"kuma.io/service": "edge", "tier": "front"}));
    let of = |destination: &str| DestinationPolicies::of(&policies, &listener, &tags(service(destination)));
    let name = |found: DestinationPolicies| found.timeout.map(|policy| policy.resource.key.name.clone());
    assert_eq!(name(of("web")).as_deref(), Some("exact"));
    assert_eq!(name(of("api")).as_deref(), Some("first-selector-is-general"));
    assert_eq!(of("web").retry, None);
}
