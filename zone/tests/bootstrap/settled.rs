//! What kuma-dp is told beside the configuration of Envoy, and where the control plane is.
//!
//! Source of the cases: Kuma `pkg/xds/bootstrap/generator_test.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Question, dataplane, decoded, sidecar};

const SIDECAR: &str = "kumaSidecarConfiguration";

/// A mesh `metrics` whose metrics gather from these applications.
fn mesh(aggregate: &Value) -> Value {
    let backends = json!([{"name": "prometheus-1", "type": "prometheus", "conf": {"aggregate": aggregate}}]);
    json!({"type": "Mesh", "name": "metrics", "metrics": {"enabledBackend": "prometheus-1", "backends": backends}})
}

/// A question for the Dataplane `dp` of that mesh.
fn question(aggregate: &Value, dataplane: Value) -> Question {
    Question::new([mesh(aggregate), dataplane], &json!({"mesh": "metrics", "name": "dp", "workdir": "/tmp"})).for_json()
}

/// What kuma-dp is told to gather, by name.
async fn aggregates(aggregate: &Value, dataplane: Value) -> Vec<Value> {
    let answer = question(aggregate, dataplane).ask().await.json();
    let mut aggregates = answer[SIDECAR]["metrics"]["aggregate"].as_array().cloned().expect("a list");
    aggregates.sort_by_key(|entry| entry["name"].to_string());
    aggregates
}

#[tokio::test]
async fn applications_of_the_dataplane_are_added_to_those_of_the_mesh() {
    let of_mesh = json!([
        {"name": "opa", "port": 123, "path": "/mesh/config"},
        {"name": "dp-disabled", "port": 999, "path": "/stats/default"},
    ]);
    let mut own = dataplane("metrics", "dp", &sidecar(0));
    let aggregate =
        json!([{"name": "dp-disabled", "enabled": false}, {"name": "app", "port": 12, "path": "/dp/override"}]);
    own["metrics"] = json!({"type": "prometheus", "conf": {"aggregate": aggregate}});
    let expected = [
        json!({"name": "app", "address": "8.8.8.8", "port": 12, "path": "/dp/override"}),
        json!({"name": "opa", "address": "8.8.8.8", "port": 123, "path": "/mesh/config"}),
    ];
    assert_eq!(aggregates(&of_mesh, own).await, expected);
}

#[tokio::test]
async fn applications_of_the_mesh_count_where_the_dataplane_names_none() {
    let of_mesh =
        json!([{"name": "opa", "port": 123, "path": "/mesh/opa"}, {"name": "app", "port": 999, "path": "/mesh/app"}]);
    let expected = [
        json!({"name": "app", "address": "8.8.8.8", "port": 999, "path": "/mesh/app"}),
        json!({"name": "opa", "address": "8.8.8.8", "port": 123, "path": "/mesh/opa"}),
    ];
    assert_eq!(aggregates(&of_mesh, dataplane("metrics", "dp", &sidecar(0))).await, expected);
    assert_eq!(aggregates(&json!([]), dataplane("metrics", "dp", &sidecar(0))).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_template_for_name_servers_is_handed_out_as_it_is() {
    let template = b"{\n  . {\n    errors # \xff is no text\n  }\n}\n".to_vec();
    let mut question = question(&json!([]), dataplane("metrics", "dp", &sidecar(0)));
    question.settings.corefile_template = Some(template.clone());
    let answer = question.ask().await.json();
    let networking = &answer[SIDECAR]["networking"];
    let handed_out = networking["corefileTemplate"].as_str().expect("text");
    assert_eq!(BASE64.decode(handed_out).expect("base64"), template);
    assert_eq!(networking["address"], "8.8.8.8");
}

#[tokio::test]
async fn only_the_exact_type_is_answered_with_json() {
    for accept in [Some("application/json, text/plain"), Some("*/*"), None] {
        let question = Question { accept, ..question(&json!([]), dataplane("metrics", "dp", &sidecar(0))) };
        assert_eq!(question.ask().await.yaml()["node"]["id"], "metrics.dp");
    }
}

/// The way to the control plane at a host that proxies are told of, and the names of its certificate that they take.
async fn way_to(host: &str, request: Value) -> (Value, Value) {
    let mut body = json!({"mesh": "metrics", "name": "dp", "workdir": "/tmp"});
    crate::support::merge(&mut body, request);
    let stored = [mesh(&json!([])), dataplane("metrics", "dp", &sidecar(0))];
    let mut question = Question::new(stored, &body).for_json();
    question.settings.xds_host = host.to_owned();
    question.settings.reloadable_tokens = true;
    let bootstrap = decoded(&question.ask().await.json()["bootstrap"]);
    let clusters = bootstrap["staticResources"]["clusters"].as_array().cloned().expect("a list");
    let cluster = clusters.into_iter().find(|cluster| cluster["name"] == "ads_cluster").unwrap_or_default();
    (cluster, bootstrap["dynamicResources"]["adsConfig"]["grpcServices"][0].clone())
}

#[tokio::test]
async fn addresses_and_localhost_may_be_of_any_family() {
    let family = async |host| way_to(host, json!({})).await.0["dnsLookupFamily"].clone();
    // Neither an address nor this name is looked up.
    for host in ["localhost", "127.0.0.1", "::1"] {
        assert_eq!(family(host).await, Value::Null, "{host}");
    }
}

#[tokio::test]
async fn envoy_reads_a_token_where_there_is_a_file_of_it() {
    let both = json!({"dataplaneToken": "secret", "dataplaneTokenPath": "/token"});
    let (cluster, service) = way_to("::1", both).await;
    assert_eq!((cluster, service.get("initialMetadata")), (Value::Null, None));
    assert_eq!(service["googleGrpc"]["targetUri"], "[::1]:5678");
    let (cluster, service) = way_to("::1", json!({"dataplaneToken": "secret"})).await;
    assert_eq!(cluster["type"], "STATIC");
    assert_eq!(service["initialMetadata"], json!([{"key": "authorization", "value": "secret"}]));
}
