//! Outbounds with MeshTCPRoutes: the cases of upstream's policy that are about sidecars.

use serde_json::{Value, json};

use super::http_routes::{mesh_external_service, mesh_service, proxy, route, service, zone_egress};
use super::routes::{Case, compared};
use super::{Report, report};

/// Outbounds to services, at one port after the other.
fn to_services(services: &[&str]) -> Value {
    let outbound = |(port, service)| json!({"port": port, "tags": {"kuma.io/service": service}});
    json!((10001..).zip(services).map(outbound).collect::<Vec<_>>())
}

/// A MeshTCPRoute of connections to a destination.
fn split(destination: Value, backends: Value) -> Value {
    let to = json!([{"targetRef": destination, "rules": [{"default": {"backendRefs": backends}}]}]);
    json!({"type": "MeshTCPRoute", "mesh": "default", "name": "test-origin", "spec": {"to": to}})
}

fn weighted(mut backend: Value, weight: u32) -> Value {
    backend["weight"] = json!(weight);
    backend
}

fn in_region(region: &str) -> Value {
    json!({"kind": "MeshServiceSubset", "name": "backend", "tags": {"region": region}})
}

/// A service whose proxies are in two regions.
fn regions(protocols: [&str; 2]) -> Vec<Value> {
    let one = |index: usize, region: &str| {
        let address = format!("192.168.0.{}", 4 + index);
        let port = if index == 0 { 8004 } else { 8005 };
        let protocol = protocols[index];
        proxy(&format!("backend-{region}"), (&address, port), "backend", protocol, json!({"region": region}))
    };
    vec![one(0, "eu"), one(1, "us")]
}

fn clash(name: &'static str, protocol: &str) -> Case {
    let http = json!([{
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "default": {"backendRefs": [weighted(service("http-backend"), 1)]},
    }]);
    Case {
        name,
        outbounds: to_services(&["backend", "tcp-backend", "http-backend"]),
        resources: vec![
            proxy("backend", ("192.168.0.4", 8004), "backend", protocol, json!({})),
            proxy("tcp-backend", ("192.168.0.5", 8005), "tcp-backend", "tcp", json!({})),
            proxy("http-backend", ("192.168.0.6", 8006), "http-backend", "http", json!({})),
            split(service("backend"), json!([weighted(service("tcp-backend"), 1)])),
            route(service("backend"), http),
        ],
        ..Case::default()
    }
}

fn cases() -> Vec<Case> {
    let outside = json!({
        "type": "ExternalService",
        "mesh": "default",
        "name": "externalservice",
        "networking": {"address": "192.168.0.7:8007"},
        "tags": {"kuma.io/service": "externalservice", "kuma.io/protocol": "http2"},
    });
    let mut in_regions = regions(["tcp", "http"]);
    in_regions.extend([
        proxy("other-backend", ("192.168.0.6", 8006), "other-backend", "http", json!({})),
        outside,
        split(
            service("backend"),
            json!([
                weighted(in_region("eu"), 40),
                weighted(in_region("us"), 15),
                weighted(service("other-backend"), 15),
                weighted(service("externalservice"), 15),
            ]),
        ),
    ]);
    let mut kafka = regions(["kafka", "kafka"]);
    kafka.push(split(service("backend"), json!([weighted(in_region("eu"), 60), weighted(in_region("us"), 40)])));
    let external = |name: &str| json!({"kind": "MeshExternalService", "name": name, "port": 9090});
    let to_external =
        |name: &str, address: &str| json!({"address": address, "port": 9090, "backendRef": external(name)});
    let of_backend = json!({"kind": "MeshService", "name": "backend", "port": 80});
    vec![
        Case { name: "split-traffic", outbounds: to_services(&["backend"]), resources: in_regions, ..Case::default() },
        Case {
            name: "tcproute-meshexternalservice",
            mtls: true,
            outbounds: json!([to_external("example", "10.20.20.1"), to_external("example2", "10.20.20.2")]),
            resources: vec![
                mesh_external_service("example", "tcp", "10.20.20.1"),
                mesh_external_service("example2", "tcp", "10.20.20.2"),
                zone_egress(),
                split(
                    json!({"kind": "MeshExternalService", "name": "example"}),
                    json!([weighted(external("example2"), 100)]),
                ),
            ],
            ..Case::default()
        },
        Case {
            name: "basic-no-policies",
            outbounds: to_services(&["backend"]),
            resources: regions(["tcp", "http"]),
            ..Case::default()
        },
        Case {
            name: "basic-real-meshservice",
            outbounds: json!([{"address": "127.0.0.1", "port": 10001, "backendRef": of_backend}]),
            resources: vec![
                proxy("backend", ("192.168.0.4", 8084), "backend", "http", json!({"app": "backend"})),
                mesh_service("backend", json!({}), "backend", "10.0.0.1"),
                split(service("backend"), json!([weighted(of_backend.clone(), 100)])),
            ],
            ..Case::default()
        },
        Case {
            name: "redirect-traffic",
            outbounds: to_services(&["backend", "tcp-backend"]),
            resources: vec![
                proxy("backend", ("192.168.0.4", 8004), "backend", "http", json!({})),
                proxy("tcp-backend", ("192.168.0.5", 8005), "tcp-backend", "tcp", json!({})),
                split(service("backend"), json!([weighted(service("tcp-backend"), 1)])),
            ],
            ..Case::default()
        },
        clash("meshhttproute-clash-http-destination", "http"),
        clash("meshhttproute-clash-tcp-destination", "tcp"),
        Case { name: "kafka", outbounds: to_services(&["backend"]), resources: kafka, ..Case::default() },
    ]
}

#[test]
fn splits_of_connections() {
    const FOLDER: &str = "policy-plugins/meshtcproute/plugin-v1alpha1";
    let Some(folder) = report::folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    for case in cases() {
        let mut found = compared(&case, &folder);
        if case.name == "tcproute-meshexternalservice" {
            // There the outbounds have one to a service that does not exist, too, which is not what the case is about.
            found.retain(|difference| !difference.contains("\"backend\"") && !difference.contains("127.0.0.1:10001"));
        }
        report.case(case.name, found);
    }
    report.finish();
}
