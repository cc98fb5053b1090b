//! Metrics, tracing and access logs by the backends of a Mesh, and ProxyTemplates.
//!
//! Inputs of ProxyTemplates and profiles are whole proxies, which upstream's tests give to the generators without the policies of a
//! control plane, so the timeouts of inbounds, which come from MeshTimeout even where there is none, are left out on both sides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::access_log::{AccessLog, Connection, TrafficDirection};
use tandem_policy::legacy::Decoded;
use tandem_policy::legacy::traffic_log::access_log;

use super::{Report, Resources, differences, folder, generated, golden, metadata, yaml};
use crate::testing::Zone;
use crate::{AdminTls, Cache, Generated, Identity, MeshIndex, ProxyInput, ProxyMetadata, ResourceType, ZoneSettings};

fn stored(document: Value) -> Resource {
    from_json(document, None, Unknown::Refuse).expect("a valid resource").resource
}

/// The mesh `demo` with these members, and its certificate authority.
fn mesh(members: &Value) -> Vec<Resource> {
    let mut mesh = json!({"type": "Mesh", "name": "demo"});
    for (name, member) in members.as_object().into_iter().flatten() {
        mesh[name] = member.clone();
    }
    let secret = json!({"type": "Secret", "mesh": "demo", "name": "demo.ca-builtin-cert-builtin", "data": "Q0E="});
    vec![stored(mesh), stored(secret)]
}

fn mtls() -> Value {
    json!({"enabledBackend": "builtin", "backends": [{"name": "builtin", "type": "builtin"}]})
}

fn dataplane(name: &str, networking: &Value, metrics: &Value) -> Resource {
    stored(json!({"type": "Dataplane", "mesh": "demo", "name": name, "networking": networking, "metrics": metrics}))
}

/// What is generated for a proxy of the mesh.
fn generate(resources: Vec<Resource>, name: &str, metadata: &ProxyMetadata) -> Generated {
    let settings = ZoneSettings { internal_cidrs: vec!["10.8.0.0/16".to_owned()], ..ZoneSettings::new("zone-1") };
    let mut zone = Zone { index: MeshIndex::new(settings), cache: Cache::default() };
    resources.into_iter().for_each(|resource| drop(zone.put(resource)));
    let identity = Arc::new(Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() });
    let identities = BTreeMap::from([("demo".to_owned(), identity)]);
    let material = AdminTls { ca: b"caPEM".into(), certificate: b"certPEM".into(), private_key: b"keyPEM".into() };
    let input = ProxyInput {
        key: &ResourceKey::new(Kind::Dataplane, "demo", name),
        metadata,
        identities: &identities,
        workload: None,
        admin_tls: Some(&material),
        previous: None,
    };
    crate::generate(&zone.index.snapshot(), &input, &zone.cache).expect("everything is there")
}

/// The same resources without the timeouts of the workload's connections and requests.
fn without_timeouts(mut resources: Resources, names: &[&str]) -> Resources {
    for ((_, name), resource) in &mut resources {
        if name.starts_with("localhost:") || name.starts_with("inbound:192") || name.starts_with("self_inbound") {
            remove(resource, names);
        }
    }
    resources
}

/// Removes members with these names wherever they are, and what is empty without them.
fn remove(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                remove(member, names);
                let is_emptied = name == "commonHttpProtocolOptions" && member == &json!({});
                !names.contains(&name.as_str()) && !is_emptied
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, names)),
        _ => {}
    }
}

/// Timeouts that MeshTimeout sets.
const TIMEOUTS: [&str; 7] = [
    "connectTimeout",
    "idleTimeout",
    "maxConnectionDuration",
    "maxStreamDuration",
    "requestHeadersTimeout",
    "streamIdleTimeout",
    "timeout",
];

fn resources(of: &Generated) -> Resources {
    let all = ResourceType::ALL.into_iter();
    generated(all.flat_map(|resource_type| of.resources.of(resource_type).iter().map(move |one| (resource_type, one))))
}

/// Those whose names begin with a prefix.
fn called(of: &Generated, prefix: &str) -> Resources {
    resources(of).into_iter().filter(|((_, name), _)| name.starts_with(prefix)).collect()
}

