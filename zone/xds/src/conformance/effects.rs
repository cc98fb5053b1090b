//! MeshTimeout, MeshRetry, MeshCircuitBreaker and MeshTrafficPermission: what they decide about listeners and clusters. The cases are in a file for each.
//!
//! Upstream's tests apply the plugin of one policy to resources made for the test. Here the same policies are among the
//! resources of a zone, and the whole configuration of a proxy is generated; compared is what the policy decides.

mod circuit_breaker;
mod retry;
mod timeout;
mod traffic_permission;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Outbound;
use tandem_proto::mesh::v1alpha1::dataplane::networking::outbound::BackendRef;

use super::report::{Report, folder};
use super::{canonical, compare, generated, metadata, yaml};
use crate::Identity;
use crate::encoded::ResourceType;
use crate::testing::{Zone, dataplane, egress, mesh, stored};

/// Where the listener of an outbound is, in all cases.
const OUTBOUND: u32 = 10001;

/// Port of the only inbound.
const INBOUND: u32 = 80;

/// Member of options of clusters.
const HTTP_OPTIONS: &str = "/typedExtensionProtocolOptions/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Where the traffic of a case goes.
#[derive(Clone, Copy)]
enum Way {
    /// In, to a workload that speaks HTTP.
    In,
    /// The same, with the names that proxies with the feature for it have.
    InUnified,
    /// Out, to a service known by its tag, which speaks this.
    ToTag(&'static str),
    /// Out, to a MeshService, by HTTP.
    ToService,
    /// Out, to a MeshExternalService, by HTTP.
    ToExternal,
}

/// One file of upstream.
struct Case {
    /// Name without ending.
    file: String,
    way: Way,
    /// The policy under comparison; null for none.
    spec: Value,
    /// Further policies, by kind.
    others: Vec<(Kind, Value)>,
}

fn case(file: impl Into<String>, way: Way, spec: Value) -> Case {
    Case { file: file.into(), way, spec, others: Vec::new() }
}

fn to(target: Value, conf: Value) -> Value {
    json!({"to": [{"targetRef": target, "default": conf}]})
}

fn to_all(conf: Value) -> Value {
    to(json!({"kind": "Mesh"}), conf)
}

fn to_service(conf: Value) -> Value {
    to(json!({"kind": "MeshService", "name": "other"}), conf)
}

fn incoming(conf: Value) -> Value {
    json!({"rules": [{"default": conf}]})
}

fn exclusive() -> pb::mesh::MeshServices {
    pb::mesh::MeshServices { mode: pb::mesh::mesh_services::Mode::Exclusive.into() }
}

/// What a proxy with one inbound and one outbound gets.
fn configuration(kind: Kind, case: &Case) -> Vec<Value> {
    let mut client = dataplane("default", "backend").address("127.0.0.1");
    client = client.inbound_with(INBOUND, &[("kuma.io/service", "backend"), ("kuma.io/protocol", "http")]);
    let mut resources = Vec::new();
    let mut of_mesh = mesh("default").mtls();
    let backend = |kind: &str| {
        let reference = BackendRef { kind: kind.into(), name: "other".into(), port: 80, ..BackendRef::default() };
        Outbound { address: "127.0.0.1".into(), port: OUTBOUND, backend_ref: Some(reference), ..Outbound::default() }
    };
    match case.way {
        Way::In => {}
        Way::InUnified => of_mesh.spec.mesh_services = Some(exclusive()),
        Way::ToTag(protocol) => {
            client = client.outbound(OUTBOUND, "other");
            let tags = [("kuma.io/service", "other"), ("kuma.io/protocol", protocol), ("version", "v1")];
            resources.push(dataplane("default", "other").inbound_with(8080, &tags).resource());
        }
        Way::ToService => {
            client.spec.networking.get_or_insert_default().outbound.push(backend("MeshService"));
            let port = json!({"port": 80, "targetPort": 8080, "appProtocol": "http"});
            let selector = json!({"dataplaneTags": {"kuma.io/service": "other"}});
            let spec = json!({"selector": selector, "ports": [port]});
            resources.push(Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "other"), spec));
        }
        Way::ToExternal => {
            of_mesh = of_mesh.zone_egress();
            client.spec.networking.get_or_insert_default().outbound.push(backend("MeshExternalService"));
            let endpoints = json!([{"address": "example.com", "port": 10000}]);
            let spec = json!({"match": {"port": 80, "protocol": "http"}, "endpoints": endpoints});
            resources.push(Resource::from_json(ResourceKey::new(Kind::MeshExternalService, "default", "other"), spec));
            resources.push(egress("egress"));
        }
    }
    let key = ResourceKey::new(Kind::Dataplane, "default", "backend");
    resources.push(client.resource());
    resources.extend(of_mesh.with_authority());
    if !case.spec.is_null() {
        resources.push(Resource::from_json(ResourceKey::new(kind, "default", "policy"), case.spec.clone()));
    }
    for (index, (kind, spec)) in case.others.iter().enumerate() {
        resources.push(stored(*kind, "default", &format!("other-{index}"), &json!({"spec": spec})));
    }
    let zone = Zone::new("east", resources);
    let features: &[&str] = if matches!(case.way, Way::InUnified) { &["feature-unified-resource-naming"] } else { &[] };
    let identity = Arc::new(Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() });
    let identities = [("default".to_owned(), identity)].into();
    let made = zone.generate_with(&key, &metadata(features), &identities, None).expect("nothing is missing");
    assert_eq!(made.warnings, []);
    generated(made.resources.iter()).into_values().collect()
}

