//! MeshMetric: listeners for Prometheus, ways to collectors, and what kuma-dp is told.

use serde_json::{Value, json};
use tandem_model::Kind;

use super::report::folder;
use super::{Report, Resources, differences, generated, golden, metadata};
use crate::ResourceType;
use crate::metadata::ProxyMetadata;
use crate::testing::{Zone, dataplane, stored};

const FOLDER: &str = "policy-plugins/meshmetric/plugin-v1alpha1";

/// `default` of the policy of a case.
fn conf(case: &str) -> Value {
    let application = json!({"path": "/metrics", "port": 8080});
    let prometheus = json!({"type": "Prometheus", "prometheus": {"path": "/metrics", "port": 5670}});
    let of_client = |client: &str, port: u32| {
        let endpoint = json!({"clientId": client, "path": "/metrics", "port": port});
        json!({"type": "Prometheus", "prometheus": endpoint})
    };
    let collector = |host: &str| json!({"endpoint": format!("{host}.observability.svc:4317")});
    let otel = |collector: Value| json!({"type": "OpenTelemetry", "openTelemetry": collector});
    let usual = |backends: Value| json!({"sidecar": {"includeUnused": false}, "applications": [application], "backends": backends});
    match case {
        "default" => {
            let application = json!({"name": "test-app", "path": "/metrics", "port": 8080});
            json!({"applications": [application], "backends": [prometheus]})
        }
        "basic" => usual(json!([prometheus])),
        "multiple_prometheus" => usual(json!([of_client("first-backend", 5670), of_client("second-backend", 5671)])),
        "openTelemetry" => {
            let mut collector = collector("otel-collector");
            collector["refreshInterval"] = json!("10s");
            json!({"applications": [application], "backends": [otel(collector)]})
        }
        "provided_tls" => {
            let endpoint = json!({"path": "/metrics", "port": 5670, "tls": {"mode": "ProvidedTLS"}});
            json!({"backends": [{"type": "Prometheus", "prometheus": endpoint}]})
        }
        "multiple_otel" => usual(json!([otel(collector("otel-collector")), otel(collector("second-collector"))])),
        _ => usual(json!([prometheus, otel(collector("otel-collector"))])),
    }
}

fn made(case: &str) -> Resources {
    let unified = case == "otel_and_prometheus_unified_naming";
    let mode = if case.starts_with("otel_and_prometheus") { "Exclusive" } else { "Disabled" };
    let metadata = ProxyMetadata {
        workdir: "/tmp".to_owned(),
        metrics_cert_path: if case == "provided_tls" { "/path/cert".to_owned() } else { String::new() },
        metrics_key_path: if case == "provided_tls" { "/path/key".to_owned() } else { String::new() },
        ..metadata(if unified { &["feature-unified-resource-naming"] } else { &[] })
    };
    let mut proxy = dataplane("default", "dp-1").address("192.168.0.1").inbound(80, "backend").resource();
    proxy.labels.insert("kuma.io/workload".to_owned(), "backend".to_owned());
    let mesh = stored(Kind::Mesh, "", "default", &json!({"meshServices": {"mode": mode}}));
    let policy = stored(Kind::MeshMetric, "default", "meshmetric1", &json!({"spec": {"default": conf(case)}}));
    let zone = Zone::new("east", [mesh, proxy.clone(), policy]);
    let made = zone.generate_with(&proxy.key, &metadata, &Default::default(), None).expect("nothing is missing");
    let own = ["_kuma:", "system_meshmetric", "system_dynamicconfig"];
    let of_policy = |name: &str| own.iter().any(|prefix| name.starts_with(prefix));
    let of = |resource_type: ResourceType| made.resources.of(resource_type).iter().map(move |one| (resource_type, one));
    let all = of(ResourceType::Cluster).chain(of(ResourceType::Listener));
    generated(all.filter(|(_, resource)| of_policy(&resource.name)))
}

/// Upstream gives the proxy another name than its Dataplane has.
fn renamed(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("kuma-mh-backend-default.sock", "kuma-mh-dp-1-default.sock"),
        Value::Array(items) => items.iter_mut().for_each(renamed),
        Value::Object(members) => members.values_mut().for_each(renamed),
        _ => {}
    }
}

#[test]
fn mesh_metric() {
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let cases = [
        "default",
        "basic",
        "multiple_prometheus",
        "openTelemetry",
        "provided_tls",
        "otel_and_prometheus",
        "otel_and_prometheus_unified_naming",
        "multiple_otel",
    ];
    for case in cases {
        let read = |what: &str| golden(&folder.join(format!("{case}.{what}.golden.yaml")));
        let mut expected = read("listeners");
        expected.extend(read("clusters"));
        expected.values_mut().for_each(renamed);
        report.case(case, differences(&made(case), &expected));
    }
    report.finish();
}
