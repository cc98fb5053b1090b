//! The files `inspect_dataplane_rules*`: rules of a proxy by attachment. Upstream builds what they are about in code
//! (`pkg/api-server/inspect_endpoints_test.go`); so does this.

use serde_json::{Value, json};

use crate::{case, root};

fn policy(kind: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["targetRef"] = json!({"kind": "MeshService", "name": "web"});
    json!({"type": kind, "mesh": "default", "name": name, "spec": spec})
}

fn permission(name: &str, tags: Value, action: &str) -> Value {
    let client = json!({"kind": "MeshServiceSubset", "name": "client", "tags": tags});
    policy("MeshTrafficPermission", name, json!({"from": [{"targetRef": client, "default": {"action": action}}]}))
}

/// What two of the three have in common.
fn log_and_trace() -> [Value; 2] {
    let file = json!({"backends": [{"type": "File", "file": {"path": "/tmp/access.logs"}}]});
    let url = "http://jaeger-collector.mesh-observability:9411/api/v2/spans";
    let zipkin = json!({"type": "Zipkin", "zipkin": {"url": url, "sharedSpanContext": false}});
    [
        policy("MeshAccessLog", "mal-1", json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": file}]})),
        policy("MeshTrace", "mtp-1", json!({"default": {"backends": [zipkin]}})),
    ]
}

fn dataplane(name: &str, address: &str, outbounds: Value) -> Value {
    let inbound =
        json!({"port": 80, "servicePort": 8080, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}});
    let networking = json!({"address": address, "inbound": [inbound], "outbound": outbounds});
    json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": networking})
}

/// A version of the API of Zipkin is what upstream's set-up leaves out, past the schema that has a default for it.
fn with_default_version(mut expected: Value) -> Value {
    for item in expected["items"].as_array_mut().into_iter().flatten() {
        if let Some(version) = item.pointer_mut("/conf/backends/0/zipkin/apiVersion") {
            *version = "httpJson".into();
        }
    }
    expected
}

async fn compare(file: &str, path: &str, resources: Vec<Value>) {
    let Some(root) = root() else { return };
    let api = case::setup().start().await;
    api.load(json!({"type": "Mesh", "name": "default"})).await;
    for resource in resources {
        api.load(resource).await;
    }
    let expected = std::fs::read_to_string(root.join(file)).expect("a file");
    let expected = with_default_version(serde_json::from_str(&expected).expect("JSON"));
    let answer = api.get(path).await.json();
    assert!(answer == expected, "{file}: answered {answer:#}\nexpected {expected:#}");
}

fn web() -> Value {
    let outbound = json!([{"port": 10001, "tags": {"kuma.io/service": "backend"}}]);
    dataplane("web-01", "192.168.0.2", outbound)
}

#[tokio::test]
async fn without_policies() {
    compare("inspect_dataplane_rules_empty.golden.json", "/meshes/default/dataplanes/web-01/rules", vec![web()]).await;
}

#[tokio::test]
async fn of_every_sort() {
    let mut resources = vec![web(), permission("mtp-1", json!({"kuma.io/zone": "east"}), "Deny")];
    resources.extend(log_and_trace());
    compare("inspect_dataplane_rules.golden.json", "/meshes/default/dataplanes/web-01/rules", resources).await;
}

#[tokio::test]
async fn of_overlapping_clients_and_destinations() {
    let outbound = |address: &str, port: u32, version: Option<&str>| {
        let mut outbound = json!({"address": address, "port": port, "tags": {"kuma.io/service": "backend"}});
        if let Some(version) = version {
            outbound["tags"]["version"] = version.into();
        }
        outbound
    };
    let outbounds = json!([
        outbound("240.0.0.1", 2300, Some("2")),
        outbound("240.0.0.2", 2300, Some("1")),
        outbound("10.3.2.3", 2300, None),
        outbound("240.0.0.0", 80, None),
    ]);
    let mut resources = vec![
        dataplane("dp-1", "127.0.0.1", outbounds),
        permission("mtp-1", json!({"kuma.io/zone": "east", "version": "2"}), "Allow"),
        permission("mtp-2", json!({"kuma.io/zone": "east"}), "Deny"),
    ];
    resources.extend(log_and_trace());
    compare("inspect_dataplane_rules_subset.golden.json", "/meshes/default/dataplanes/dp-1/rules", resources).await;
}
