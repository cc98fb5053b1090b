//! Outbounds, as upstream's routing policies make them: without routes here, with those of each policy in files of their own.
//!
//! There a part of generation is tested alone. Of what the whole proxy gets, the resources of that name are compared, without what
//! MeshTimeout adds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{OF_MESH_TIMEOUT, Report, Resources, differences, generated, golden, metadata, report, without};
use crate::testing::change;
use crate::{Cache, Identity, MeshIndex, ProxyInput, ZoneSettings, generate};

/// What a case consists of.
#[derive(Default)]
pub(super) struct Case {
    pub name: &'static str,
    pub unified: bool,
    pub mtls: bool,
    /// Ranges of addresses that count as internal.
    pub internal: &'static [&'static str],
    pub outbounds: Value,
    /// What there is beside the mesh and the proxy.
    pub resources: Vec<Value>,
}

fn stored(document: &Value) -> Resource {
    let read = from_json(document.clone(), None, Unknown::Refuse).unwrap_or_else(|error| panic!("{document}: {error}"));
    Resource { status: read.status, ..read.resource }
}

pub(super) fn dataplane(name: &str, address: &str, port: u32, tags: Value, outbounds: &Value) -> Value {
    let networking = json!({"address": address, "inbound": [{"port": port, "tags": tags}], "outbound": outbounds});
    json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": networking})
}

fn backend(name: &str, address: &str, service: &str, tag: (&str, &str)) -> Value {
    let tags = json!({"kuma.io/service": service, "kuma.io/protocol": "http", tag.0: tag.1});
    dataplane(name, address, 8084, tags, &json!([]))
}

fn mesh_service() -> Value {
    json!({
        "type": "MeshService",
        "mesh": "default",
        "name": "backend",
        "labels": {"service": "backend"},
        "spec": {
            "selector": {"dataplaneTags": {"app": "backend"}},
            "ports": [{"port": 80, "targetPort": 8084, "appProtocol": "http"}],
            "identities": [{"type": "ServiceTag", "value": "backend"}],
        },
        "status": {"vips": [{"ip": "10.0.0.1"}]},
    })
}

fn cases() -> Vec<Case> {
    let to_service = |kind: &str, name: &str, address: &str| json!([{"address": address, "port": 80, "backendRef": {"kind": kind, "name": name, "port": 80}}]);
    let matched = json!({"name": "backend", "namespace": "", "zone": "", "mesh": "default"});
    let multi_zone = json!({
        "type": "MeshMultiZoneService",
        "mesh": "default",
        "name": "multi-backend",
        "spec": {
            "selector": {"meshService": {"matchLabels": {"service": "backend"}}},
            "ports": [{"port": 80, "appProtocol": "http"}],
        },
        "status": {"vips": [{"ip": "10.0.0.2"}], "meshServices": [matched]},
    });
    let outside = json!({
        "type": "ExternalService",
        "mesh": "default",
        "name": "external-service",
        "networking": {"address": "192.168.0.5:8085"},
        "tags": {"kuma.io/service": "external-service", "kuma.io/protocol": "http", "region": "us"},
    });
    let first = backend("backend", "192.168.0.4", "backend", ("app", "backend"));
    let second = backend("other-backend", "192.168.0.5", "other-backend", ("app", "backend"));
    let regional = backend("backend", "192.168.0.4", "backend", ("region", "us"));
    let services = |name, unified| Case {
        name,
        unified,
        mtls: true,
        internal: &[],
        outbounds: to_service("MeshService", "backend", "10.0.0.1"),
        resources: vec![first.clone(), second.clone(), mesh_service()],
    };
    vec![
        services("default-meshservice", false),
        services("default-meshservice-unified-naming", true),
        Case {
            name: "default-meshmultizoneservice",
            unified: false,
            mtls: true,
            internal: &[],
            outbounds: to_service("MeshMultiZoneService", "multi-backend", "10.0.0.2"),
            resources: vec![first.clone(), mesh_service(), multi_zone],
        },
        Case {
            name: "default-route",
            unified: false,
            mtls: false,
            internal: &["192.168.0.0/16", "::1/128"],
            outbounds: json!([
                {"port": 10001, "tags": {"kuma.io/service": "backend"}},
                {"port": 10002, "tags": {"kuma.io/service": "external-service"}},
            ]),
            resources: vec![regional.clone(), outside],
        },
        Case {
            name: "default-route-outbound-with-tags-with-mtls",
            unified: false,
            mtls: true,
            internal: &[],
            outbounds: json!([{"port": 10001, "tags": {"kuma.io/service": "backend", "region": "us"}}]),
            resources: vec![regional],
        },
    ]
}

