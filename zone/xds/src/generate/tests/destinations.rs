//! Outbounds to MeshServices and MeshMultiZoneServices.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, ENDPOINT, LISTENER, changed, http_inbound, key};
use crate::Generated;
use crate::testing::{Zone, dataplane, json, mesh, metadata, names, remote_ingress};

/// A MeshService with one HTTP port 80 in front of the inbound named or numbered `target`.
pub(super) fn mesh_service(name: &str, target: Value, labels: &[(&str, &str)]) -> Resource {
    let spec = json!({
        "state": "Available",
        "selector": {"dataplaneTags": {"kuma.io/service": name}},
        "ports": [{"name": "main", "port": 80, "targetPort": target, "appProtocol": "http"}],
        "identities": [{"type": "ServiceTag", "value": name}],
    });
    let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), spec);
    resource.status = Some(json!({"vips": [{"ip": "241.0.0.1"}], "addresses": [{"hostname": format!("{name}.mesh")}]}));
    resource.with_labels(labels.iter().copied())
}

/// A Dataplane whose outbound refers to a MeshService.
pub(super) fn caller(kind: &str, name: &str) -> Resource {
    use tandem_proto::mesh::v1alpha1::dataplane::networking::Outbound;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::outbound::BackendRef;
    let reference = BackendRef { kind: kind.into(), name: name.into(), port: 80, ..BackendRef::default() };
    let mut caller = http_inbound("default", "caller");
    let outbound = Outbound { port: 10080, backend_ref: Some(reference), ..Outbound::default() };
    caller.spec.networking.as_mut().unwrap().outbound.push(outbound);
    caller.resource()
}

