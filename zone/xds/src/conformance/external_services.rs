//! Services outside of the mesh: whole ZoneEgresses, and MeshExternalServices as destinations of sidecars.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;

use super::zone_proxies::resource;
use super::{
    OF_MESH_TIMEOUT, Report, Resources, differences, folder, generated, golden, metadata, report, text, without,
};
use crate::testing::{change, client_pair, dataplane, egress, mesh};
use crate::{Cache, Identity, MeshIndex, ProxyInput, ProxyMetadata, ZoneSettings, generate};

/// What a proxy gets, with an identity in every mesh, when these resources exist and no address is known to be internal.
fn run(zone: &str, resources: Vec<Resource>, proxy: &ResourceKey, metadata: &ProxyMetadata) -> Resources {
    let settings = ZoneSettings { internal_cidrs: Vec::new(), ..ZoneSettings::new(zone) };
    let mut index = MeshIndex::new(settings);
    let resources: Vec<_> = resources.into_iter().map(Arc::new).collect();
    index.apply(resources.iter().map(change));
    assert_eq!(index.take_problems(), []);
    let snapshot = index.snapshot();
    let identity = Arc::new(Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() });
    let identities: BTreeMap<_, _> = snapshot.meshes().map(|mesh| (mesh.name.to_string(), identity.clone())).collect();
    let input =
        ProxyInput { key: proxy, metadata, identities: &identities, workload: None, admin_tls: None, previous: None };
    let result = generate(&snapshot, &input, &Cache::default()).expect("generates");
    assert_eq!(result.warnings, []);
    generated(result.resources.iter())
}

/// Upstream's inputs have a text in place of the certificate of an authority, which is checked here: both sides get a certificate.
const AUTHORITY: &str = "xyz";

/// Mesh of permissions in upstream's inputs that has no Mesh: there identities are of the mesh of the permission, whichever mesh it is
/// handed to.
const NO_MESH: (&str, &str) = ("spiffe://zone-1/", "spiffe://mesh-1/");

fn comparable_identities(resources: Resources) -> Resources {
    let engine = base64::engine::general_purpose::STANDARD;
    let (theirs, ours) = (engine.encode(AUTHORITY), engine.encode(client_pair().chain));
    let replaced = |value: &Value| {
        let text = value.to_string().replace(&format!("\"{theirs}\""), &format!("\"{ours}\""));
        serde_json::from_str(&text.replace(NO_MESH.0, NO_MESH.1)).expect("still JSON")
    };
    resources.into_iter().map(|(key, value)| (key, replaced(&value))).collect()
}

fn documents(path: &Path, zone: &str) -> Vec<Resource> {
    let documents = text(path);
    let mut resources = Vec::new();
    for document in documents.split("---") {
        let mut document: Value = serde_norway::from_str(document).expect("YAML");
        let authority = document.pointer_mut("/networking/tls/caCert/inlineString");
        if let Some(authority) = authority.filter(|authority| **authority == AUTHORITY) {
            *authority = client_pair().chain.into();
        }
        // Upstream's test hands over all ingresses as those of other zones.
        if document["type"] == "ZoneIngress" && document["zone"] == zone {
            document["zone"] = json!("another");
        }
        resources.push(resource(&document));
    }
    let is_mesh = |resource: &&Resource| resource.kind() == Kind::Mesh;
    let meshes: Vec<_> = resources.iter().filter(is_mesh).map(|mesh| mesh.key.name.clone()).collect();
    // Upstream's test hands over all permissions in every mesh.
    let (permissions, mut resources): (Vec<_>, Vec<_>) =
        resources.into_iter().partition(|resource| resource.kind() == Kind::TrafficPermission);
    for name in meshes {
        let key = ResourceKey::new(Kind::Secret, name.as_str(), format!("{name}.ca-builtin-cert-ca-1"));
        let secret = tandem_proto::system::v1alpha1::Secret { data: Some(b"CA".to_vec()) };
        resources.push(Resource::from_proto(key, &secret));
        resources.extend(permissions.iter().cloned().map(|mut permission| {
            permission.key.mesh.clone_from(&name);
            permission
        }));
    }
    resources
}

