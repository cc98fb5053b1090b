//! MeshLoadBalancingStrategy: what it decides about clusters, endpoints and routes.
//!
//! Upstream's tests apply the plugin to resources made for the test. Here the same is done, with the policy as a user writes it; compared
//! are all endpoints, and what the policy decides about clusters and routes.

mod cases;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tandem_model::{Kind, Kri, Protocol, Resource, ResourceKey};
use tandem_policy::destinations::Destinations;
use tandem_policy::envoy::{ChainDraft, Draft, ListenerDraft, NetworkFilter, Origin};
use tandem_policy::load_balancing::{Localities, Standpoint, Strategy};
use tandem_policy::policy::Policy;
use tandem_policy::subject::Subject;
use tandem_policy::{MeshPolicies, ProxyPolicies, outbound_cluster, outbound_listener};

use cases::{Case, Cluster, Place, ZONE, cases, cluster, only, with_endpoints};

use super::report::{Report, folder};
use super::{Resources, compare, generated, golden, of_set};
use crate::encoded::{Encoded, ResourceType};
use crate::generate::assignment::assignment;
use crate::generate::http::{everything_to, manager, route_table};
use crate::generate::shape::{self, Discovery};
use crate::index::{Endpoint, Locality};
use crate::testing::dataplane;

const FOLDER: &str = "policy-plugins/meshloadbalancingstrategy/plugin-v1alpha1";

/// The policies of a mesh, of which each is about one destination.
fn policies<'a>(confs: impl IntoIterator<Item = (Value, &'a Value)>, destinations: Vec<Resource>) -> MeshPolicies {
    let to: Vec<_> = confs.into_iter().map(|(target, conf)| json!({"targetRef": target, "default": conf})).collect();
    let mut spec = json!({"to": to});
    let checked = tandem_policy::check(Kind::MeshLoadBalancingStrategy, &mut spec);
    assert!(checked.violations.is_empty(), "{}", checked.violations);
    let key = ResourceKey::new(Kind::MeshLoadBalancingStrategy, "default", "policy");
    let policy = Policy::decode(Arc::new(Resource::from_json(key, spec))).expect("just checked");
    let destinations = Destinations::new(destinations.into_iter().map(Arc::new));
    MeshPolicies::new("default", [Arc::new(policy)], Arc::new(destinations))
}

