//! Whole ZoneIngresses and ZoneEgresses, through index and generation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey, Spec};
use tandem_proto::json::{Unknown, from_json};

use super::{Report, Resources, differences, folder, generated, golden, metadata};
use crate::testing::{change, dataplane, mesh};
use crate::{AdminTls, Cache, Identity, MeshIndex, ProxyInput, ProxyMetadata, ZoneSettings, generate};

pub(super) fn resource(document: &Value) -> Resource {
    let member = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let kind: Kind = member("type").parse().expect("a known type");
    let key = ResourceKey::new(kind, member("mesh"), member("name"));
    if kind.is_json() {
        return Resource::new(key, Spec::Json(document["spec"].clone()));
    }
    let mut members = document.as_object().cloned().unwrap_or_default();
    ["type", "name", "mesh"].iter().for_each(|name| {
        members.remove(*name);
    });
    let tandem_model::Encoding::Proto { message } = kind.descriptor().encoding else {
        unreachable!("the other encoding was handled above")
    };
    let bytes = from_json(message, &members, Unknown::Ignore).unwrap_or_else(|error| panic!("{key}: {error}"));
    Resource::new(key, Spec::Proto(bytes.into()))
}

/// What a proxy without administration port gets when these resources exist.
pub(super) fn run(zone: &str, resources: Vec<Resource>, proxy: &ResourceKey, metadata: &ProxyMetadata) -> Resources {
    run_with(zone, resources, proxy, metadata, "default", None)
}

/// What a proxy with an identity in a mesh gets when these resources exist.
pub(super) fn run_with(
    zone: &str,
    resources: Vec<Resource>,
    proxy: &ResourceKey,
    metadata: &ProxyMetadata,
    mesh: &str,
    admin_tls: Option<&AdminTls>,
) -> Resources {
    let mut index = MeshIndex::new(ZoneSettings::new(zone));
    let resources: Vec<_> = resources.into_iter().map(Arc::new).collect();
    index.apply(resources.iter().map(change));
    let problems = index.take_problems();
    assert!(problems.is_empty(), "{problems:?}");
    let identity = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = BTreeMap::from([(mesh.to_owned(), Arc::new(identity))]);
    let input = ProxyInput { key: proxy, metadata, identities: &identities, workload: None, admin_tls, previous: None };
    let result = generate(&index.snapshot(), &input, &Cache::default()).expect("generates");
    generated(result.resources.iter())
}

const BACKEND: [&[(&str, &str)]; 2] = [
    &[("kuma.io/service", "backend"), ("version", "v1"), ("region", "eu"), ("mesh", "mesh1")],
    &[("kuma.io/service", "backend"), ("version", "v2"), ("region", "us"), ("mesh", "mesh1")],
];

