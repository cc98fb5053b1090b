//! MeshRateLimit and MeshFaultInjection.
//!
//! Upstream's tests apply each policy alone to listeners that they build. Compared is what these policies decide: the filters, and how
//! routes are limited.

use std::path::Path;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::compare::{canonical, compare};
use super::report::{Report, folder};
use super::yaml;
use crate::ResourceType;
use crate::testing::{Zone, dataplane, egress, json, mesh, names, stored};

fn policy(kind: Kind, mesh: &str, name: &str, spec: Value) -> Resource {
    let resource = Resource::from_json(ResourceKey::new(kind, mesh, name), spec);
    resource.with_labels([("kuma.io/zone", "zone-1"), ("k8s.kuma.io/namespace", "ns-1")])
}

fn inbound(section: &str) -> Value {
    json!({"kind": "Dataplane", "sectionName": section})
}

/// What the policies decide of a filter chain: names and settings of its filters, without those that every chain has.
fn decided(chain: &Value) -> Value {
    let filters = chain["filters"].as_array().into_iter().flatten();
    let filters: Vec<Value> = filters
        .filter(|filter| {
            !["envoy.filters.network.tcp_proxy", "envoy.filters.network.rbac"].iter().any(|n| filter["name"] == *n)
        })
        .map(|filter| match filter["typedConfig"].get("httpFilters") {
            Some(filters) => {
                let filters = filters.as_array().into_iter().flatten();
                let filters: Vec<_> = filters.filter(|filter| filter["name"] != "envoy.filters.http.rbac").collect();
                let table = filter.pointer("/typedConfig/routeConfig/virtualHosts/0/routes");
                let routes = table.and_then(Value::as_array).into_iter().flatten();
                let limits: Vec<_> = routes.filter_map(|route| route.get("typedPerFilterConfig")).collect();
                json!({"requests": filters, "limits": limits})
            }
            None => filter.clone(),
        })
        .collect();
    canonical(Value::Array(filters))
}

/// Differences at a listener that upstream's file has alone.
fn of_inbound(folder: &Path, file: &str, zone: &Zone, port: u32) -> Vec<String> {
    let generated =
        zone.generate(&ResourceKey::new(Kind::Dataplane, "default", "test"), None).expect("nothing is missing");
    let actual = json(&generated, ResourceType::Listener, &format!("inbound:127.0.0.1:{port}"));
    let expected = yaml(&folder.join(format!("{file}.golden.yaml")));
    let mut found = Vec::new();
    compare("", &decided(&actual["filterChains"][0]), &decided(&expected["filterChains"][0]), &mut found);
    found
}

/// The proxy of upstream's tests: an HTTP and a TCP inbound.
fn sidecar(policies: impl IntoIterator<Item = Resource>) -> Zone {
    let backend = [("kuma.io/service", "backend"), ("kuma.io/protocol", "http")];
    let proxy = dataplane("default", "test").address("127.0.0.1").inbound_with(17777, &backend);
    let proxy = proxy.inbound_with(17778, &[("kuma.io/service", "frontend"), ("kuma.io/protocol", "tcp")]);
    let mut zone = Zone::new("zone-1", [mesh("default").resource(), proxy.resource()]);
    policies.into_iter().for_each(|policy| drop(zone.put(policy)));
    zone
}

/// Differences at the chains of an egress to the ExternalServices of two meshes.
fn of_egress(folder: &Path, file: &str, policies: Vec<Resource>) -> Vec<String> {
    let mut resources = vec![egress("egress")];
    let mut add = |of: &str, name: &str, protocol: &str| {
        let tags = json!({"kuma.io/service": name, "kuma.io/protocol": protocol});
        resources.push(stored(
            Kind::ExternalService,
            of,
            name,
            &json!({"networking": {"address": "192.0.2.1:80"}, "tags": tags}),
        ));
    };
    add("mesh-1", "external-service-1", "http");
    add("mesh-2", "external-service-1", "tcp");
    add("mesh-2", "external-service-2", "http");
    for name in ["mesh-1", "mesh-2"] {
        resources.extend(mesh(name).mtls().zone_egress().with_authority());
    }
    resources.extend(policies);
    let zone = Zone::new("zone-1", resources);
    let generated = zone.generate(&ResourceKey::new(Kind::ZoneEgress, "", "egress"), None).expect("nothing is missing");
    let listeners = names(&generated, ResourceType::Listener);
    let name = listeners.iter().find(|name| name.starts_with("inbound:")).expect("the listener of the egress");
    let actual = json(&generated, ResourceType::Listener, name);
    let expected = &yaml(&folder.join(format!("{file}.golden.yaml")))["resources"][0]["resource"];
    let chains = |listener: &Value| listener["filterChains"].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    let actual = chains(&actual);
    assert_eq!(actual.len(), 3);
    for chain in actual {
        let name = chain["name"].as_str().unwrap_or_default();
        let same = chains(expected).into_iter().find(|expected| expected["name"] == name);
        compare(name, &decided(&chain), &decided(&same.expect("upstream's chain")), &mut found);
    }
    found
}

/// A case that differs on purpose, at one place alone.
fn on_purpose(report: &mut Report, name: &str, place: &str, reason: &str, found: Vec<String>) {
    match found.iter().all(|difference| difference.contains(place)) {
        true => report.different(name, reason, found),
        false => report.case(name, found),
    }
}

fn limits(conf: Value) -> Value {
    json!([{"default": {"local": conf}}])
}

