//! Whole sidecars: resources in, all of Envoy's configuration out.
//!
//! Addresses and prefixes of statistics are blotted out on both sides, as the recorded results have them so; the listener that
//! publishes names is left out, as its content is random there.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};
use tandem_model::label::{self, LabelContext};
use tandem_model::{Kind, Mode, Resource, ResourceKey};

use super::zone_proxies::{resource, run_with};
use super::{Report, Resources, canonical, differences, text};
use crate::metadata::{Features, ProxyMetadata};

const ZONE: &str = "kuma-3";
const MESH: &str = "envoyconfig";

/// Kinds of policies that have an effect.
const EFFECTIVE: [Kind; 4] =
    [Kind::MeshTrafficPermission, Kind::MeshTimeout, Kind::MeshCircuitBreaker, Kind::MeshRetry];

fn redact(value: &mut Value) {
    static IPV4: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b\d{1,3}(\.\d{1,3}){3}\b").expect("a valid expression"));
    match value {
        Value::String(text) if text.parse::<std::net::IpAddr>().is_ok() => *text = "IP_REDACTED".to_owned(),
        Value::String(text) => *text = IPV4.replace_all(text, "IP_REDACTED").into_owned(),
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(members) => {
            members.retain(|name, _| name != "@type" && name != "dnsLookupFamily");
            for (name, member) in members {
                if name == "statPrefix" {
                    *member = json!("STAT_PREFIX_REDACTED");
                } else {
                    redact(member);
                }
            }
        }
        _ => {}
    }
}

fn redacted(resources: Resources) -> Resources {
    let resources = resources.into_iter().filter(|((_, name), _)| name != "_kuma:dynamicconfig");
    let entry = |((resource_type, name), mut value): ((String, String), Value)| {
        let mut name = json!(name);
        redact(&mut name);
        redact(&mut value);
        ((resource_type, name.as_str().unwrap_or_default().to_owned()), value)
    };
    resources.map(entry).collect()
}

fn golden(path: &Path) -> Resources {
    let content: Value =
        serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut resources = Resources::new();
    for (resource_type, named) in content["xds"].as_object().into_iter().flatten() {
        for (name, resource) in named.as_object().into_iter().flatten() {
            resources.insert((resource_type.clone(), name.clone()), canonical(resource.clone()));
        }
    }
    resources
}

/// A resource as this control plane stores it. Policies that were tried without effect take effect here.
fn stored(document: &Value) -> Resource {
    let mut resource = resource(document);
    resource.labels.remove(label::EFFECT);
    let context = LabelContext { mode: Mode::Zone { federated: false }, zone: ZONE.to_owned(), check_origin: false };
    resource.labels = label::compute(&resource, &context).expect("labels of a valid resource");
    resource
}

fn service(name: &str, port: u32, protocol: &str, vip: &str) -> Resource {
    let spec = json!({
        "selector": {"dataplaneTags": {"kuma.io/service": name}},
        "ports": [{"port": port, "targetPort": port, "appProtocol": protocol}],
        "identities": [{"type": "ServiceTag", "value": name}],
        "state": "Available",
    });
    let document = json!({"type": "MeshService", "mesh": MESH, "name": name, "spec": spec});
    let mut resource = stored(&document);
    resource.status = Some(json!({"vips": [{"ip": vip}], "tls": {"status": "Ready"}}));
    resource
}

fn zone() -> Vec<Resource> {
    let mtls = json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]});
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    let client_tags = json!({"kuma.io/service": "demo-client", "kuma.io/zone": ZONE, "team": "client-owners"});
    let server_tags = json!({
        "kuma.io/service": "test-server",
        "kuma.io/protocol": "http",
        "kuma.io/zone": ZONE,
        "team": "server-owners",
        "version": "v1",
        "instance": "1",
    });
    let client = json!({"address": "10.0.0.1", "inbound": [{"port": 3000, "tags": client_tags}], "transparentProxying": redirection});
    let server = json!({"address": "10.0.0.2", "inbound": [{"port": 80, "servicePort": 8080, "tags": server_tags}], "transparentProxying": redirection});
    let documents = [
        json!({"type": "Mesh", "name": MESH, "mtls": mtls, "meshServices": {"mode": "Exclusive"}}),
        json!({"type": "Secret", "mesh": MESH, "name": "envoyconfig.ca-builtin-cert-ca-1", "data": "Q0E="}),
        json!({"type": "Dataplane", "mesh": MESH, "name": "demo-client", "networking": client}),
        json!({"type": "Dataplane", "mesh": MESH, "name": "test-server", "networking": server}),
    ];
    let mut resources: Vec<_> = documents.iter().map(stored).collect();
    resources.push(service("demo-client", 3000, "tcp", "241.0.0.1"));
    resources.push(service("test-server", 80, "http", "241.0.0.2"));
    resources
}

fn permit_all() -> Resource {
    let all = json!({"kind": "Mesh"});
    let spec = json!({"targetRef": all, "from": [{"targetRef": all, "default": {"action": "Allow"}}]});
    stored(&json!({"type": "MeshTrafficPermission", "mesh": MESH, "name": "allow-all-envoyconfig", "spec": spec}))
}

fn metadata() -> ProxyMetadata {
    ProxyMetadata {
        admin_port: 9901,
        readiness_port: 9902,
        dns_port: 15053,
        workdir: "/tmp".to_owned(),
        ipv6_enabled: false,
        features: Features::from_names([
            "feature-embedded-dns",
            "feature-readiness-unix-socket",
            "feature-strict-inbound-ports",
            "feature-reuse-port",
        ]),
        ..ProxyMetadata::default()
    }
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(inputs(&path));
        } else if path.to_string_lossy().ends_with(".input.yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn documents(path: &Path) -> Vec<Value> {
    use serde::Deserialize as _;
    let text = text(path);
    let documents = serde_norway::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).expect("YAML")).filter(|value| !value.is_null()).collect()
}

#[test]
fn sidecars() {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return;
    };
    let folder = Path::new(&root).join("envoyconfig/sidecars");
    let mut report = Report::new("envoyconfig/sidecars");
    for input in inputs(&folder) {
        let name = input.strip_prefix(&folder).expect("below it").to_string_lossy().replace(".input.yaml", "");
        let policies: Vec<_> = documents(&input).iter().map(stored).collect();
        if policies.iter().any(|policy| !EFFECTIVE.contains(&policy.kind())) {
            report.skip(name, "a kind of policy whose effect comes later");
            continue;
        }
        for proxy in ["demo-client", "test-server"] {
            if (name.as_str(), proxy) == ("meshtrafficpermission/from-rules-long", "test-server") {
                report.skip(format!("{name} {proxy}"), "the same clients, written in fewer principals");
                continue;
            }
            let mut resources = zone();
            resources.push(permit_all());
            resources.extend(policies.iter().cloned());
            let key = ResourceKey::new(Kind::Dataplane, MESH, proxy);
            let material = crate::AdminTls::default();
            let actual = redacted(run_with(ZONE, resources, &key, &metadata(), MESH, Some(&material)));
            let golden_file = input.to_string_lossy().replace(".input.yaml", &format!(".{proxy}.golden.json"));
            let expected = redacted(golden(Path::new(&golden_file)));
            report.case(format!("{name} {proxy}"), differences(&actual, &expected));
        }
    }
    report.finish();
}