/// The listener or the cluster of a configuration that a case is about.
fn subject<'a>(configuration: &'a [Value], case: &Case, is_listener: bool) -> &'a Value {
    let port = if matches!(case.way, Way::In | Way::InUnified) { INBOUND } else { OUTBOUND };
    let is_subject = |resource: &&Value| {
        let kind = resource["@type"].as_str().unwrap_or_default();
        let name = resource["name"].as_str().unwrap_or_default();
        if is_listener {
            return kind == ResourceType::Listener.type_url()
                && resource["address"]["socketAddress"]["portValue"] == port;
        }
        let prefixes: &[&str] = match case.way {
            Way::In => &["localhost"],
            Way::InUnified => &["self_inbound"],
            _ if !case.others.is_empty() => &["other-"],
            _ => &["other", "default_other"],
        };
        kind == ResourceType::Cluster.type_url() && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    configuration.iter().find(is_subject).unwrap_or_else(|| panic!("{}: nothing to compare", case.file))
}

/// What a policy decides about a listener or a cluster; routes by what they match.
fn decided(kind: Kind, resource: &Value) -> Value {
    let filters = resource["filterChains"].as_array().into_iter().flatten();
    let filters = filters.flat_map(|chain| chain["filters"].as_array().into_iter().flatten());
    let filter = filters.map(|filter| &filter["typedConfig"]).find(|conf| {
        let kind = conf["@type"].as_str().unwrap_or_default();
        kind.ends_with("HttpConnectionManager") || kind.ends_with("TcpProxy")
    });
    let none = Value::Null;
    let filter = filter.unwrap_or(&none);
    let hosts = filter["routeConfig"]["virtualHosts"].as_array().into_iter().flatten();
    let routes = hosts.flat_map(|host| host["routes"].as_array().into_iter().flatten());
    let of_routes = |members: &[&str]| -> BTreeMap<String, Value> {
        let decided = |route: &Value| members.iter().map(|member| route["route"][member].clone()).collect();
        let matched = |route: &Value| format!("{} {}", route["match"]["path"], route["match"]["prefix"]);
        routes.clone().map(|route| (matched(route), decided(route))).collect()
    };
    match kind {
        Kind::MeshTimeout => json!({
            "routes": of_routes(&["timeout", "idleTimeout"]),
            "listener": [filter["commonHttpProtocolOptions"], filter["requestHeadersTimeout"], filter["idleTimeout"]],
            "cluster": [resource["connectTimeout"], resource.pointer(HTTP_OPTIONS).map(|o| &o["commonHttpProtocolOptions"])],
        }),
        Kind::MeshRetry => json!({"routes": of_routes(&["retryPolicy"]), "tcp": filter["maxConnectAttempts"]}),
        _ => json!([
            resource["circuitBreakers"],
            resource["outlierDetection"],
            resource["commonLbConfig"]["healthyPanicThreshold"],
        ]),
    }
}

/// Runs the cases, each with these endings of its files.
fn run(folder_name: &str, kind: Kind, endings: &[&str], cases: Vec<Case>, skipped: &[(&str, &str)]) {
    let Some(folder) = folder(folder_name) else { return };
    let mut report = Report::new(folder_name);
    for case in cases {
        let configuration = configuration(kind, &case);
        let mut compared = 0;
        for ending in endings {
            let name = format!("{}{ending}.yaml", case.file);
            if !folder.join(&name).exists() {
                continue;
            }
            let expected = canonical(yaml(&folder.join(&name)));
            let is_listener = !expected["filterChains"].is_null();
            let actual = subject(&configuration, &case, is_listener);
            let mut found = Vec::new();
            compare("", &decided(kind, actual), &decided(kind, &expected), &mut found);
            report.case(name, found);
            compared += 1;
        }
        assert!(compared > 0, "{}: no file", case.file);
    }
    for (name, reason) in skipped {
        report.skip(*name, *reason);
    }
    report.finish();
}

/// Routes of requests to the service: those that match are forwarded as without the route.
fn route(matches: Value) -> Value {
    let rule = json!({"matches": [matches], "default": {}});
    json!({"to": [{"targetRef": {"kind": "MeshService", "name": "other"}, "rules": [rule]}]})
}

/// Requests for one path, by GET.
fn one_path() -> Value {
    json!({"path": {"type": "Exact", "value": "/another-backend"}, "method": "GET"})
}

/// All requests.
fn any_path() -> Value {
    json!({"path": {"type": "PathPrefix", "value": "/"}})
}

/// A route that sends all requests to the instances with a tag, so that their cluster is one of its own.
fn split() -> Vec<(Kind, Value)> {
    let subset = json!({"kind": "MeshServiceSubset", "name": "other", "tags": {"version": "v1"}});
    let rule = json!({"matches": [any_path()], "default": {"backendRefs": [subset]}});
    vec![(
        Kind::MeshHTTPRoute,
        json!({"to": [{"targetRef": {"kind": "MeshService", "name": "other"}, "rules": [rule]}]}),
    )]
}

/// A policy for the requests of a route, in the older form.
fn of_route(route: &str, conf: Value) -> Value {
    let mut spec = to_all(conf);
    spec["targetRef"] = json!({"kind": "MeshHTTPRoute", "name": route});
    spec
}

/// Why a case is not compared.
const GATEWAY: &str = "MeshGateway";