fn of_services(confs: &[(&'static str, Value)]) -> MeshPolicies {
    let about = |service: &str| json!({"kind": "MeshService", "name": service});
    policies(confs.iter().map(|(service, conf)| (about(service), conf)), Vec::new())
}

/// What policies amount to for the proxy of all cases.
fn for_proxy(policies: &MeshPolicies) -> ProxyPolicies {
    let tags = [
        ("kuma.io/service", "backend"),
        ("kuma.io/zone", ZONE),
        ("k8s.io/node", "node1"),
        ("k8s.io/az", "test"),
        ("k8s.io/region", "test"),
    ];
    let proxy = dataplane("default", "proxy").inbound_with(80, &tags);
    let resource = proxy.resource();
    let policies = policies.for_proxy(&Subject::new(&resource, &proxy.spec, &[]));
    assert_eq!(policies.outbound.own_tags(|| tandem_model::dataplane::DataplaneExt::all_tags(&proxy.spec)).told, None);
    policies
}

fn endpoint((zone, address, tag): &Place) -> Endpoint {
    let tags = [("kuma.io/protocol", "http"), ("kuma.io/zone", *zone)].into_iter().chain(*tag);
    Endpoint {
        address: (*address).into(),
        port: 8080,
        tags: Arc::new(tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        weight: 0,
        locality: Some(Locality { zone: (*zone).to_owned(), priority: 0 }),
        external: false,
    }
}

/// The endpoints of a cluster as a proxy gets them.
fn endpoints(cluster: &Cluster, localities: Option<&Localities>) -> Value {
    let endpoints: Vec<_> = cluster.places.iter().map(endpoint).collect();
    let message = assignment(cluster.name, &endpoints, localities).encode();
    let encoded = Arc::new(Encoded::new(ResourceType::Endpoint, cluster.name, &message));
    generated([(ResourceType::Endpoint, &encoded)]).into_values().next().expect("one resource")
}

/// Of a cluster what is decided here.
fn decided(cluster: &Value) -> Value {
    let members =
        ["lbPolicy", "commonLbConfig", "leastRequestLbConfig", "ringHashLbConfig", "maglevLbConfig", "loadAssignment"];
    let decided: Map<String, Value> =
        members.into_iter().filter_map(|name| Some((name.to_owned(), cluster.get(name)?.clone()))).collect();
    let mut decided = Value::Object(decided);
    if let Some(assignment) = decided.get_mut("loadAssignment").and_then(Value::as_object_mut) {
        assignment.remove("@type");
    }
    decided
}

/// What is hashed, by the name of the route and the cluster that it leads to.
fn hashed(listener: &Value) -> Vec<Value> {
    let manager = &listener["filterChains"][0]["filters"][0]["typedConfig"];
    let routes = manager["routeConfig"]["virtualHosts"][0]["routes"].as_array().cloned().unwrap_or_default();
    routes.iter().map(|route| json!([route["name"], route["route"]["hashPolicy"]])).collect()
}

/// A listener with these routes.
fn listener(name: &str, routes: &[&str]) -> Draft<ListenerDraft> {
    let routes = routes.iter().map(|route| everything_to(route, "cluster", false)).collect();
    let table = route_table(name.to_owned(), name.to_owned(), routes);
    let filters = vec![NetworkFilter::Http(Box::new(manager(name, Vec::new(), table, Vec::new())))];
    let mut listener = shape::outbound_listener(name.to_owned(), "127.0.0.1", 80);
    listener.chains = vec![ChainDraft { filters, ..Default::default() }];
    Draft::new(Origin::Outbound, listener).speaking(Protocol::Http)
}

fn encoded_listener(draft: Draft<ListenerDraft>) -> Value {
    let mut set = tandem_policy::envoy::DraftSet::default();
    set.add_listener(draft);
    of_set(&set).into_values().next().expect("one resource")
}

fn by_name(resources: Resources) -> BTreeMap<String, Value> {
    resources.into_iter().map(|((_, name), resource)| (name, resource)).collect()
}

fn difference(what: &str, actual: &Value, expected: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare::compare(what, actual, expected, &mut found);
    found
}

fn case(case: &Case, report: &mut Report, read: impl Fn(&str) -> BTreeMap<String, Value>) {
    let policies = for_proxy(&of_services(&case.confs));
    let proxy_tags = [("k8s.io/node", "node1"), ("k8s.io/az", "test"), ("k8s.io/region", "test")];
    let own = policies
        .outbound
        .own_tags(|| proxy_tags.map(|(key, value)| (key.to_owned(), [value.to_owned()].into())).into());
    let (mut of_clusters, mut of_endpoints, mut of_listeners) = (Vec::new(), Vec::new(), Vec::new());
    let (clusters, assignments, listeners) = (read("clusters"), read("endpoints"), read("listeners"));
    for cluster in &case.clusters {
        let localities = policies.outbound.load_balancing.of_service(cluster.service).map(|strategy: &Strategy| {
            strategy.localities(Standpoint { zone: ZONE, tags: &own.affinity, through_egress: case.through_egress })
        });
        let assignment = endpoints(cluster, localities.as_ref());
        let discovery = if cluster.is_static { Discovery::Static } else { Discovery::Eds };
        let draft = shape::cluster(cluster.name, discovery);
        let mut draft = Draft::new(Origin::Outbound, draft).for_service(cluster.service);
        outbound_cluster(&policies.outbound, &own, &mut draft);
        let mut set = tandem_policy::envoy::DraftSet::default();
        set.add_cluster(draft);
        let mut found = of_set(&set).into_values().next().expect("one resource");
        if cluster.is_static {
            found["loadAssignment"] = assignment;
        } else {
            of_endpoints.extend(difference(cluster.name, &assignment, &assignments[cluster.name]));
        }
        of_clusters.extend(difference(cluster.name, &decided(&found), &decided(&clusters[cluster.name])));
    }
    for (service, (name, expected)) in case.listeners.iter().zip(listeners) {
        let mut draft = listener(&name, &[""]).for_service(*service);
        outbound_listener(&policies.outbound, None, &mut draft);
        let actual = json!(hashed(&encoded_listener(draft)));
        of_listeners.extend(difference(&name, &actual, &json!(hashed(&expected))));
    }
    for (what, found) in [("clusters", of_clusters), ("endpoints", of_endpoints), ("listeners", of_listeners)] {
        report.case(format!("{}.{what}", case.name), found);
    }
}

/// At a ZoneEgress: endpoints of services in other zones, and of services outside.
fn egress(report: &mut Report, name: &str, confs: [Value; 2], read: impl Fn(&str) -> BTreeMap<String, Value>) {
    let services = [("eds-cluster", &confs[0]), ("static-cluster", &confs[1])];
    let policies =
        services.map(|(service, conf)| policies([(json!({"kind": "MeshService", "name": service}), conf)], Vec::new()));
    let localities = |policies: &MeshPolicies, service: &str| {
        let standpoint = Standpoint { zone: ZONE, tags: &Default::default(), through_egress: false };
        let strategy = policies.for_egress().load_balancing_of_services.of(service).expect("a strategy");
        strategy.localities(standpoint)
    };
    let places = [(ZONE, "192.168.1.1", None), ("zone-2", "192.168.1.2", None), ("zone-3", "192.168.1.3", None)];
    let in_zones = cluster("mesh-1:eds-cluster", &places);
    let outside =
        with_endpoints("mesh-2:static-cluster", &[(ZONE, "192.168.0.1", None), ("zone-2", "192.168.0.2", None)]);
    let found = endpoints(&in_zones, Some(&localities(&policies[0], "eds-cluster")));
    let expected = &read("endpoints")["mesh-1:eds-cluster"];
    report.case(format!("{name}.endpoints"), difference("endpoints", &found, expected));
    let mut found = endpoints(&outside, Some(&localities(&policies[1], "static-cluster")));
    found.as_object_mut().expect("an object").remove("@type");
    let expected = &read("clusters")["mesh-2:static-cluster"]["loadAssignment"];
    report.case(format!("{name}.clusters"), difference("clusters", &found, expected));
    let routes = read("listeners").into_values().flat_map(|listener| hashed(&listener));
    let hashed = routes.filter(|route| !route[1].is_null()).map(|route| format!("hashed: {route}"));
    report.case(format!("{name}.listeners"), hashed.collect());
}

/// Routes to a MeshService, one of which has a policy of its own.
fn routes(expected: &BTreeMap<String, Value>) -> Vec<String> {
    let resource = |kind, name: &str, spec| {
        let mut resource = Resource::from_json(ResourceKey::new(kind, "default", name), spec);
        for (label, value) in
            [("kuma.io/zone", ZONE), ("k8s.kuma.io/namespace", "ns-1"), ("kuma.io/display-name", name)]
        {
            resource.labels.insert(label.to_owned(), value.to_owned());
        }
        resource
    };
    let service = resource(Kind::MeshService, "ms-1", json!({"ports": [{"port": 27777}]}));
    let route = resource(Kind::MeshHTTPRoute, "route-3", json!({}));
    let to = |kind: &str, name: &str| json!({"kind": kind, "labels": {"kuma.io/display-name": name}});
    let hash = |header: &str| json!({"hashPolicies": [{"type": "Header", "header": {"name": header}}]});
    let (of_service, of_route) = (hash("x-per-meshservice-header"), hash("x-per-meshhttproute-route-3"));
    let confs = [(to("MeshService", "ms-1"), &of_service), (to("MeshHTTPRoute", "route-3"), &of_route)];
    let policies = for_proxy(&policies(confs, vec![service, route]));
    let destination: Kri = "kri_msvc_default_zone-1_ns-1_ms-1_27777".parse().expect("an identifier");
    let (name, expected) = expected.iter().next().expect("a listener");
    let expected = hashed(expected);
    let names: Vec<&str> = expected.iter().filter_map(|route| route[0].as_str()).collect();
    let mut draft = listener(name, &names).serving(Arc::new(destination));
    outbound_listener(&policies.outbound, None, &mut draft);
    difference(name, &json!(hashed(&encoded_listener(draft))), &json!(expected))
}

#[test]
fn load_balancing_strategies() {
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let read = |name: &str, what: &str| by_name(golden(&folder.join(format!("{name}.{what}.golden.yaml"))));
    for of in cases() {
        case(&of, &mut report, |what| read(of.name, what));
    }
    let cross_zone =
        |failover: Value| json!({"localityAwareness": {"disabled": false, "crossZone": {"failover": failover}}});
    let from_here = |zone: &str| json!({"from": {"zones": [ZONE]}, "to": only(zone)});
    let confs =
        [cross_zone(json!([from_here("zone-2"), from_here("zone-3")])), cross_zone(json!([{"to": {"type": "Any"}}]))];
    egress(&mut report, "egress", confs, |what| read("egress", what));
    let aware = || json!({"localityAwareness": {"disabled": false}});
    egress(&mut report, "egress_basic", [aware(), aware()], |what| read("egress_basic", what));
    report.case("route.listeners", routes(&read("route", "listeners")));
    for what in ["clusters", "endpoints"] {
        let of_none = read("route", what).into_keys().map(|name| format!("missing: {name}")).collect();
        report.case(format!("route.{what}"), of_none);
        report.skip(format!("egress_meshexternalservice.{what}"), "no test of upstream makes it");
    }
    report.skip("egress_meshexternalservice.listeners", "no test of upstream makes it");
    let of_gateways = [
        "basic.gateway",
        "locality_aware.gateway",
        "no-cross-zone.gateway",
        "real-MeshService-targeted-to-real-MeshService.gateway",
    ];
    for name in of_gateways {
        for what in ["clusters", "endpoints", "listeners", "routes"] {
            report.skip(format!("{name}.{what}"), "MeshGateway");
        }
    }
    for name in ["basic", "locality_aware"] {
        for what in ["cluster", "endpoint", "listener", "route"] {
            report.skip(format!("{name}.gateway_{what}"), "MeshGateway");
        }
    }
    report.finish();
}