fn ingress_case(kind: Option<Kind>, with_zone: bool, unified: bool, empty: bool, golden_file: &Path) -> Vec<String> {
    let key = ResourceKey::global(Kind::ZoneIngress, "default.ingress");
    let mut tag_sets: Vec<Vec<(&str, &str)>> = BACKEND.map(<[_]>::to_vec).into();
    if with_zone {
        tag_sets.iter_mut().for_each(|tags| tags.push(("kuma.io/zone", "zone")));
    }
    let available: Vec<_> = tag_sets
        .iter()
        .map(|tags| json!({"mesh": "mesh1", "tags": tags.iter().copied().collect::<BTreeMap<_, _>>()}))
        .collect();
    let available = if empty { Vec::new() } else { available };
    let networking = json!({"address": "10.0.0.1", "port": 10001});
    let ingress =
        json!({"type": "ZoneIngress", "name": key.name, "networking": networking, "availableServices": available});
    let mut resources = vec![mesh("mesh1").resource(), resource(&ingress)];
    for (index, tags) in tag_sets.iter().enumerate() {
        let address = format!("192.168.0.{}", index + 1);
        let proxy = dataplane("mesh1", &format!("backend-{index}")).address(&address).inbound_with(2521, tags);
        resources.push(proxy.resource());
    }
    if let Some(kind) = kind {
        let mut tags = json!({"version": "v1", "region": "eu"});
        if with_zone {
            tags["kuma.io/zone"] = json!("zone");
        }
        let backends = json!([{"kind": "MeshServiceSubset", "name": "backend", "tags": tags}]);
        let mut rule = json!({"default": {"backendRefs": backends}});
        if kind == Kind::MeshHTTPRoute {
            rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/v1"}}]);
        }
        let to = json!([{"targetRef": {"kind": "MeshService", "name": "backend"}, "rules": [rule]}]);
        let spec = json!({"targetRef": {"kind": "MeshService", "name": "frontend"}, "to": to});
        resources.push(Resource::from_json(ResourceKey::new(kind, "mesh1", "route"), spec));
    }
    let features: &[&str] = if unified { &["feature-unified-resource-naming"] } else { &[] };
    let zone = if empty { "zone-main" } else { "east" };
    let mut actual = run(zone, resources, &key, &metadata(features));
    rename_proxy(&mut actual);
    if with_zone {
        // Upstream's test gives endpoints a zone tag but no locality, which cannot happen outside of it.
        let assignments = actual.values_mut().filter(|value| !value["endpoints"].is_null());
        assignments.for_each(|value| drop(value["endpoints"][0].as_object_mut().map(|group| group.remove("locality"))));
    }
    differences(&actual, &golden(golden_file))
}

/// Upstream's test builds a node id of mesh `default` and name `ingress`, which a stored ingress cannot have: the name of
/// this one is both, after the dot of its own id.
fn rename_proxy(resources: &mut Resources) {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let encode = |proxy: &str| engine.encode(format!(r#"{{"proxy":"{proxy}","zone":"zone-main"}}"#));
    let (ours, theirs) = (encode(".default.ingress"), encode("default.ingress"));
    for value in resources.values_mut() {
        let renamed = value.to_string().replace(&ours, &theirs);
        *value = serde_json::from_str(&renamed).expect("still JSON");
    }
}

fn ingress_with_services(golden_file: &Path) -> Vec<String> {
    let key = ResourceKey::global(Kind::ZoneIngress, "ingress");
    let networking = json!({"address": "10.0.0.1", "port": 10001});
    let mut resources = vec![
        mesh("default").resource(),
        resource(&json!({"type": "ZoneIngress", "name": key.name, "networking": networking})),
    ];
    let spec = json!({"ports": [{"port": 80, "targetPort": 80}]});
    for (name, zone) in [("backend2", None), ("backend", Some("east"))] {
        let service = resource(&json!({"type": "MeshService", "mesh": "default", "name": name, "spec": spec}));
        let labels = [("kuma.io/display-name", "backend")].into_iter().chain(zone.map(|zone| ("kuma.io/zone", zone)));
        resources.push(service.with_labels(labels));
    }
    differences(&run("east", resources, &key, &metadata(&[])), &golden(golden_file))
}

#[test]
fn ingresses() {
    let Some(folder) = folder("generator/ingress") else { return };
    let mut report = Report::new("xds-generator/generator/ingress");
    let file = |name: &str| folder.join(format!("{name}.envoy.golden.yaml"));
    let cases = [
        ("01", None, false, false, false),
        ("01.unified-naming", None, false, true, false),
        ("02", None, false, false, true),
        ("with-meshhttproute", Some(Kind::MeshHTTPRoute), false, false, false),
        ("with-meshhttproute-subset", Some(Kind::MeshHTTPRoute), true, false, false),
        ("with-meshtcproute-subset", Some(Kind::MeshTCPRoute), true, false, false),
    ];
    for (name, kind, with_zone, unified, empty) in cases {
        report.case(name, ingress_case(kind, with_zone, unified, empty, &file(name)));
    }
    report.case("mesh-service", ingress_with_services(&file("mesh-service")));
    report.skip("meshgateway", "MeshGateway");
    report.skip("virtual-outbound", "VirtualOutbound");
    report.finish();
}
