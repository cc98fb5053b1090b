mod clashes;
mod destinations;
mod faults;
mod load_balancing;
mod mesh_external_service;
mod mesh_metric;
mod mesh_passthrough;
mod observability;
mod older_policies;
mod outside;
mod preview;
mod redirected;
mod reporting;
mod routes;
mod security;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::InboundFacts;

use super::credential::Credential;
use super::inbound::{InboundMode, InboundRules, InboundSource, drafts, encoded};
use super::names::Naming;
use crate::cache::ByAddress;
use crate::testing::{
    DataplaneBuilder, Zone, dataplane, egress, envoy_json, for_all, json, mesh, metadata, names, remote_ingress,
};
use crate::{GenerateError, Generated, ResourceType};

const CLUSTER: ResourceType = ResourceType::Cluster;
const ENDPOINT: ResourceType = ResourceType::Endpoint;
const LISTENER: ResourceType = ResourceType::Listener;
const SECRET: ResourceType = ResourceType::Secret;

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "default", name)
}

fn permission(action: &str) -> Resource {
    for_all(Kind::MeshTrafficPermission, "default", "permission", "from", json!({"action": action}))
}

fn http_inbound(mesh: &str, name: &str) -> DataplaneBuilder {
    let tags = [("kuma.io/service", name), ("kuma.io/protocol", "http"), ("kuma.io/zone", "east")];
    dataplane(mesh, name).inbound_with(8080, &tags)
}

/// One mesh with mutual TLS: `client` here, `echo` in zone `west`, reached through the egress.
fn demo() -> Zone {
    let mut resources = mesh("default").mtls().zone_egress().locality_aware().with_authority();
    resources.extend([
        permission("Allow"),
        for_all(Kind::MeshTimeout, "default", "timeouts", "to", json!({"connectionTimeout": "7s"})),
        for_all(Kind::MeshRetry, "default", "retries", "to", json!({"http": {"numRetries": 3}})),
        http_inbound("default", "client").outbound(10001, "echo").resource(),
        remote_ingress("198.51.100.7", "ingress-west", "west", &[("default", "echo", 2)]),
        remote_ingress("10.0.0.8", "ingress", "", &[("default", "client", 1)]),
        egress("egress"),
    ]);
    Zone::new("east", resources)
}

#[test]
fn a_sidecar_of_the_demo() {
    let zone = demo();
    let client = zone.generate(&key("client"), None).unwrap();
    assert_eq!(names(&client, CLUSTER), ["echo", "kuma:envoy:admin", "kuma:readiness", "localhost:8080"]);
    assert_eq!(names(&client, LISTENER), ["inbound:10.0.0.1:8080", "kuma:envoy:admin", "outbound:127.0.0.1:10001"]);
    assert_eq!(names(&client, ENDPOINT), ["echo"]);
    assert_eq!(names(&client, SECRET), ["identity_cert:secret:default", "mesh_ca:secret:default"]);
    assert_eq!(*client.services, BTreeSet::from([("default".to_owned(), "echo".to_owned())]));

    let cluster = json(&client, CLUSTER, "echo");
    assert_eq!(cluster["connectTimeout"], "7s");
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert_eq!(tls["sni"], "echo{mesh=default}");
    assert_eq!(tls["commonTlsContext"]["alpnProtocols"], json!(["kuma"]));
    let names = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(names["matchTypedSubjectAltNames"][0]["matcher"]["exact"], "spiffe://default/echo");

    let group = &json(&client, ENDPOINT, "echo")["endpoints"][0];
    assert_eq!((&group["priority"], &group["locality"]["zone"]), (&json!(1), &json!("west")));
    let address = &group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"];
    assert_eq!(*address, json!({"address": "10.0.0.9", "portValue": 10002}));

    let manager = &json(&client, LISTENER, "outbound:127.0.0.1:10001")["filterChains"][0]["filters"][0]["typedConfig"];
    let route = &manager["routeConfig"]["virtualHosts"][0]["routes"][0];
    assert_eq!(route["name"], super::names::CATCH_ALL_ROUTE);
    assert_eq!(route["route"]["retryPolicy"]["numRetries"], 3);
    let secret = json(&client, SECRET, "mesh_ca:secret:default");
    assert!(secret["validationContext"]["trustedCa"]["inlineBytes"].is_string());
}