#[test]
fn metrics() {
    let Some(folder) = folder("generator/prometheus-endpoint") else { return };
    let mut report = Report::new("xds-generator/generator/prometheus-endpoint");
    let tags = || json!({"kuma.io/service": "dataplane-metrics"});
    let conf = |more: Value| {
        let mut conf = json!({"port": 1234, "path": "/non-standard-path", "tags": tags()});
        for (name, member) in more.as_object().into_iter().flatten() {
            conf[name] = member.clone();
        }
        conf
    };
    let own = json!({"name": "prometheus-1", "type": "prometheus", "conf": {
        "port": 8765, "path": "/even-more-non-standard-path",
    }});
    let filter = json!({"envoy": {"filterRegex": "123.*", "usedOnly": true}});
    let provided = || json!({"tls": {"mode": "providedTLS"}});
    // Name of the expected output, settings of the mesh, mutual TLS, metrics of the Dataplane, certificates on the host.
    let cases = [
        ("default", json!({"skipMTLS": false}), false, Value::Null, false),
        ("default-without-hijacker", json!({"skipMTLS": false}), false, Value::Null, false),
        ("custom", filter, false, own, false),
        ("default-mtls", json!({"skipMTLS": false}), true, Value::Null, false),
        ("default-mtls", json!({}), true, Value::Null, false),
        ("default", json!({"skipMTLS": true}), true, Value::Null, false),
        ("delegated-tls", provided(), true, Value::Null, true),
        ("disabled-tls", json!({"tls": {"mode": "disabled"}}), true, Value::Null, true),
        ("delegated-tls-fallback", provided(), true, Value::Null, false),
    ];
    for (name, more, secured, own, certificates) in cases {
        let backends = json!([{"name": "prometheus-1", "type": "prometheus", "conf": conf(more.clone())}]);
        let mut members = json!({"metrics": {"enabledBackend": "prometheus-1", "backends": backends}});
        if secured {
            members["mtls"] = mtls();
        }
        let path = |name: &str| if certificates { format!("/path/{name}") } else { String::new() };
        let metadata = ProxyMetadata {
            admin_port: 9902,
            readiness_port: 9903,
            workdir: "/tmp".to_owned(),
            metrics_cert_path: path("cert"),
            metrics_key_path: path("key"),
            ipv6_enabled: true,
            ..metadata(&[])
        };
        let mut all = mesh(&members);
        all.push(dataplane("backend-01", &json!({"address": "192.168.0.1"}), &own));
        let actual = called(&generate(all, "backend-01", &metadata), "kuma:metrics:");
        let golden = golden(&folder.join(format!("{name}.envoy-config.golden.yaml")));
        report.case(format!("{name} {more}"), differences(&actual, &golden));
    }
    report.finish();
}

#[test]
fn tracing() {
    let Some(folder) = folder("generator/tracing") else { return };
    let mut report = Report::new("xds-generator/generator/tracing");
    let zipkin = |scheme: &str| json!({"url": format!("{scheme}://zipkin.us:9090/v2/spans")});
    let cases = [
        ("datadog.envoy-config", "datadog", json!({"address": "localhost", "port": 2304})),
        ("zipkin.envoy-config", "zipkin", zipkin("http")),
        ("zipkin.envoy-config-https", "zipkin", zipkin("https")),
    ];
    for (name, kind, conf) in cases {
        let mut all = mesh(&json!({"tracing": {"backends": [{"name": kind, "type": kind, "conf": conf}]}}));
        let selectors = json!([{"match": {"kuma.io/service": "*"}}]);
        let inbound = json!([{"port": 80, "tags": {"kuma.io/service": "backend"}}]);
        all.push(dataplane("backend-01", &json!({"address": "192.168.0.1", "inbound": inbound}), &Value::Null));
        all.push(stored(json!({
            "type": "TrafficTrace", "mesh": "demo", "name": "trace", "selectors": selectors, "conf": {"backend": kind},
        })));
        let actual = called(&generate(all, "backend-01", &metadata(&[])), "tracing:");
        report.case(name, differences(&actual, &golden(&folder.join(format!("{name}.golden.yaml")))));
    }
    report.finish();
}

/// The log of passed through connections in the input of `transparent-proxy/03`.
pub(super) fn pass_through_log() -> AccessLog {
    let backend = json!({"name": "file", "type": "file", "conf": {"path": "/var/log"}});
    let mesh = stored(json!({"type": "Mesh", "name": "default", "logging": {"backends": [backend]}}));
    let any = json!([{"match": {"kuma.io/service": "*"}}]);
    let policy = stored(json!({
        "type": "TrafficLog", "mesh": "default", "name": "log", "sources": any, "destinations": any,
        "conf": {"backend": "file"},
    }));
    let connection = Connection {
        mesh: "default",
        source_service: "unknown",
        source_address: "",
        destination_service: "external",
        direction: TrafficDirection::Unspecified,
    };
    let policy = Decoded::decode(Arc::new(policy)).expect("a TrafficLog");
    access_log(&mesh.proto().expect("a Mesh"), &policy, &connection, "").expect("the backend is there")
}

#[test]
fn templates() {
    let Some(folder) = folder("generator/template-proxy") else { return };
    let mut report = Report::new("xds-generator/generator/template-proxy");
    for number in 1..=2 {
        let mut all = mesh(&json!({"mtls": mtls()}));
        let tags = json!({"kuma.io/service": "backend"});
        let networking = json!({
            "address": "192.168.0.1",
            "inbound": [{"port": 80, "servicePort": 8080, "tags": tags}],
            "transparentProxying": {
                "redirectPortOutbound": 15001, "redirectPortInbound": 15006, "ipFamilyMode": "IPv4",
            },
        });
        all.push(dataplane("backend-01", &networking, &Value::Null));
        let mut template = yaml(&folder.join(format!("{number}-proxy-template.input.yaml")));
        for (name, member) in [("type", "ProxyTemplate"), ("mesh", "demo"), ("name", "template")] {
            template[name] = member.into();
        }
        all.push(stored(template));
        // The second template is about the timeout of clusters.
        let timeouts = if number == 2 { &TIMEOUTS[1..] } else { &TIMEOUTS[..] };
        let actual = without_timeouts(resources(&generate(all, "backend-01", &metadata(&[]))), timeouts);
        let golden = by_own_name(golden(&folder.join(format!("{number}-envoy-config.golden.yaml"))));
        let golden = without_timeouts(golden, timeouts);
        report.case(number.to_string(), differences(&actual, &golden));
    }
    report.finish();
}

