//! Outbounds with MeshHTTPRoutes: the cases of upstream's policy that are about sidecars.

use serde_json::{Value, json};

use super::routes::{Case, compared, dataplane};
use super::{Report, report};

fn to_service(service: &str) -> Value {
    json!([{"address": "127.0.0.1", "port": 10001, "tags": {"kuma.io/service": service}}])
}

fn to_port(kind: &str, name: &str, address: &str, outside: u32, port: u32) -> Value {
    let reference = json!({"kind": kind, "name": name, "port": port});
    json!([{"address": address, "port": outside, "backendRef": reference}])
}

/// A proxy of a service.
pub(super) fn proxy(name: &str, address: (&str, u32), service: &str, protocol: &str, tags: Value) -> Value {
    let mut all = json!({"kuma.io/service": service, "kuma.io/protocol": protocol});
    for (tag, value) in tags.as_object().into_iter().flatten() {
        all[tag] = value.clone();
    }
    dataplane(name, address.0, address.1, all, &json!([]))
}

/// A MeshHTTPRoute of requests to a destination.
pub(super) fn route(destination: Value, rules: Value) -> Value {
    let to = json!([{"targetRef": destination, "rules": rules}]);
    json!({"type": "MeshHTTPRoute", "mesh": "default", "name": "test-origin", "spec": {"to": to}})
}

pub(super) fn service(name: &str) -> Value {
    json!({"kind": "MeshService", "name": name})
}

fn prefix(value: &str) -> Value {
    json!({"path": {"type": "PathPrefix", "value": value}})
}

/// A rule that hands all requests with one of these conditions to a destination.
fn forward(matches: Value, mut backend: Value) -> Value {
    backend["weight"] = json!(100);
    json!({"matches": matches, "default": {"backendRefs": [backend]}})
}

/// A service whose proxies are in two regions.
fn regions(protocol: &str) -> Vec<Value> {
    let eu = proxy("backend-eu", ("192.168.0.4", 8084), "backend", protocol, json!({"region": "eu"}));
    let us = proxy("backend-us", ("192.168.0.5", 8084), "backend", protocol, json!({"region": "us"}));
    vec![eu, us]
}

fn by_tags(name: &'static str, mut resources: Vec<Value>, rules: Value) -> Case {
    resources.push(route(service("backend"), rules));
    Case { name, outbounds: to_service("backend"), resources, ..Case::default() }
}

/// A case with one proxy of the service, and one filter.
fn with_filter(name: &'static str, kind: &str, member: &str, conf: Value) -> Case {
    let mut filter = json!({"type": kind});
    filter[member] = conf;
    let one = proxy("backend", ("192.168.0.4", 8084), "backend", "http", json!({"region": "us"}));
    let rule = json!({"matches": [prefix("/v1")], "default": {"filters": [filter]}});
    by_tags(name, vec![one], json!([rule]))
}

pub(super) fn mesh_service(name: &str, labels: Value, app: &str, address: &str) -> Value {
    json!({
        "type": "MeshService",
        "mesh": "default",
        "name": name,
        "labels": labels,
        "spec": {
            "selector": {"dataplaneTags": {"app": app}},
            "ports": [{"name": "test-port", "port": 80, "targetPort": 8084, "appProtocol": "http"}],
            "identities": [{"type": "ServiceTag", "value": name}],
        },
        "status": {"vips": [{"ip": address}]},
    })
}

pub(super) fn mesh_external_service(name: &str, protocol: &str, address: &str) -> Value {
    let spec = json!({
        "match": {"type": "HostnameGenerator", "port": 9090, "protocol": protocol},
        "endpoints": [{"address": "example.com", "port": 10000}],
    });
    json!({"type": "MeshExternalService", "mesh": "default", "name": name, "spec": spec, "status": {"vip": {"ip": address}}})
}

pub(super) fn zone_egress() -> Value {
    json!({"type": "ZoneEgress", "name": "egress", "networking": {"address": "127.0.0.1", "port": 10002}})
}