#[test]
fn zone_proxies_of_the_demo() {
    let zone = demo();
    let ingress = zone.generate(&ResourceKey::global(Kind::ZoneIngress, "ingress"), None).unwrap();
    assert_eq!(names(&ingress, CLUSTER), ["default:client", "kuma:envoy:admin", "kuma:readiness"]);
    let chains = &json(&ingress, LISTENER, "inbound:10.0.0.8:10001")["filterChains"];
    assert_eq!(chains[0]["filterChainMatch"]["serverNames"], json!(["client{mesh=default}"]));
    assert!(names(&ingress, SECRET).is_empty());

    let egress = zone.generate(&ResourceKey::global(Kind::ZoneEgress, "egress"), None).unwrap();
    assert_eq!(names(&egress, CLUSTER), ["default:echo", "kuma:envoy:admin", "kuma:readiness"]);
    let group = &json(&egress, ENDPOINT, "default:echo")["endpoints"][0];
    assert_eq!(group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"], "198.51.100.7");
    assert_eq!(group["lbEndpoints"][0]["loadBalancingWeight"], 2);
    assert_eq!(group["lbEndpoints"][0]["metadata"]["filterMetadata"]["envoy.lb"]["mesh"], "default");
    let chains = &json(&egress, LISTENER, "inbound:10.0.0.9:10002")["filterChains"];
    assert_eq!(chains[0]["filterChainMatch"]["serverNames"], json!(["echo{mesh=default}"]));
}

fn permissions(generated: &Generated) -> Value {
    let listener = json(generated, LISTENER, "inbound:10.0.0.1:8080");
    let filters = &listener["filterChains"][0]["filters"];
    assert_eq!(filters.as_array().unwrap().len(), 1, "requests are permitted by the filter of the connection manager");
    let filter = &filters[0]["typedConfig"]["httpFilters"][0];
    assert_eq!(filter["name"], "envoy.filters.http.rbac");
    filter["typedConfig"]["rules"].clone()
}

#[test]
fn nothing_is_permitted_until_a_policy_says_so() {
    let resources =
        mesh("default").mtls().with_authority().into_iter().chain([http_inbound("default", "web").resource()]);
    let mut zone = Zone::new("east", resources);
    assert_eq!(permissions(&zone.generate(&key("web"), None).unwrap()), json!({}));
    zone.put(permission("Allow"));
    let allowed = permissions(&zone.generate(&key("web"), None).unwrap());
    assert_eq!(allowed["policies"]["MeshTrafficPermission"]["principals"], json!([{"any": true}]));
    zone.put(permission("Deny"));
    assert_eq!(permissions(&zone.generate(&key("web"), None).unwrap()), json!({}));
}

#[test]
fn without_mutual_tls_there_are_no_secrets() {
    let web = http_inbound("default", "web").outbound(10001, "web").resource();
    let zone = Zone::new("east", [mesh("default").resource(), web]);
    let web = zone.generate(&key("web"), None).unwrap();
    assert!(names(&web, SECRET).is_empty());
    assert!(json(&web, CLUSTER, "web")["transportSocket"].is_null());
    assert!(json(&web, LISTENER, "inbound:10.0.0.1:8080")["filterChains"][0]["transportSocket"].is_null());
}

#[test]
fn where_plain_text_is_accepted_tls_is_spoken_to_those_ready_for_it() {
    use tandem_proto::mesh::v1alpha1::ServiceInsight;
    use tandem_proto::mesh::v1alpha1::service_insight::{Service, service::DataplaneStat};
    let mut resources = mesh("default").mtls().permissive().with_authority();
    resources.push(http_inbound("default", "web").outbound(10001, "web").resource());
    let mut zone = Zone::new("east", resources);
    let web = zone.generate(&key("web"), None).unwrap();
    assert!(json(&web, CLUSTER, "web")["transportSocket"].is_null());
    assert_eq!(json(&web, LISTENER, "inbound:10.0.0.1:8080")["filterChains"].as_array().map(Vec::len), Some(3));

    let dataplanes = Some(DataplaneStat { total: 1, online: 1, offline: 0 });
    let service = Service { dataplanes, issued_backends: [("ca-1".to_owned(), 1)].into(), ..Service::default() };
    let insight = ServiceInsight { services: [("web".to_owned(), service)].into() };
    let insight_key = ResourceKey::new(Kind::ServiceInsight, "default", "all-services-default");
    let touched = zone.put(Resource::from_proto(insight_key, &insight));
    assert!(touched.concerns(&key("web"), &web.services));
    let web = zone.generate(&key("web"), Some(&web)).unwrap();
    assert!(json(&web, CLUSTER, "web")["transportSocket"].is_object());
}

#[test]
fn meshes_do_not_see_each_other() {
    let mut resources = mesh("red").mtls().with_authority();
    resources.extend(mesh("blue").mtls().with_authority());
    resources.push(http_inbound("red", "web").resource());
    resources.push(http_inbound("blue", "client").outbound(10001, "web").resource());
    resources.push(remote_ingress("198.51.100.7", "ingress-west", "west", &[("red", "web", 1)]));
    let zone = Zone::new("east", resources);
    let client = zone.generate(&ResourceKey::new(Kind::Dataplane, "blue", "client"), None).unwrap();
    assert_eq!(names(&client, SECRET), ["identity_cert:secret:blue", "mesh_ca:secret:blue"]);
    assert!(
        json(&client, ENDPOINT, "web")["endpoints"].is_null(),
        "the service of the other mesh has no endpoints here"
    );
    let cluster = json(&client, CLUSTER, "web");
    assert_eq!(cluster["transportSocket"]["typedConfig"]["sni"], "web{mesh=blue}");
    let text =
        format!("{:?}", client.resources.iter().map(|(_, r)| envoy_json::any_to_json(&r.body)).collect::<Vec<_>>());
    assert!(!text.contains("red"));
}

/// Types and names of the resources that differ.
fn changed(before: &Generated, after: &Generated) -> Vec<(ResourceType, String)> {
    let differs = |(kind, new): &(ResourceType, &Arc<crate::Encoded>)| {
        before.resources.get(*kind, &new.name).is_none_or(|old| old.version != new.version)
    };
    after.resources.iter().filter(differs).map(|(kind, new)| (kind, new.name.to_string())).collect()
}

#[test]
fn what_did_not_change_is_taken_over() {
    let mut zone = demo();
    let before = zone.generate(&key("client"), None).unwrap();
    let again = zone.generate(&key("client"), Some(&before)).unwrap();
    for ((_, old), (_, new)) in before.resources.iter().zip(again.resources.iter()) {
        assert!(Arc::ptr_eq(old, new), "{}", new.name);
    }
    let touched = zone.put(remote_ingress(
        "198.51.100.7",
        "ingress-west",
        "west",
        &[("default", "echo", 2), ("default", "new", 1)],
    ));
    assert!(!touched.concerns(&key("client"), &again.services));
    zone.put(http_inbound("default", "echo").address("10.0.0.2").resource());
    let after = zone.generate(&key("client"), Some(&again)).unwrap();
    assert_eq!(changed(&again, &after), [(ENDPOINT, "echo".to_owned())]);
}

#[test]
fn a_policy_changes_what_it_is_about() {
    let mut zone = demo();
    let before = zone.generate(&key("client"), None).unwrap();
    zone.put(permission("Deny"));
    let denied = zone.generate(&key("client"), Some(&before)).unwrap();
    assert_eq!(changed(&before, &denied), [(LISTENER, "inbound:10.0.0.1:8080".to_owned())]);
    zone.put(for_all(Kind::MeshTimeout, "default", "timeouts", "to", json!({"connectionTimeout": "9s"})));
    let slower = zone.generate(&key("client"), Some(&denied)).unwrap();
    assert_eq!(changed(&denied, &slower), [(CLUSTER, "echo".to_owned())]);
    let inbound = |generated: &Generated| generated.resources.get(LISTENER, "inbound:10.0.0.1:8080").cloned().unwrap();
    assert!(Arc::ptr_eq(&inbound(&denied), &inbound(&slower)), "policies of other traffic leave the inbound alone");
}

#[test]
fn proxies_share_what_is_equal() {
    let mut zone = demo();
    zone.put(http_inbound("default", "other").address("10.0.0.3").outbound(10001, "echo").resource());
    let (one, other) = (zone.generate(&key("client"), None).unwrap(), zone.generate(&key("other"), None).unwrap());
    for (kind, name) in [
        (CLUSTER, "echo"),
        (ENDPOINT, "echo"),
        (LISTENER, "outbound:127.0.0.1:10001"),
        (SECRET, "mesh_ca:secret:default"),
    ] {
        let resource = |generated: &Generated| generated.resources.get(kind, name).cloned().unwrap();
        assert!(Arc::ptr_eq(&resource(&one), &resource(&other)), "{name}");
    }
}

#[test]
fn the_same_state_gives_the_same_bytes() {
    let (one, other) = (demo(), demo());
    let keys = [
        key("client"),
        ResourceKey::global(Kind::ZoneIngress, "ingress"),
        ResourceKey::global(Kind::ZoneEgress, "egress"),
    ];
    for key in keys {
        let (one, other) = (one.generate(&key, None).unwrap(), other.generate(&key, None).unwrap());
        assert!(one.resources == other.resources, "{key}");
    }
}

#[test]
fn an_inbound_encoded_in_parts_is_the_whole() {
    let zone = demo();
    let snapshot = zone.index.snapshot();
    let state = snapshot.meshes.get("default").unwrap();
    let view = snapshot.dataplane("default", "client").unwrap();
    let policies = state.compiled.for_proxy(&tandem_policy::subject::Subject::new(&view.resource, &view.spec, &[]));
    for (protocol, mode, naming, address) in [
        ("http", InboundMode::Strict, Naming::Legacy, "10.0.0.1"),
        ("grpc", InboundMode::Permissive, Naming::Legacy, "10.0.0.1"),
        ("tcp", InboundMode::Strict, Naming::Legacy, "fd00::1"),
        ("http", InboundMode::Plain, Naming::Unified, "127.0.0.1"),
    ] {
        let tags = [("kuma.io/service", "web"), ("kuma.io/protocol", protocol), ("version", "v1")];
        let spec = dataplane("default", "web").address(address).inbound_with(8080, &tags).spec;
        let inbound = &spec.inbounds()[0];
        let source = InboundSource {
            mode,
            credential: Some(Credential::of_mesh(naming, "default").into()),
            interface: spec.inbound_interface(inbound),
            section: "8080".to_owned(),
            tags: inbound.tags.clone(),
            protocol: tandem_model::Protocol::parse(protocol),
            redirected: true,
            naming,
            reuse_port: true,
            ipv6: true,
        };
        let policies = policies.inbound(0);
        let has_identity = mode != InboundMode::Plain;
        let (mut cluster, mut listener) = drafts(&source, &Default::default(), &[]);
        tandem_policy::inbound_cluster(policies, source.protocol, &mut cluster);
        let security = InboundFacts { has_identity, ..Default::default() };
        tandem_policy::inbound_listener(policies, security, None, &mut listener);
        let rules = InboundRules {
            policies: ByAddress(policies.clone()),
            legacy: ByAddress(Default::default()),
            has_traffic_permission: false,
            has_identity,
            tracing: None,
            reporter: None,
        };
        let (parts, _) = encoded(&source, Vec::new, &rules, &Default::default());
        let whole = [cluster.value.encode(), listener.value.encode()];
        let messages = ["envoy.config.cluster.v3.Cluster", "envoy.config.listener.v3.Listener"];
        for ((message, whole), (_, part)) in messages.into_iter().zip(whole).zip(parts) {
            let mut part = envoy_json::any_to_json(&part.body);
            part.as_object_mut().unwrap().remove("@type");
            assert_eq!(part, envoy_json::to_json(message, &whole), "{protocol} {mode:?}");
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut zone = Zone::new("east", [http_inbound("default", "web").resource()]);
    let fails = |zone: &Zone, key: &ResourceKey| zone.generate(key, None).expect_err("something is missing");
    assert_eq!(fails(&zone, &key("nobody")), GenerateError::ProxyNotFound(key("nobody")));
    assert_eq!(fails(&zone, &key("web")), GenerateError::MeshNotFound("default".to_owned()));
    zone.put(mesh("default").mtls().resource());
    let error = fails(&zone, &key("web")).to_string();
    assert!(error.contains("default.ca-builtin-cert-ca-1"), "{error}");
    mesh("default").mtls().with_authority().into_iter().for_each(|resource| drop(zone.put(resource)));
    let without = zone.generate_with(&key("web"), &metadata(), &BTreeMap::new(), None);
    assert_eq!(without.expect_err("no identity"), GenerateError::IdentityMissing("default".to_owned()));
    let mesh_key = ResourceKey::global(Kind::Mesh, "default");
    assert_eq!(fails(&zone, &mesh_key), GenerateError::NotAProxy(mesh_key));
}

#[test]
fn a_strange_administration_address_is_refused() {
    let zone = demo();
    let strange = crate::ProxyMetadata { admin_address: "10.1.1.1".into(), ..metadata() };
    let error = zone.generate_with(&key("client"), &strange, &BTreeMap::new(), None).expect_err("not allowed");
    assert!(error.to_string().contains("10.1.1.1"), "{error}");
    let unready = crate::ProxyMetadata { readiness_port: 0, ..metadata() };
    let error = zone.generate_with(&key("client"), &unready, &BTreeMap::new(), None).expect_err("no port");
    assert_eq!(error.to_string(), "ReadinessPort has to be in (0, 65353] range");
}

#[test]
fn certificates_are_asked_for_once_per_mesh_and_tag_set() {
    let zone = demo();
    let requests = crate::identity_requests(&zone.index.snapshot(), &key("client"));
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].tags["kuma.io/service"], BTreeSet::from(["client".to_owned()]));
    assert_eq!((requests[0].mesh.as_str(), requests[0].backend.as_str()), ("default", "ca-1"));
    assert!(crate::identity_requests(&zone.index.snapshot(), &key("nobody")).is_empty());
    let egress = ResourceKey::global(Kind::ZoneEgress, "egress");
    assert!(crate::identity_requests(&zone.index.snapshot(), &egress).is_empty(), "it ends no TLS");
}

#[test]
fn a_redirected_sidecar_publishes_names_and_passes_traffic_through() {
    use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
    let mut web = http_inbound("default", "web");
    web.spec.networking.as_mut().unwrap().transparent_proxying =
        Some(TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() });
    let resources = mesh("default").mtls().with_authority().into_iter().chain([web.resource()]);
    let zone = Zone::new("east", resources);
    let metadata = crate::ProxyMetadata { dns_port: 15053, admin_port: 0, ..metadata() };
    let identity = crate::Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = BTreeMap::from([("default".to_owned(), Arc::new(identity))]);
    let web = zone.generate_with(&key("web"), &metadata, &identities, None).unwrap();
    let listeners = [
        "_kuma:dynamicconfig",
        "inbound:10.0.0.1:8080",
        "inbound:passthrough:ipv4",
        "inbound:passthrough:ipv6",
        "outbound:passthrough:ipv4",
        "outbound:passthrough:ipv6",
    ];
    assert_eq!(names(&web, LISTENER), listeners);
    assert_eq!(json(&web, LISTENER, "inbound:10.0.0.1:8080")["bindToPort"], false);
    let chains = &json(&web, LISTENER, "inbound:passthrough:ipv4")["filterChains"];
    assert_eq!(chains[0]["filterChainMatch"]["destinationPort"], 8080, "declared ports only");
}
