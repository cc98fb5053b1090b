//! Answers compared with those of a recorded run of Kuma 2.13.10, whose questions real kuma-dps asked.
//!
//! Reads `bootstrap-{dataplane,ingress,egress}.json` in the folder `recordings` beside `$CONFORMANCE_DIR`; skipped without it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Question, decoded, differences, trust_anchor};

/// What was asked and answered, if there is a recording.
fn recording(proxy_type: &str) -> Option<Value> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    let path = Path::new(&root).with_file_name("recordings").join(format!("bootstrap-{proxy_type}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).expect("JSON"))
}

async fn is_answered_as_recorded(proxy_type: &str) {
    let Some(recording) = recording(proxy_type) else { return };
    let expected = decoded(&recording["response"]["bootstrap"]);
    let mut body = recording["request"]["body"].clone();
    // In the recording the folder is another one in the question than in the answer.
    body["workdir"] = expected["node"]["metadata"]["workdir"].clone();
    let mesh = json!({"type": "Mesh", "name": "default"});
    let mut question = Question { certificate: trust_anchor(&expected), ..Question::new([mesh], &body) }.for_json();
    // The run was recorded through a proxy in front of the control plane, whose settings named the address behind it.
    question.settings.xds_host = "127.0.0.1".to_owned();
    question.settings.xds_port = 15678;
    let actual = question.ask().await.json();
    let mut found = Vec::new();
    differences("bootstrap", &expected, &decoded(&actual["bootstrap"]), &mut found);
    let sidecar = "kumaSidecarConfiguration";
    differences(sidecar, &recording["response"][sidecar], &actual[sidecar], &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn a_sidecar_is_answered_as_recorded() {
    is_answered_as_recorded("dataplane").await;
}

#[tokio::test]
async fn a_zone_ingress_is_answered_as_recorded() {
    is_answered_as_recorded("ingress").await;
}

#[tokio::test]
async fn a_zone_egress_is_answered_as_recorded() {
    is_answered_as_recorded("egress").await;
}