fn services_by_tags() -> Vec<Case> {
    let backend = || service("backend");
    let in_us = || json!({"kind": "MeshServiceSubset", "name": "backend", "tags": {"region": "us"}});
    let query = json!({"queryParams": [{"type": "Exact", "name": "v1", "value": "true"}]});
    let one = |protocol| proxy("backend", ("192.168.0.4", 8084), "backend", protocol, json!({"region": "us"}));
    let payments = json!({"region": "us", "version": "v1", "env": "dev"});
    let copied = json!({"kind": "MeshServiceSubset", "name": "payments", "tags": payments});
    let copies = json!([
        {"type": "RequestMirror", "requestMirror": {"percentage": "99.9", "backendRef": copied}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": backend()}},
    ]);
    let headers = json!({"headers": [
        {"type": "Exact", "name": "foo-exact", "value": "bar"},
        {"type": "Present", "name": "foo-present"},
        {"type": "RegularExpression", "name": "foo-regex", "value": "x.*y"},
        {"type": "Absent", "name": "foo-absent"},
        {"type": "Prefix", "name": "foo-prefix", "value": "x"},
    ]});
    let exact = json!({"path": {"type": "Exact", "value": "/v1/specific"}});
    let mut mixed = regions("http");
    mixed.push(proxy("other", ("192.168.0.10", 8084), "other-tcp", "tcp", json!({"region": "eu"})));
    vec![
        by_tags(
            "basic",
            regions("http"),
            json!([
                forward(json!([prefix("/v1")]), backend()),
                forward(json!([prefix("/v2"), prefix("/v3")]), in_us()),
                forward(json!([query]), backend()),
            ]),
        ),
        by_tags(
            "match-priority",
            regions("http"),
            json!([forward(json!([prefix("/v1")]), backend()), forward(json!([exact, {"method": "GET"}]), backend()),]),
        ),
        by_tags("mixed-tcp-and-http-outbounds", mixed, json!([forward(json!([prefix("/")]), backend())])),
        with_filter(
            "request-header-modifiers",
            "RequestHeaderModifier",
            "requestHeaderModifier",
            json!({
                "add": [{"name": "request-add-header", "value": "add-value"}],
                "set": [
                    {"name": "request-set-header", "value": "set-value"},
                    {"name": "request-set-header-multiple", "value": "one-value,second-value"},
                ],
                "remove": ["request-header-to-remove"],
            }),
        ),
        with_filter(
            "response-header-modifiers",
            "ResponseHeaderModifier",
            "responseHeaderModifier",
            json!({
                "add": [{"name": "response-add-header", "value": "add-value"}],
                "set": [{"name": "response-set-header", "value": "set-value"}],
                "remove": ["response-header-to-remove"],
            }),
        ),
        with_filter(
            "url-rewrite",
            "URLRewrite",
            "urlRewrite",
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}),
        ),
        by_tags("headers-match", vec![one("http")], json!([{"matches": [headers], "default": {}}])),
        by_tags("grpc-service", vec![one("grpc")], json!([forward(json!([prefix("/v1")]), backend())])),
        by_tags(
            "request-mirror",
            vec![one("http"), proxy("payments", ("192.168.0.6", 8086), "payments", "http", payments)],
            json!([{"matches": [prefix("/v1")], "default": {"filters": copies}}]),
        ),
    ]
}