#[test]
fn egresses() {
    let Some(folder) = folder("egress") else { return };
    let mut report = Report::new("xds-generator/egress");
    let key = ResourceKey::global(Kind::ZoneEgress, "zoneegress-1");
    let case = |input: &str, output: &str, features: &[&str]| {
        let resources = documents(&folder.join(format!("input/{input}.yaml")), "zone-1");
        let expected = comparable_identities(golden(&folder.join(format!("{output}.golden.yaml"))));
        differences(&run("zone-1", resources, &key, &metadata(features)), &expected)
    };
    for name in [
        "01.externalservice-only",
        "02.internalservice-only",
        "03.mixed-services",
        "04.mixed-services-custom-trafficroute",
        "05.mixed-services-with-custom-trafficpermissions",
        "06.mixed-services-with-external-in-other-zone",
        "same-kuma-io-service",
        "subsets-with-external-meshhttproute",
        "subsets-with-meshhttproute",
        "traffic-by-default-meshhttproute",
    ] {
        report.case(name, case(name, name, &[]));
    }
    let unified = "01.externalservice-only-unified-naming";
    let found = case("01.externalservice-only", unified, &["feature-unified-resource-naming"]);
    report.different(unified, "TrafficPermissions hold for an egress with unified names too", found);
    report.finish();
}

fn sidecar_case(folder: &Path, case: &str, protocol: &str) -> Vec<String> {
    const LISTENER: &str = "outbound:10.20.20.1:9090";
    let key = ResourceKey::new(Kind::MeshExternalService, "default", "example");
    let endpoints = json!([{"address": "example.com", "port": 10000}]);
    let spec = json!({"match": {"port": 9090, "protocol": protocol}, "endpoints": endpoints});
    let mut service = Resource::from_json(key, spec);
    service.status = Some(json!({"vip": {"ip": "10.20.20.1"}}));
    let mut spec = dataplane("default", "backend").inbound(8080, "backend").spec;
    let redirected =
        TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() };
    spec.networking.as_mut().expect("set by dataplane()").transparent_proxying = Some(redirected);
    let proxy = ResourceKey::new(Kind::Dataplane, "default", "backend");
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([Resource::from_proto(proxy.clone(), &spec), service, egress("egress")]);
    let all = run("zone-1", resources, &proxy, &metadata(&[]));
    let is_ours = |name: &str| name.contains("example") || name == LISTENER;
    let expected = ["clusters", "endpoints", "listeners"];
    let expected = expected.map(|part| golden(&folder.join(format!("{case}.{part}.golden.yaml"))));
    let ours = |resources: Resources| -> Resources {
        let ours = resources.into_iter().filter(|((_, name), _)| is_ours(name));
        ours.map(|(key, value)| (key, comparable(value))).collect()
    };
    differences(&ours(all), &ours(expected.into_iter().flatten().collect()))
}

/// Upstream's tests run the plugin of one policy alone and have other numbers: what MeshTimeout adds, that traffic is redirected, the address
/// of the egress and the name of the port in identifiers are left out on both sides.
fn comparable(mut value: Value) -> Value {
    without(&mut value, &["bindToPort"]);
    without(&mut value, &OF_MESH_TIMEOUT);
    let text = value.to_string().replace("10.0.0.9", "127.0.0.1").replace("___example_9090", "___example_");
    serde_json::from_str(&text).expect("still JSON")
}

#[test]
fn destinations_of_sidecars() {
    for (policy, protocol, cases) in [
        (
            "meshhttproute",
            "http",
            &[
                "default-meshexternalservice",
                "meshexternalservice-with-tls",
                "meshexternalservice-with-tls-and-custom-settings",
                "meshexternalservice-with-tls-and-skipall",
            ][..],
        ),
        ("meshtcproute", "tcp", &["default-meshexternalservice"]),
    ] {
        let Some(folder) = report::folder(&format!("policy-plugins/{policy}/plugin-v1alpha1")) else { return };
        let mut report = Report::new(format!("policy-plugins/{policy}, MeshExternalService"));
        for case in cases {
            report.case(*case, sidecar_case(&folder, case, protocol));
        }
        report.finish();
    }
}