#[test]
fn an_outbound_can_refer_to_a_mesh_service() {
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([
        http_inbound("default", "web").address("10.0.0.2").resource(),
        mesh_service("web", json!(8080), &[]),
        caller("MeshService", "web"),
    ]);
    let mut zone = Zone::new("east", resources);
    let caller = zone.generate(&key("caller"), None).unwrap();
    let cluster = json(&caller, CLUSTER, "default_web___msvc_80");
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert!(tls["sni"].as_str().unwrap().ends_with(".web.80.default.ms"));
    let names = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(names["matchTypedSubjectAltNames"][0]["matcher"]["exact"], "spiffe://default/web");
    let group = &json(&caller, ENDPOINT, "default_web___msvc_80")["endpoints"][0];
    assert_eq!(group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"], "10.0.0.2");
    let listener = json(&caller, LISTENER, "outbound:127.0.0.1:10080");
    let table = &listener["filterChains"][0]["filters"][0]["typedConfig"]["routeConfig"];
    assert_eq!(table["name"], "kri_msvc_default___web_main");

    let touched = zone.put(http_inbound("default", "web").address("10.0.0.3").resource());
    assert!(touched.concerns(&key("caller"), &caller.services));
    let after = zone.generate(&key("caller"), Some(&caller)).unwrap();
    assert_eq!(changed(&caller, &after), [(ENDPOINT, "default_web___msvc_80".to_owned())]);
}

#[test]
fn a_selector_without_service_follows_every_dataplane() {
    let mut service = mesh_service("web", json!("http"), &[]);
    let tandem_model::Spec::Json(spec) = &mut service.spec else { panic!("a kind in JSON") };
    spec["selector"] = json!({"dataplaneTags": {"version": "v1"}});
    let mut zone = Zone::new("east", [mesh("default").resource(), service, caller("MeshService", "web")]);
    let before = zone.generate(&key("caller"), None).unwrap();
    assert!(json(&before, ENDPOINT, "default_web___msvc_80")["endpoints"].is_null());
    let mut web = dataplane("default", "web-1").inbound_with(8080, &[("kuma.io/service", "web"), ("version", "v1")]);
    web.spec.networking.as_mut().unwrap().inbound[0].name = "http".into();
    let touched = zone.put(web.resource());
    assert!(touched.concerns(&key("caller"), &before.services));
    let after = zone.generate(&key("caller"), Some(&before)).unwrap();
    assert_eq!(changed(&before, &after), [(ENDPOINT, "default_web___msvc_80".to_owned())]);
}

#[test]
fn a_mesh_service_of_another_zone_is_behind_its_ingress() {
    let labels = [("kuma.io/origin", "global"), ("kuma.io/zone", "west"), ("kuma.io/display-name", "echo")];
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([
        Resource {
            key: ResourceKey::new(Kind::MeshService, "default", "echo-hash"),
            ..mesh_service("echo", json!(80), &labels)
        },
        remote_ingress("198.51.100.7", "ingress-west", "west", &[]),
        remote_ingress("10.0.0.8", "ingress", "", &[]),
    ]);
    let multi_zone = json!({"selector": {"meshService": {}}, "ports": [{"port": 80, "appProtocol": "http"}]});
    let mut multi_zone =
        Resource::from_json(ResourceKey::new(Kind::MeshMultiZoneService, "default", "all"), multi_zone);
    multi_zone.status = Some(json!({
        "meshServices": [{"name": "echo", "namespace": "", "zone": "west", "mesh": "default"}],
    }));
    resources.extend([multi_zone, caller("MeshMultiZoneService", "all")]);
    let zone = Zone::new("east", resources);
    let caller = zone.generate(&key("caller"), None).unwrap();
    let cluster = json(&caller, CLUSTER, "default_all___mzsvc_80");
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert!(tls["sni"].as_str().unwrap().ends_with(".all.80.default.mzms"));
    let names = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(names["matchTypedSubjectAltNames"][0]["matcher"]["exact"], "spiffe://default/echo");
    let group = &json(&caller, ENDPOINT, "default_all___mzsvc_80")["endpoints"][0];
    assert_eq!((&group["priority"], &group["locality"]["zone"]), (&json!(1), &json!("west")));
    assert_eq!(group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"], "198.51.100.7");

    let ingress = zone.generate(&ResourceKey::global(Kind::ZoneIngress, "ingress"), None).unwrap();
    let clusters = names_without_admin(&ingress);
    assert_eq!(clusters, ["default_all___mzsvc_80"], "what another zone owns is not offered");
}

fn names_without_admin(generated: &Generated) -> Vec<&str> {
    names(generated, CLUSTER).into_iter().filter(|name| !name.starts_with("kuma:")).collect()
}

#[test]
fn with_redirection_destinations_are_at_their_virtual_addresses() {
    use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::ReachableBackends;
    let mut client = http_inbound("default", "client").outbound(10001, "ignored");
    let redirection =
        TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() };
    client.spec.networking.as_mut().unwrap().transparent_proxying = Some(redirection);
    let mut zone =
        Zone::new("east", [mesh("default").resource(), mesh_service("web", json!(8080), &[]), client.resource()]);
    let metadata = crate::ProxyMetadata { dns_port: 15053, ..metadata() };
    let generate = |zone: &Zone| zone.generate_with(&key("client"), &metadata, &BTreeMap::new(), None).unwrap();
    let generated = generate(&zone);
    let outbounds = |generated: &Generated| -> Vec<String> {
        let listeners = names(generated, LISTENER).into_iter().filter(|name| name.starts_with("outbound:2"));
        listeners.map(str::to_owned).collect()
    };
    assert_eq!(outbounds(&generated), ["outbound:241.0.0.1:80"]);
    assert_eq!(json(&generated, LISTENER, "outbound:241.0.0.1:80")["bindToPort"], false);
    let manager = &json(&generated, LISTENER, "_kuma:dynamicconfig")["filterChains"][0]["filters"][0]["typedConfig"];
    let answer = &manager["routeConfig"]["virtualHosts"][0]["routes"][1]["directResponse"];
    let names = r#"{"records":[{"name":"web.mesh","ips":["241.0.0.1","::ffff:f100:1"]}],"ttl":30}"#;
    assert_eq!(answer["body"]["inlineString"], names);

    client.spec.networking.as_mut().unwrap().transparent_proxying.as_mut().unwrap().reachable_backends =
        Some(ReachableBackends::default());
    zone.put(client.resource());
    assert!(outbounds(&generate(&zone)).is_empty(), "it asks for no backends");
}

#[test]
fn only_what_a_destination_means_to_proxies_concerns_them() {
    let mut zone = Zone::new("east", mesh("default").mtls().with_authority());
    let local = |spec: Value, status: Value| {
        let mut service = mesh_service("web", json!(8080), &[]);
        merge(&mut service, spec, status);
        service
    };
    zone.put(local(json!({}), json!({})));
    let numbers =
        json!({"dataplaneProxies": {"total": 3}, "hostnameGenerators": [{"hostnameGeneratorRef": {"coreName": "x"}}]});
    assert!(zone.put(local(json!({}), numbers)).is_empty());
    assert!(zone.put(local(json!({"state": "Unavailable"}), json!({}))).is_empty(), "its endpoints tell");
    assert!(!zone.put(local(json!({}), json!({"vips": [{"ip": "241.0.0.2"}]}))).is_empty());
    assert!(!zone.put(local(json!({}), json!({"addresses": [{"hostname": "another"}]}))).is_empty());
    assert!(!zone.put(local(json!({}), json!({"tls": {"status": "Ready"}}))).is_empty());
    assert!(!zone.put(local(json!({"identities": []}), json!({}))).is_empty());

    let remote = |spec: Value| {
        let labels = [("kuma.io/origin", "global"), ("kuma.io/zone", "west"), ("kuma.io/display-name", "web")];
        let mut service = mesh_service("web-hash", json!(8080), &labels);
        merge(&mut service, spec, json!({}));
        service
    };
    zone.put(remote(json!({})));
    assert!(!zone.put(remote(json!({"state": "Unavailable"}))).is_empty());
    assert!(zone.put(remote(json!({"state": "Unavailable"}))).is_empty());
}

/// Sets members of specification and status.
fn merge(resource: &mut Resource, spec: Value, status: Value) {
    let tandem_model::Spec::Json(encoded) = &mut resource.spec else { panic!("{} is not JSON", resource.key) };
    for (target, members) in [(encoded, spec), (resource.status.as_mut().unwrap(), status)] {
        target.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    }
}
