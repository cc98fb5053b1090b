//! TLS of MeshIdentity, MeshTrust and MeshTLS.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
use tandem_proto::mesh::v1alpha1::mesh::MeshServices;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;

use super::destinations::{caller, mesh_service};
use super::{CLUSTER, ENDPOINT, LISTENER, SECRET, http_inbound, key};
use crate::Generated;
use crate::testing::{MeshBuilder, Zone, authority, json, mesh, names, remote_ingress, trust};

const IDENTITY: &str = "kri_mid_default___identity_";
const INBOUND: &str = "inbound:10.0.0.1:8080";
const WEB: &str = "default_web___msvc_80";

fn exclusive() -> MeshBuilder {
    let mut mesh = mesh("default");
    mesh.spec.mesh_services = Some(MeshServices { mode: Mode::Exclusive.into() });
    mesh
}

/// A MeshIdentity for the Dataplanes with these labels.
fn identity(name: &str, labels: Value, ready: bool) -> Resource {
    let bundled = json!({"autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true});
    let spec = json!({
        "selector": {"dataplane": {"matchLabels": labels}},
        "provider": {"type": "Bundled", "bundled": bundled},
    });
    let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshIdentity, "default", name), spec);
    let (status, reason) = if ready { ("True", "Ready") } else { ("False", "Failure") };
    resource.status =
        Some(json!({"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": ""}]}));
    resource
}

fn web() -> Resource {
    let mut web = mesh_service("web", json!(8080), &[]);
    let tandem_model::Spec::Json(spec) = &mut web.spec else { panic!("a MeshService is JSON") };
    spec["identities"] = json!([
        {"type": "SpiffeID", "value": "spiffe://domain/workload/web"},
        {"type": "ServiceTag", "value": "web"},
    ]);
    web
}

fn workload(resource: Resource) -> Resource {
    let name = resource.key.name.clone();
    resource.with_labels([("kuma.io/workload", name.as_str())])
}

fn zone(mesh: Vec<Resource>, more: impl IntoIterator<Item = Resource>) -> Zone {
    let resources = mesh.into_iter().chain(more).chain([
        workload(http_inbound("default", "web").address("10.0.0.2").resource()),
        workload(caller("MeshService", "web")),
        web(),
    ]);
    Zone::new("east", resources)
}

fn context(resource: &Value) -> &Value {
    let socket = match resource.get("filterChains") {
        Some(chains) => chains.as_array().and_then(|chains| chains.last()).map(|chain| &chain["transportSocket"]),
        None => resource.get("transportSocket"),
    };
    &socket.expect("chains or a cluster")["typedConfig"]["commonTlsContext"]
}

/// The secret shown, the one that says whom to trust, and the names peers must have.
fn secured(generated: &Generated, kind: crate::ResourceType, name: &str) -> (String, String, Vec<String>) {
    let resource = json(generated, kind, name);
    let context = context(&resource);
    let validation = &context["combinedValidationContext"];
    let names = validation["defaultValidationContext"]["matchTypedSubjectAltNames"].as_array().into_iter().flatten();
    let name = |san: &Value| {
        let matcher = &san["matcher"];
        let text = |kind: &str| matcher[kind].as_str().map(|text| format!("{kind} {text}"));
        text("exact").or_else(|| text("prefix")).expect("an exact name or a prefix")
    };
    (
        context["tlsCertificateSdsSecretConfigs"][0]["name"].as_str().unwrap_or_default().to_owned(),
        validation["validationContextSdsSecretConfig"]["name"].as_str().unwrap_or_default().to_owned(),
        names.map(name).collect(),
    )
}

