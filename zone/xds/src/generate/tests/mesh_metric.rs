//! What proxies tell of their metrics, as MeshMetrics say.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource};

use super::{CLUSTER, LISTENER, key};
use crate::Generated;
use crate::metadata::ProxyMetadata;
use crate::testing::{Zone, json, metadata, names, stored};

const SETTINGS: &str = "_kuma:dynamicconfig";
const ENDPOINT: &str = "_kuma:metrics:prometheus:default-backend";

fn policy(name: &str, conf: &Value) -> Resource {
    stored(Kind::MeshMetric, "default", name, &json!({"spec": {"default": conf}}))
}

fn proxy() -> Resource {
    let tags = json!({"kuma.io/service": "web", "team": "a"});
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    let networking = json!({"address": "10.0.0.1", "inbound": [{"port": 80, "tags": tags}]});
    let mut dataplane = json!({"networking": networking});
    dataplane["networking"]["transparentProxying"] = redirection;
    stored(Kind::Dataplane, "default", "web", &dataplane)
}

fn mesh(members: &Value) -> Resource {
    stored(Kind::Mesh, "", "default", members)
}

fn prometheus(conf: Value) -> Value {
    json!({"backends": [{"type": "Prometheus", "prometheus": conf}]})
}

/// The routes by which kuma-dp asks for its settings, with the longest answer.
fn settings(generated: &Generated) -> (Value, Vec<(String, u64)>) {
    let listener = json(generated, LISTENER, SETTINGS);
    let table = &listener["filterChains"][0]["filters"][0]["typedConfig"]["routeConfig"];
    let routes = table["virtualHosts"][0]["routes"].as_array().into_iter().flatten();
    let route = |route: &Value| {
        let path = route["match"]["path"].as_str().unwrap_or_default().to_owned();
        (path, route["directResponse"]["status"].as_u64().unwrap_or_default())
    };
    (table["maxDirectResponseBodySizeBytes"].clone(), routes.map(route).collect())
}