/// The same resources under the names by which Envoy knows them: a raw resource may be listed under another one.
fn by_own_name(resources: Resources) -> Resources {
    let named = resources.into_iter().map(|((resource_type, name), resource)| {
        let own = resource["name"].as_str().unwrap_or(&name).to_owned();
        ((resource_type, own), resource)
    });
    named.collect()
}

#[test]
fn profiles() {
    let Some(folder) = folder("generator/profile-source") else { return };
    let mut report = Report::new("xds-generator/generator/profile-source");
    let metrics = |path: &str| {
        let conf = json!({"port": 1234, "path": path, "skipMTLS": false});
        let backends = json!([{"name": "prometheus-1", "type": "prometheus", "conf": conf}]);
        json!({"enabledBackend": "prometheus-1", "backends": backends})
    };
    let redirection = json!({"redirectPortOutbound": 15001, "redirectPortInbound": 15006, "ipFamilyMode": "IPv4"});
    // Number, redirection, metrics, protocol of the inbound, features of the proxy.
    let socket = "feature-readiness-unix-socket";
    let unified = "feature-unified-resource-naming";
    let cases: [(u32, Value, Value, Value, &[&str]); 5] = [
        (1, Value::Null, Value::Null, Value::Null, &[]),
        (2, redirection.clone(), Value::Null, Value::Null, &[]),
        (3, Value::Null, metrics("/non-standard-path"), json!("http"), &[socket]),
        (4, redirection, metrics("/foo/bar"), json!("http"), &[socket]),
        (5, Value::Null, Value::Null, Value::Null, &[socket, unified]),
    ];
    for (number, redirection, metrics, protocol, features) in cases {
        report.case(number.to_string(), profile(&folder, number, redirection, metrics, protocol, features));
    }
    report.finish();
}

fn profile(
    folder: &Path,
    number: u32,
    redirection: Value,
    metrics: Value,
    protocol: Value,
    features: &[&str],
) -> Vec<String> {
    let is_redirected = !redirection.is_null();
    let mode = if number == 5 { "Exclusive" } else { "Disabled" };
    let mut all = mesh(&json!({"mtls": mtls(), "metrics": metrics, "meshServices": {"mode": mode}}));
    let mut tags = json!({"kuma.io/service": "backend"});
    if !protocol.is_null() {
        tags["kuma.io/protocol"] = protocol;
    }
    let to = |port: u32, service: &str| json!({"port": port, "tags": {"kuma.io/service": service}});
    let networking = json!({
        "address": "192.168.0.1",
        "inbound": [{"port": 80, "servicePort": 8080, "tags": tags}],
        "outbound": [to(54321, "db"), to(59200, "elastic")],
        "transparentProxying": redirection,
    });
    all.push(dataplane("backend-01", &networking, &Value::Null));
    let server =
        |address: &str, port: u32, tags: Value| json!({"address": address, "inbound": [{"port": port, "tags": tags}]});
    let db = server("192.168.0.3", 5432, json!({"kuma.io/service": "db", "role": "master"}));
    all.push(dataplane("db-01", &db, &Value::Null));
    let elastic = server("192.168.0.4", 9200, json!({"kuma.io/service": "elastic"}));
    all.push(dataplane("elastic-01", &elastic, &Value::Null));
    let any = || json!([{"match": {"kuma.io/service": "*"}}]);
    all.push(stored(json!({
        "type": "TrafficRoute", "mesh": "demo", "name": "default-allow-all", "sources": any(), "destinations": any(),
        "conf": {"destination": {"kuma.io/service": "*"}},
    })));
    all.push(stored(json!({
        "type": "HealthCheck", "mesh": "demo", "name": "hc", "sources": any(),
        "destinations": [{"match": {"kuma.io/service": "elastic"}}],
        "conf": {"interval": "5s", "timeout": "4s", "unhealthyThreshold": 3, "healthyThreshold": 2},
    })));
    let metadata = ProxyMetadata {
        admin_port: 9902,
        readiness_port: 9903,
        workdir: "/tmp".to_owned(),
        ipv6_enabled: true,
        ..metadata(features)
    };
    let actual = without_timeouts(resources(&generate(all, "backend-01", &metadata)), &TIMEOUTS);
    let mut golden = golden(&folder.join(format!("{number}-envoy-config.golden.yaml")));
    if is_redirected {
        // A control plane passes over what a Dataplane lists beside redirection.
        golden.retain(|(_, name), _| name != "db" && name != "elastic" && !name.starts_with("outbound:127"));
    }
    differences(&actual, &without_timeouts(golden, &TIMEOUTS))
}
