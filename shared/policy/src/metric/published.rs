//! What kuma-dp is told about metrics: what to gather, where to send it, and which labels to add.
//!
//! The form is a contract with kuma-dp, which asks for the document under [`PATH`] on its listener for settings. Source: Kuma
//! `pkg/plugins/policies/meshmetric/dpapi/api.go`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::schema::{BackendType, Conf, Sidecar};
use crate::schema::GoDuration;

/// Path of the document.
pub const PATH: &str = "/meshmetric";

/// Time between two deliveries, unless the policy says otherwise.
const REFRESH_INTERVAL: GoDuration = GoDuration::from_secs(60);

#[derive(Serialize)]
struct Document<'a> {
    observability: Observability<'a>,
}

#[derive(Serialize)]
struct Observability<'a> {
    metrics: Metrics<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics<'a> {
    /// Null when there are none.
    applications: Option<Vec<Application<'a>>>,
    /// Null when there are none.
    backends: Option<Vec<Backend>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sidecar: Option<&'a Sidecar>,
    extra_labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Application<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    path: &'a str,
    port: u32,
    /// Empty for the address of the proxy.
    address: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Backend {
    #[serde(rename = "type")]
    kind: BackendType,
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_telemetry: Option<Delivery>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    /// Path of the socket at which the proxy takes metrics for the collector.
    endpoint: String,
    refresh_interval: GoDuration,
}

/// The document. `labels` are added to all metrics; `socket` is the path of the socket for a collector, which has the given name.
pub fn document(conf: &Conf, labels: &BTreeMap<String, String>, socket: impl Fn(&str) -> String) -> String {
    let mut backends = Vec::new();
    if conf.prometheus().next().is_some() {
        // One server of kuma-dp answers all of them.
        backends.push(Backend { kind: BackendType::Prometheus, name: None, open_telemetry: None });
    }
    for collector in conf.collectors().filter(|collector| collector.target().is_some()) {
        let name = collector.name();
        let delivery = Delivery {
            endpoint: socket(&name),
            refresh_interval: collector.refresh_interval.unwrap_or(REFRESH_INTERVAL),
        };
        backends.push(Backend { kind: BackendType::OpenTelemetry, name: Some(name), open_telemetry: Some(delivery) });
    }
    let applications = conf.applications.iter().flatten().map(|application| Application {
        name: application.name.as_deref(),
        path: &application.path,
        port: application.port,
        address: application.address.as_deref().unwrap_or_default(),
    });
    let applications: Vec<_> = applications.collect();
    let document = Document {
        observability: Observability {
            metrics: Metrics {
                applications: (!applications.is_empty()).then_some(applications),
                backends: (!backends.is_empty()).then_some(backends),
                sidecar: conf.sidecar.as_ref(),
                extra_labels: labels,
            },
        },
    };
    escaped(&serde_json::to_string(&document).expect("strings and numbers have a JSON form"))
}

/// The form in which Go writes JSON: what HTML gives a meaning to, and the line ends of JavaScript, as escapes.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Of these, only strings have any.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn published(conf: Value) -> String {
        let labels = BTreeMap::from([("mesh".to_owned(), "default".to_owned())]);
        let conf = serde_json::from_value(conf).expect("a configuration");
        document(&conf, &labels, |name| format!("/w/kuma-otel-{name}.sock"))
    }

    #[test]
    fn members_are_in_the_order_of_the_contract() {
        let conf = json!({
            "sidecar": {"includeUnused": true, "profiles": {"appendProfiles": [{"name": "All"}]}},
            "applications": [{"name": "app", "port": 80}, {"path": "/m", "address": "10.0.0.1", "port": 81}],
            "backends": [
                {"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel:4317"}},
                {"type": "Prometheus", "prometheus": {"clientId": "a"}},
                {"type": "Prometheus", "prometheus": {"clientId": "b"}},
            ],
        });
        let expected = concat!(
            r#"{"observability":{"metrics":{"applications":[{"name":"app","path":"/metrics","port":80,"address":""},"#,
            r#"{"path":"/m","port":81,"address":"10.0.0.1"}],"backends":[{"type":"Prometheus","name":null},"#,
            r#"{"type":"OpenTelemetry","name":"otel-4317","openTelemetry":{"endpoint":"/w/kuma-otel-otel-4317.sock","#,
            r#""refreshInterval":"1m0s"}}],"sidecar":{"profiles":{"appendProfiles":[{"name":"All"}]},"#,
            r#""includeUnused":true},"extraLabels":{"mesh":"default"}}}}"#,
        );
        assert_eq!(published(conf), expected);
    }

    #[test]
    fn what_html_gives_a_meaning_to_is_escaped() {
        let conf = json!({"sidecar": {"profiles": {"include": [{"type": "Regex", "match": "a<b>&\u{2028}\"c"}]}}});
        let written = published(conf);
        assert!(written.contains(r#""match":"a\u003cb\u003e\u0026\u2028\"c""#), "{written}");
        assert!(written.contains(r#""applications":null,"backends":null,"#), "{written}");
    }
}