fn resources() -> Vec<Case> {
    let by_name = || json!({"kind": "MeshService", "name": "backend"});
    let by_labels = |kind: &str, labels: Value| json!({"kind": kind, "labels": labels, "port": 80});
    let in_us = json!({"kind": "MeshServiceSubset", "name": "backend", "tags": {"region": "us"}});
    let of_port = json!({"kind": "MeshService", "name": "backend", "sectionName": "test-port"});
    let outbounds = || to_port("MeshService", "backend", "127.0.0.1", 10001, 80);
    // The service selects another proxy at an address of the service by tags.
    let selected = proxy("selected", ("192.168.0.4", 8084), "selected", "http", json!({"app": "backend"}));
    let mut by_tags_too = regions("http");
    by_tags_too.extend([
        selected,
        mesh_service("backend", json!({}), "backend", "10.0.0.1"),
        route(
            by_name(),
            json!([
                forward(json!([prefix("/v1")]), service("backend")),
                forward(json!([prefix("/v2"), prefix("/v3")]), in_us),
                forward(json!([prefix("/v4")]), of_port),
            ]),
        ),
    ]);
    let versions = vec![
        mesh_service("backend", json!({"app": "backend", "version": "first"}), "backend", "10.0.0.1"),
        mesh_service("backend-second", json!({"app": "backend", "version": "second"}), "backend-second", "10.0.0.2"),
        route(
            by_name(),
            json!(["first", "second"].map(|version| {
                let path = if version == "first" { "/version1" } else { "/version2" };
                let labels = json!({"app": "backend", "version": version});
                forward(json!([prefix(path)]), by_labels("MeshService", labels))
            })),
        ),
    ];
    let multi_zone = || {
        let matched = json!({"name": "backend", "namespace": "", "zone": "", "mesh": "default"});
        let multi_zone = json!({
            "type": "MeshMultiZoneService",
            "mesh": "default",
            "name": "backend",
            "labels": {"app": "backend"},
            "spec": {
                "selector": {"meshService": {"matchLabels": {"app": "backend"}}},
                "ports": [{"name": "test-port", "port": 80, "appProtocol": "http"}],
            },
            "status": {"vips": [{"ip": "11.0.0.2"}], "meshServices": [matched]},
        });
        let app = || json!({"app": "backend"});
        let rules = json!([
            forward(json!([prefix("/ms")]), by_labels("MeshService", app())),
            forward(json!([prefix("/mzms")]), by_labels("MeshMultiZoneService", app())),
        ]);
        vec![mesh_service("backend", app(), "backend", "10.0.0.1"), multi_zone, route(by_name(), rules)]
    };
    let outside = json!({"kind": "MeshExternalService", "name": "example"});
    let to_outside = route(outside.clone(), json!([forward(json!([prefix("/v1")]), outside)]));
    vec![
        Case { name: "basic-real-meshservice", outbounds: outbounds(), resources: by_tags_too, ..Case::default() },
        Case {
            name: "basic-real-meshservice-labels",
            mtls: true,
            outbounds: outbounds(),
            resources: versions,
            ..Case::default()
        },
        Case {
            name: "basic-real-meshservice-and-mzms-labels",
            mtls: true,
            outbounds: outbounds(),
            resources: multi_zone(),
            ..Case::default()
        },
        Case {
            name: "basic-real-meshservice-and-mzms-labels-unified-naming",
            unified: true,
            mtls: true,
            outbounds: outbounds(),
            resources: multi_zone(),
            ..Case::default()
        },
        Case {
            name: "httproute-meshexternalservice",
            mtls: true,
            outbounds: to_port("MeshExternalService", "example", "10.20.20.1", 9090, 9090),
            resources: vec![mesh_external_service("example", "http", "10.20.20.1"), zone_egress(), to_outside],
            ..Case::default()
        },
        Case {
            name: "meshexternalservice-with-tls-and-custom-settings-unified-naming",
            unified: true,
            mtls: true,
            outbounds: to_port("MeshExternalService", "example", "10.20.20.1", 9090, 9090),
            resources: vec![mesh_external_service("example", "http", "10.20.20.1"), zone_egress()],
            ..Case::default()
        },
    ]
}

#[test]
fn routes_of_requests() {
    const FOLDER: &str = "policy-plugins/meshhttproute/plugin-v1alpha1";
    let Some(folder) = report::folder(FOLDER) else { return };
    let mut report = Report::new(format!("{FOLDER}, with routes"));
    for case in services_by_tags().into_iter().chain(resources()) {
        let found = compared(&case, &folder);
        match case.name {
            // `backendRefs` ask for the port by its number there.
            "basic-real-meshservice-and-mzms-labels-unified-naming" => {
                let of_names =
                    |difference: &String| difference.contains("backend_80") || difference.contains("___backend_");
                assert!(found.iter().all(of_names), "{found:#?}");
                let reason = "a port that has a name is known by it, also where a backendRef asks for its number";
                report.different(case.name, reason, found);
            }
            name => report.case(name, found),
        }
    }
    let reason = "the schema takes no other scheme than http and https";
    report.not_applicable("request-redirect", reason, vec![reason.to_owned()]);
    report.finish();
}