fn body(generated: &Generated, index: usize) -> Value {
    let listener = json(generated, LISTENER, SETTINGS);
    let table = &listener["filterChains"][0]["filters"][0]["typedConfig"]["routeConfig"];
    let route = &table["virtualHosts"][0]["routes"][index];
    let body = route["directResponse"]["body"]["inlineString"].as_str().unwrap_or_default();
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn names_and_metrics_are_told_on_one_listener() {
    let conf = prometheus(json!({}));
    let mut zone = Zone::new("east", [mesh(&json!({})), proxy(), policy("p", &conf)]);
    let with_names = ProxyMetadata { dns_port: 15053, ..metadata() };
    let generate = |zone: &Zone, metadata: &ProxyMetadata, previous: Option<&Generated>| {
        zone.generate_with(&key("web"), metadata, &Default::default(), previous).unwrap()
    };
    let both = generate(&zone, &with_names, None);
    let expected = [("/dns", 304), ("/dns", 200), ("/meshmetric", 304), ("/meshmetric", 200)];
    let (longest, routes) = settings(&both);
    assert_eq!(routes, expected.map(|(path, status)| (path.to_owned(), status)));
    let text = |index| serde_json::to_string(&body(&both, index)).expect("JSON").len();
    assert_eq!(longest, json!(text(1).max(text(3))));
    let labels = json!({
        "dataplane": "web", "kuma_io_service": "web", "kuma_io_services": ",web,", "mesh": "default", "service": "web",
        "team": "a", "teams": ",a,",
    });
    assert_eq!(body(&both, 3)["observability"]["metrics"]["extraLabels"], labels);

    let metrics = generate(&zone, &metadata(), Some(&both));
    assert_eq!(settings(&metrics).1, [("/meshmetric".to_owned(), 304), ("/meshmetric".to_owned(), 200)]);

    // A policy without a backend publishes nothing.
    let touched = zone.put(policy("p", &json!({"applications": [{"port": 80}]})));
    assert!(touched.concerns(&key("web"), &both.services));
    let names_alone = generate(&zone, &with_names, Some(&both));
    assert_eq!(settings(&names_alone).1, [("/dns".to_owned(), 304), ("/dns".to_owned(), 200)]);
    let nothing = generate(&zone, &metadata(), Some(&both));
    assert!(!names(&nothing, LISTENER).contains(&SETTINGS));
}

#[test]
fn a_policy_replaces_what_the_mesh_says() {
    let backend = json!({"name": "old", "type": "prometheus", "conf": {"port": 1234, "path": "/old"}});
    let mesh = mesh(&json!({"metrics": {"enabledBackend": "old", "backends": [backend]}}));
    let mut zone = Zone::new("east", [mesh, proxy()]);
    let of_metrics = |generated: &Generated| {
        let all = [names(generated, CLUSTER), names(generated, LISTENER)].concat();
        all.into_iter().filter(|name| name.contains("metrics")).map(str::to_owned).collect::<Vec<_>>()
    };
    let old = zone.generate(&key("web"), None).unwrap();
    assert_eq!(of_metrics(&old), ["kuma:metrics:hijacker", "kuma:metrics:prometheus"]);
    zone.put(policy("p", &json!({"sidecar": {"includeUnused": true}})));
    let same = zone.generate(&key("web"), Some(&old)).unwrap();
    assert_eq!(of_metrics(&same), of_metrics(&old), "without backends it says nothing");
    zone.put(policy("q", &prometheus(json!({"port": 1234}))));
    let new = zone.generate(&key("web"), Some(&same)).unwrap();
    assert_eq!(of_metrics(&new), ["_kuma:metrics:hijacker", ENDPOINT]);
    assert_eq!(new.warnings, []);
    assert_eq!(body(&new, 1)["observability"]["metrics"]["sidecar"], json!({"includeUnused": true}));
}

#[test]
fn what_is_without_effect_is_told_of_the_policy_and_the_rest_is_served() {
    let file = json!({"clientId": "a", "tls": {"mode": "ProvidedTLS"}});
    let mutual = json!({"clientId": "b", "port": 5671, "tls": {"mode": "ActiveMTLSBackend"}});
    let otel = |endpoint: &str| json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": endpoint}});
    let endpoint = |conf: Value| json!({"type": "Prometheus", "prometheus": conf});
    let backends = json!([endpoint(file), endpoint(mutual), otel("otel:4317/v1"), otel("otel")]);
    let taken = json!({"clientId": "c", "port": 80});
    let conf = json!({"backends": [backends[0], backends[1], backends[2], backends[3], endpoint(taken)]});
    let zone = Zone::new("east", [mesh(&json!({})), proxy(), policy("p", &conf)]);
    let web = zone.generate(&key("web"), None).unwrap();
    let listeners = names(&web, LISTENER);
    let of_policy: Vec<_> = listeners.into_iter().filter(|name| name.starts_with("_kuma:metrics")).collect();
    let expected = ["_kuma:metrics:opentelemetry:otel", "_kuma:metrics:prometheus:a", "_kuma:metrics:prometheus:b"];
    assert_eq!(of_policy, expected);
    let backends = &body(&web, 1)["observability"]["metrics"]["backends"];
    let names: Vec<_> = backends.as_array().into_iter().flatten().map(|backend| backend["name"].clone()).collect();
    assert_eq!(names, [Value::Null, json!("otel")]);
    let (of_policy, others): (Vec<_>, Vec<_>) = web.warnings.iter().partition(|warning| warning.resource.is_some());
    let reasons: Vec<_> = of_policy.iter().map(|warning| warning.reason.as_str()).collect();
    let expected = [
        "metrics of the backend \"a\" are served in plain text: its tls.mode is ProvidedTLS, and kuma-dp was started without \
         --metrics-cert-path and --metrics-key-path",
        "metrics of the backend \"b\" are served in plain text: its tls.mode is ActiveMTLSBackend, which has no effect in this \
         policy",
        "metrics are not sent to \"otel:4317/v1\": write a host, or a host and a port as in otel:4317",
    ];
    assert_eq!(reasons, expected);
    assert!(of_policy.iter().all(|warning| warning.resource.as_ref().is_some_and(|key| key.name == "p")));
    assert!(others.len() == 1 && others[0].reason.contains("_kuma:metrics:prometheus:c"), "{others:?}");
}