fn run(case: &Case) -> Resources {
    let backend = json!({"name": "builtin", "type": "builtin"});
    let mut mesh = json!({"type": "Mesh", "name": "default"});
    if case.mtls {
        mesh["mtls"] = json!({"enabledBackend": "builtin", "backends": [backend]});
    }
    if case.resources.iter().any(|resource| resource["type"] == "ZoneEgress") {
        mesh["routing"] = json!({"zoneEgress": true});
    }
    if case.unified {
        mesh["meshServices"] = json!({"mode": "Exclusive"});
    }
    let tags = json!({"kuma.io/service": "web", "kuma.io/protocol": "http"});
    let web = dataplane("web-01", "192.168.0.2", 80, tags, &case.outbounds);
    let resources: Vec<_> = [&mesh, &web].into_iter().chain(&case.resources).map(stored).map(Arc::new).collect();
    let settings = ZoneSettings {
        internal_cidrs: case.internal.iter().map(|range| (*range).to_owned()).collect(),
        ..ZoneSettings::new("zone-1")
    };
    let mut index = MeshIndex::new(settings);
    index.apply(resources.iter().map(change));
    let identity = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let features: &[&str] = if case.unified { &["feature-unified-resource-naming"] } else { &[] };
    let metadata = metadata(features);
    let input = ProxyInput {
        key: &ResourceKey::new(Kind::Dataplane, "default", "web-01"),
        metadata: &metadata,
        identities: &BTreeMap::from([("default".to_owned(), Arc::new(identity))]),
        workload: None,
        admin_tls: None,
        previous: None,
    };
    // The certificate of the authority is the same in every case and of no interest.
    let snapshot = index.snapshot().preview("default", b"CA", false);
    let result = generate(&snapshot, &input, &Cache::default()).expect("generates");
    generated(result.resources.iter())
}

/// Upstream's cases leave the port of MeshExternalServices out of identifiers, its real proxies do not.
fn with_port(text: &str) -> String {
    match text.starts_with("kri_extsvc_") && text.ends_with('_') {
        true => format!("{text}9090"),
        false => text.to_owned(),
    }
}

fn of_value(value: &Value) -> Value {
    match value {
        Value::String(text) => with_port(text).into(),
        Value::Array(items) => items.iter().map(of_value).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), of_value(value))).collect())
        }
        other => other.clone(),
    }
}

pub(super) fn compared(case: &Case, folder: &Path) -> Vec<String> {
    let mut expected = Resources::new();
    // Route tables are part of listeners here as there.
    for part in ["clusters", "endpoints", "listeners"] {
        expected.extend(golden(&folder.join(format!("{}.{part}.golden.yaml", case.name))));
    }
    let mut expected: Resources =
        expected.into_iter().map(|((of, name), value)| ((of, with_port(&name)), of_value(&value))).collect();
    let mut actual = run(case);
    actual.retain(|name, _| expected.contains_key(name));
    for value in actual.values_mut().chain(expected.values_mut()) {
        without(value, &OF_MESH_TIMEOUT);
    }
    differences(&actual, &expected)
}

#[test]
fn outbounds_without_routes() {
    const FOLDER: &str = "policy-plugins/meshhttproute/plugin-v1alpha1";
    let Some(folder) = report::folder(FOLDER) else { return };
    let mut report = Report::new(format!("{FOLDER}, without routes"));
    for case in cases() {
        report.case(case.name, compared(&case, &folder));
    }
    report.finish();
}