fn expected(identity: &str, authority: &str, names: &[&str]) -> (String, String, Vec<String>) {
    (identity.to_owned(), authority.to_owned(), names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn a_mesh_identity_secures_a_mesh_without_mutual_tls() {
    let trusts = [trust("default", "one", "domain", authority()), trust("default", "two", "other", authority())];
    let zone = zone(vec![exclusive().resource()], trusts.into_iter().chain([identity("identity", json!({}), true)]));
    let caller = zone.generate(&key("caller"), None).unwrap();
    let clients = ["prefix spiffe://domain", "prefix spiffe://other"];
    assert_eq!(secured(&caller, LISTENER, INBOUND), expected(IDENTITY, "system_trust_bundle", &clients));
    let servers = ["exact spiffe://default/web", "exact spiffe://domain/workload/web"];
    assert_eq!(secured(&caller, CLUSTER, WEB), expected(IDENTITY, "system_trust_bundle", &servers));
    assert_eq!(names(&caller, SECRET), [IDENTITY, "system_trust_bundle"]);
    let bundle = json(&caller, SECRET, "system_trust_bundle");
    let validator = &bundle["validationContext"]["customValidatorConfig"]["typedConfig"];
    assert_eq!(
        (&validator["trustDomains"][0]["name"], &validator["trustDomains"][1]["name"]),
        (&json!("domain"), &json!("other"))
    );
    assert!(json(&caller, CLUSTER, WEB)["transportSocket"]["typedConfig"]["sni"].as_str().unwrap().ends_with(".ms"));
    assert_eq!(json(&caller, LISTENER, INBOUND)["filterChains"].as_array().unwrap().len(), 1, "TLS is all it takes");
}

#[test]
fn an_identity_that_is_not_ready_gives_nothing() {
    let zone = zone(vec![exclusive().resource()], [identity("identity", json!({}), false)]);
    let caller = zone.generate(&key("caller"), None).unwrap();
    assert!(names(&caller, SECRET).is_empty());
    assert!(json(&caller, CLUSTER, WEB).get("transportSocket").is_none());
}

#[test]
fn without_a_mesh_trust_nobody_is_trusted() {
    let zone = zone(vec![exclusive().resource()], [identity("identity", json!({}), true)]);
    let caller = zone.generate(&key("caller"), None).unwrap();
    let bundle = json(&caller, SECRET, "system_trust_bundle");
    let validator = &bundle["validationContext"]["customValidatorConfig"]["typedConfig"];
    assert!(validator.get("trustDomains").is_none(), "{validator}");
    assert_eq!(secured(&caller, LISTENER, INBOUND), expected(IDENTITY, "system_trust_bundle", &[]));
    let warning = &caller.warnings[0];
    assert!(warning.reason.contains("MeshTrust"), "{warning:?}");
    assert_eq!(warning.resource, Some(ResourceKey::new(Kind::MeshIdentity, "default", "identity")));
}

#[test]
fn with_mesh_trusts_the_certificates_of_the_mesh_are_judged_by_domain() {
    let trust = trust("default", "one", "domain", authority());
    let zone = zone(exclusive().mtls().with_authority(), [trust]);
    let caller = zone.generate(&key("caller"), None).unwrap();
    let by_domain = expected("identity_cert:secret:default", "system_trust_bundle", &[]);
    assert_eq!(secured(&caller, LISTENER, INBOUND), by_domain);
    assert_eq!(secured(&caller, CLUSTER, WEB), by_domain);
    assert_eq!(names(&caller, SECRET), ["identity_cert:secret:default", "system_trust_bundle"]);
    let bundle = json(&caller, SECRET, "system_trust_bundle");
    let domains = &bundle["validationContext"]["customValidatorConfig"]["typedConfig"]["trustDomains"];
    assert_eq!(domains[0]["name"], "default", "the authority of the mesh is one of those trusted");
}

#[test]
fn both_certificates_are_there_while_both_are_needed() {
    let trust = trust("default", "one", "domain", authority());
    let mut zone = zone(exclusive().mtls().with_authority(), [trust, identity("identity", json!({}), true)]);
    let with_service = caller_of_service();
    zone.put(with_service);
    let caller = zone.generate(&key("caller"), None).unwrap();
    // Whoever is known by tags is reached as ever.
    assert_eq!(secured(&caller, CLUSTER, "old").0, "identity_cert:secret:default");
    let clients = ["prefix spiffe://default", "prefix spiffe://domain"];
    assert_eq!(secured(&caller, LISTENER, INBOUND), expected(IDENTITY, "system_trust_bundle", &clients));
    assert_eq!(names(&caller, SECRET), ["identity_cert:secret:default", IDENTITY, "system_trust_bundle"]);
}

fn caller_of_service() -> Resource {
    workload(http_inbound("default", "caller").outbound(10001, "old").resource())
}

#[test]
fn services_of_other_zones_are_reached_with_an_identity_alone() {
    let labels = [("kuma.io/origin", "global"), ("kuma.io/zone", "west"), ("kuma.io/display-name", "web")];
    let remote = mesh_service("web-hash", json!(8080), &labels);
    let trust = trust("default", "one", "domain", authority());
    let ingress = remote_ingress("198.51.100.7", "ingress-west", "west", &[]);
    let of_remote = |zone: &mut Zone| {
        zone.put(remote_caller());
        let caller = zone.generate(&key("caller"), None).unwrap();
        let endpoints = json(&caller, ENDPOINT, "default_web__west_msvc_80");
        endpoints["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"].clone()
    };
    let mut plain = Zone::new("east", [exclusive().resource(), remote.clone(), ingress.clone()]);
    assert_eq!(of_remote(&mut plain), Value::Null);
    let resources = [exclusive().resource(), trust, identity("identity", json!({}), true), remote, ingress];
    let mut zone = Zone::new("east", resources);
    assert_eq!(of_remote(&mut zone), json!("198.51.100.7"));
}

fn remote_caller() -> Resource {
    use tandem_proto::mesh::v1alpha1::dataplane::networking::Outbound;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::outbound::BackendRef;
    let labels = [("kuma.io/display-name", "web"), ("kuma.io/zone", "west")];
    let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
    let reference = BackendRef { kind: "MeshService".into(), labels, port: 80, ..BackendRef::default() };
    let mut caller = http_inbound("default", "caller");
    let outbound = Outbound { port: 10080, backend_ref: Some(reference), ..Outbound::default() };
    caller.spec.networking.as_mut().unwrap().outbound.push(outbound);
    workload(caller.resource())
}

fn mesh_tls(form: &str, default: Value) -> Resource {
    let entry = match form {
        "from" => json!({"targetRef": {"kind": "Mesh"}, "default": default}),
        _ => json!({"default": default}),
    };
    let spec = json!({"targetRef": {"kind": "Mesh"}, form: [entry]});
    Resource::from_json(ResourceKey::new(Kind::MeshTLS, "default", "tls"), spec)
}

#[test]
fn mesh_tls_decides_whether_plain_text_is_taken() {
    let trust = trust("default", "one", "domain", authority());
    let chains = |zone: &Zone| {
        let caller = zone.generate(&key("caller"), None).unwrap();
        json(&caller, LISTENER, INBOUND)["filterChains"].as_array().unwrap().len()
    };
    let plain = vec![exclusive().resource()];
    let strict = exclusive().mtls().with_authority();
    let permissive = exclusive().mtls().permissive().with_authority();
    for (mesh, with_identity, before, takes_effect) in [
        (plain.clone(), false, 1, false),
        (plain, true, 1, true),
        (strict.clone(), false, 1, true),
        (strict, true, 1, true),
        (permissive.clone(), false, 3, true),
        (permissive, true, 1, true),
    ] {
        let identity = with_identity.then(|| identity("identity", json!({}), true));
        let mut zone = zone(mesh, identity.into_iter().chain([trust.clone()]));
        assert_eq!(chains(&zone), before);
        for form in ["from", "rules"] {
            zone.put(mesh_tls(form, json!({"mode": "Permissive"})));
            assert_eq!(chains(&zone), if takes_effect { 3 } else { before }, "{form}");
            zone.put(mesh_tls(form, json!({"mode": "Strict"})));
            assert_eq!(chains(&zone), 1, "{form}");
        }
    }
}

#[test]
fn mesh_tls_sets_versions_and_ciphers_on_both_sides() {
    let trust = trust("default", "one", "domain", authority());
    for with_identity in [false, true] {
        let identity = with_identity.then(|| identity("identity", json!({}), true));
        let mut zone = zone(exclusive().mtls().with_authority(), identity.into_iter().chain([trust.clone()]));
        let parameters = |zone: &Zone| {
            let caller = zone.generate(&key("caller"), None).unwrap();
            let (listener, cluster) = (json(&caller, LISTENER, INBOUND), json(&caller, CLUSTER, WEB));
            assert_eq!(context(&listener)["tlsParams"], context(&cluster)["tlsParams"]);
            context(&listener)["tlsParams"].clone()
        };
        assert_eq!(parameters(&zone), Value::Null);
        zone.put(mesh_tls("rules", json!({"mode": "Strict"})));
        assert_eq!(parameters(&zone), Value::Null);
        let cipher = "ECDHE-ECDSA-AES256-GCM-SHA384";
        zone.put(mesh_tls("rules", json!({"tlsVersion": {"min": "TLS12", "max": "TLS13"}, "tlsCiphers": [cipher]})));
        let all = json!({
            "tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3", "cipherSuites": [cipher]
        });
        assert_eq!(parameters(&zone), all);
        zone.put(mesh_tls("from", json!({"tlsCiphers": [cipher]})));
        assert_eq!(parameters(&zone), json!({"cipherSuites": [cipher]}));
    }
}

#[test]
fn redirected_traffic_goes_to_declared_ports_only_where_tls_is_all_it_takes() {
    let mut web = http_inbound("default", "web");
    web.spec.networking.as_mut().unwrap().transparent_proxying =
        Some(TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() });
    let trust = trust("default", "one", "domain", authority());
    let mut zone = Zone::new("east", [exclusive().resource(), trust, workload(web.resource())]);
    let port = |zone: &Zone| {
        // A proxy that does not ask for it.
        let metadata = crate::ProxyMetadata { features: Default::default(), ..crate::testing::metadata() };
        let web = zone.generate_with(&key("web"), &metadata, &Default::default(), None).unwrap();
        json(&web, LISTENER, "inbound:passthrough:ipv4")["filterChains"][0]["filterChainMatch"]["destinationPort"]
            .clone()
    };
    assert_eq!(port(&zone), Value::Null);
    zone.put(identity("identity", json!({}), true));
    assert_eq!(port(&zone), json!(8080));
    zone.put(mesh_tls("rules", json!({"mode": "Permissive"})));
    assert_eq!(port(&zone), Value::Null);
}

#[test]
fn the_most_specific_identity_is_asked_for() {
    let identities = [identity("b", json!({}), true), identity("a", json!({"kuma.io/workload": "web"}), false)];
    let zone = zone(vec![exclusive().resource()], identities);
    let snapshot = zone.index.snapshot();
    let request = |name: &str| crate::workload_request(&snapshot, &key(name));
    let web = request("web").expect("selected twice");
    assert_eq!((web.identity.resource.key.name.as_str(), web.identity.ready), ("a", false));
    let spiffe = web.spiffe_id.expect("a workload");
    assert_eq!(spiffe.uri, "spiffe://default.east.mesh.local/workload/web");
    assert_eq!(spiffe.trust_domain, "default.east.mesh.local");
    assert_eq!(request("caller").expect("selected once").identity.resource.key.name, "b");
    assert!(request("nobody").is_none());
    assert!(crate::workload_request(&snapshot, &ResourceKey::global(Kind::ZoneEgress, "web")).is_none());
}