#[test]
fn mesh_rate_limit() {
    const FOLDER: &str = "policy-plugins/meshratelimit/plugin-v1alpha1";
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let rate = json!({"num": 100, "interval": "10s"});
    let with = |section: &str, conf: Value| {
        let spec = json!({"targetRef": inbound(section), "rules": limits(conf)});
        sidecar([policy(Kind::MeshRateLimit, "default", "limit", spec)])
    };
    let header = |name: &str, value: &str| json!({"name": name, "value": value});
    let headers = json!({
        "add": [header("x-kuma-rate-limit-header", "test-value"), header("x-kuma-rate-limit", "other-value")],
        "set": [header("x-kuma-rate-limit-header-set", "test-value")],
    });
    let requests = json!({"http": {"requestRate": rate, "onRateLimit": {"status": 444, "headers": headers}}});
    let found = of_inbound(&folder, "basic_listener_1", &with("17777", requests), 17777);
    let reason = "Envoy refuses a listener with a status that it does not know";
    on_purpose(&mut report, "basic_listener_1", ".status", reason, found);
    let both = json!({"http": {"requestRate": rate}, "tcp": {"connectionRate": rate}});
    report.case("basic_listener_2", of_inbound(&folder, "basic_listener_2", &with("17778", both), 17778));
    let disabled = json!({"tcp": {"disabled": true, "connectionRate": rate}});
    report.case("tcp_disabled", of_inbound(&folder, "tcp_disabled", &with("17778", disabled), 17778));
    let disabled = json!({"http": {"disabled": true, "requestRate": rate}});
    report.case("http_disabled", of_inbound(&folder, "http_disabled", &with("17777", disabled), 17777));
    report.skip("old_policy", "a listener with the route of a RateLimit and without its filter");
    let of = |mesh: &str, service: &str, conf: Value| {
        let from = json!([{"targetRef": {"kind": "Mesh"}, "default": {"local": conf}}]);
        let spec = json!({"targetRef": {"kind": "MeshService", "name": service}, "from": from});
        policy(Kind::MeshRateLimit, mesh, service, spec)
    };
    let policies = vec![
        of("mesh-1", "external-service-1", json!({"http": {"requestRate": rate}})),
        of("mesh-2", "external-service-1", json!({"tcp": {"connectionRate": {"num": 22, "interval": "22s"}}})),
        of("mesh-2", "external-service-2", json!({"http": {"requestRate": rate}})),
    ];
    report.case("basic_egress", of_egress(&folder, "basic_egress", policies));
    for name in ["basic.gateway", "gateway_basic", "http-route.gateway"] {
        report.skip(name, "MeshGateway");
    }
    report.finish();
}

/// All three kinds of faults.
fn faults(status: u16, [abort, delay, bandwidth]: [Value; 3], seconds: u32, limit: &str) -> Value {
    json!({
        "abort": {"httpStatus": status, "percentage": abort},
        "delay": {"value": format!("{seconds}s"), "percentage": delay},
        "responseBandwidth": {"limit": limit, "percentage": bandwidth},
    })
}

#[test]
fn mesh_fault_injection() {
    const FOLDER: &str = "policy-plugins/meshfaultinjection/plugin-v1alpha1";
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let one = faults(444, [json!("12"), json!("55"), json!("62.9")], 55, "111Mbps");
    let from = |target: Value, fault: &Value| json!({"targetRef": target, "default": {"http": [fault]}});
    let everybody = json!({"kind": "Mesh"});
    let client = json!({"kind": "MeshService", "name": "demo-client"});
    let other = faults(111, [json!(11), json!(22), json!("33.3")], 22, "333Mbps");
    let entries = json!([from(everybody.clone(), &other), from(client, &one)]);
    let of_http =
        policy(Kind::MeshFaultInjection, "default", "a", json!({"targetRef": inbound("17777"), "from": entries}));
    let entries = json!([from(everybody.clone(), &one)]);
    let of_tcp =
        policy(Kind::MeshFaultInjection, "default", "b", json!({"targetRef": inbound("17778"), "from": entries}));
    let zone = sidecar([of_http, of_tcp]);
    let reason = "Envoy refuses a listener that aborts with a status below 200";
    on_purpose(
        &mut report,
        "basic_listener_1",
        ".abort",
        reason,
        of_inbound(&folder, "basic_listener_1", &zone, 17777),
    );
    report.case("basic_listener_2", of_inbound(&folder, "basic_listener_2", &zone, 17778));

    let matches = json!([{"spiffeID": {"type": "Prefix", "value": "spiffe://trust-domain.mesh/"}}]);
    let (abort, mut rest) = (json!({"abort": one["abort"]}), one.clone());
    rest.as_object_mut().expect("an object").remove("abort");
    let rules = json!([{"matches": matches, "default": {"http": [abort, rest]}}]);
    let zone = sidecar([policy(Kind::MeshFaultInjection, "default", "mfi-1", json!({"rules": rules}))]);
    let found = of_inbound(&folder, "basic_listener_1_rules", &zone, 17777);
    let reason = "of the URIs in a certificate one has to be the SPIFFE ID, not all of them as one text";
    on_purpose(&mut report, "basic_listener_1_rules", ".valueMatch.", reason, found);
    report.case("basic_listener_2_rules", of_inbound(&folder, "basic_listener_2_rules", &zone, 17778));

    let of = |mesh: &str, service: &str, from: Value| {
        let spec = json!({"targetRef": {"kind": "MeshService", "name": service}, "from": [from]});
        policy(Kind::MeshFaultInjection, mesh, service, spec)
    };
    let policies = vec![
        of("mesh-1", "external-service-1", from(json!({"kind": "MeshService", "name": "frontend"}), &one)),
        of("mesh-2", "external-service-1", from(everybody.clone(), &one)),
        of("mesh-2", "external-service-2", from(everybody, &one)),
    ];
    report.case("egress_basic_listener", of_egress(&folder, "egress_basic_listener", policies));
    report.skip("gateway_basic_listener", "MeshGateway");
    report.finish();
}
