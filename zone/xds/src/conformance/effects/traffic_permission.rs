//! Cases of MeshTrafficPermission.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::super::report::{Report, folder};
use super::super::{compare, generated, golden};
use crate::testing::{MeshBuilder, Zone, dataplane, egress, mesh, stored};

const FOLDER: &str = "policy-plugins/meshtrafficpermission/plugin-v1alpha1";

/// What is decided about the connections and requests that a filter chain takes, in the order of its filters. The beginning of names
/// of statistics is that of the listener, which has another name in upstream's tests.
fn decided(chain: &Value) -> Vec<Value> {
    let filters = chain["filters"].as_array().into_iter().flatten();
    let of_requests = |filter: &Value| filter["typedConfig"]["httpFilters"].as_array().cloned().unwrap_or_default();
    let all = filters.flat_map(|filter| std::iter::once(filter.clone()).chain(of_requests(filter)));
    let mut found: Vec<Value> =
        all.filter(|filter| filter["name"].as_str().is_some_and(|n| n.ends_with("rbac"))).collect();
    for filter in &mut found {
        filter["typedConfig"].as_object_mut().expect("filters are configured").remove("statPrefix");
    }
    found
}

/// What a proxy, of which `of_mesh` has one MeshTrafficPermission, decides in the listener of a port; `chain` is the name of its filter
/// chain, or empty for the first one.
fn decides(of_mesh: &MeshBuilder, spec: &Value, port: u32, chain: &str) -> Vec<Value> {
    let mut resources = of_mesh.with_authority();
    resources.push(dataplane("mesh-1", "dp1").inbound_with(8080, &[("kuma.io/service", "backend"), HTTP]).resource());
    resources.push(egress("egress"));
    for (name, protocol) in [("external-service-1", "http"), ("external-service-2", "tcp")] {
        let tags = json!({"kuma.io/service": name, "kuma.io/protocol": protocol});
        let members = json!({"networking": {"address": "example.com:80"}, "tags": tags});
        resources.push(stored(Kind::ExternalService, "mesh-1", name, &members));
    }
    if !spec.is_null() {
        let mut policy =
            Resource::from_json(ResourceKey::new(Kind::MeshTrafficPermission, "mesh-1", "mtp-1"), spec.clone());
        // Upstream's policy is of another zone and of a namespace.
        policy.labels.insert("kuma.io/zone".into(), "zone-1".into());
        policy.labels.insert("k8s.kuma.io/namespace".into(), "ns-1".into());
        resources.push(policy);
    }
    let proxy = match port {
        8080 => ResourceKey::new(Kind::Dataplane, "mesh-1", "dp1"),
        _ => ResourceKey::global(Kind::ZoneEgress, "egress"),
    };
    let made = Zone::new("zone-1", resources).generate(&proxy, None).expect("nothing is missing");
    let all = generated(made.resources.iter());
    let listener = all.values().find(|resource| resource["address"]["socketAddress"]["portValue"] == port);
    let chains = listener.expect("a listener")["filterChains"].as_array().cloned().unwrap_or_default();
    let chain = chains.iter().find(|found| chain.is_empty() || found["name"] == chain).expect("a filter chain");
    decided(chain)
}

const HTTP: (&str, &str) = ("kuma.io/protocol", "http");

#[test]
fn mesh_traffic_permission() {
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let expected = |file: &str, listener: &str, chain: usize| {
        let all = golden(&folder.join(format!("{file}.golden.yaml")));
        let (_, listener) = all.iter().find(|((_, name), _)| name == listener).expect("a listener");
        decided(&listener["filterChains"][chain])
    };
    let differences = |actual: Vec<Value>, expected: Vec<Value>| {
        let mut found = Vec::new();
        compare("", &actual.into(), &expected.into(), &mut found);
        found
    };
    let secured = || mesh("mesh-1").mtls().zone_egress();
    let entry = |client: Value| json!({"from": [{"targetRef": client, "default": {"action": "Allow"}}]});
    let frontend = entry(json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "frontend"}}));

    let mut of_inbounds = differences(decides(&secured(), &frontend, 8080, ""), expected("apply", "test_listener", 0));
    // Without a policy, and without mutual TLS.
    of_inbounds
        .extend(differences(decides(&secured(), &Value::Null, 8080, ""), expected("apply", "test_listener2", 0)));
    of_inbounds
        .extend(differences(decides(&mesh("mesh-1"), &frontend, 8080, ""), expected("apply", "test_listener4", 0)));
    report.case("apply", of_inbounds);

    let of_egress = |spec: &Value, service: &str| decides(&secured(), spec, 10002, &format!("{service}_mesh-1"));
    let mut found =
        differences(of_egress(&frontend, "external-service-1"), expected("apply-egress", "test_listener", 0));
    let everybody = entry(json!({"kind": "Mesh"}));
    found
        .extend(differences(of_egress(&everybody, "external-service-2"), expected("apply-egress", "test_listener", 2)));
    report.case("apply-egress", found);

    let client = |kind: &str, value: &str| json!([{"spiffeID": {"type": kind, "value": format!("spiffe://trust-domain.mesh/ns/backend/{value}")}}]);
    let lists = json!({
        "deny": client("Exact", "v1"), "allowWithShadowDeny": client("Exact", "v2"), "allow": client("Prefix", ""),
    });
    let found = decides(&secured(), &json!({"rules": [{"default": lists}]}), 8080, "");
    let expected = expected("matching-api", "test_listener", 0);
    report.different(
        "matching-api",
        "all URIs of a certificate are compared with a SPIFFE ID",
        differences(found.clone(), expected.clone()),
    );
    // But for how a SPIFFE ID is compared, it is the same; upstream's policy is of another mesh.
    let uncompared = |filters: Vec<Value>| -> Vec<Value> {
        let text = Value::from(filters).to_string().replace("kri_mtp_mesh-1_", "kri_mtp_default_");
        let mut filters: Value = serde_json::from_str(&text).expect("still JSON");
        super::super::without(&mut filters, &["valueMatch"]);
        filters.as_array().cloned().unwrap_or_default()
    };
    assert_eq!(differences(uncompared(found), uncompared(expected)), Vec::<String>::new());
    report.finish();
}
