//! Sidecars to which connections are redirected.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::IpFamilyMode;
use tandem_proto::mesh::v1alpha1::dataplane::{Probes, probes};

use super::{CLUSTER, LISTENER, SECRET, key};
use crate::metadata::{Features, ProxyMetadata};
use crate::testing::{DataplaneBuilder, Zone, dataplane, json, mesh, metadata, names};
use crate::{Generated, Identity, Touched};

fn redirected(mut builder: DataplaneBuilder, edit: impl FnOnce(&mut TransparentProxying)) -> DataplaneBuilder {
    let mut section =
        TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() };
    edit(&mut section);
    builder.spec.networking.as_mut().expect("set by dataplane()").transparent_proxying = Some(section);
    builder
}

fn headless(services: &[&str]) -> DataplaneBuilder {
    let services = services.iter().map(|&service| service.to_owned()).collect();
    redirected(dataplane("default", "web").inbound(8080, "web"), |section| section.direct_access_services = services)
}

fn cassandra(address: &str, ready: bool) -> DataplaneBuilder {
    let mut builder = dataplane("default", "cassandra").address(address).inbound(9042, "cassandra");
    let inbound = &mut builder.spec.networking.as_mut().expect("set by dataplane()").inbound[0];
    inbound.health = Some(tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::Health { ready });
    builder
}

/// Names of the resources for direct access.
fn direct(generated: &Generated) -> Vec<String> {
    let all = [names(generated, CLUSTER), names(generated, LISTENER)].concat();
    all.into_iter().filter(|name| name.starts_with("direct_access")).map(str::to_owned).collect()
}

fn concerns(touched: &Touched, generated: &Generated) -> bool {
    touched.concerns(&key("web"), &generated.services)
}

#[test]
fn other_proxies_are_reached_at_their_addresses_under_mutual_tls() {
    let mut zone = Zone::new("east", mesh("default").mtls().with_authority());
    zone.put(headless(&["cassandra"]).resource());
    zone.put(cassandra("10.0.0.2", false).resource());
    zone.put(dataplane("default", "other").address("10.0.0.3").inbound(80, "other").resource());
    let web = zone.generate(&key("web"), None).unwrap();
    assert_eq!(direct(&web), ["direct_access", "direct_access_10.0.0.2:9042"]);
    let listener = json(&web, LISTENER, "direct_access_10.0.0.2:9042");
    assert_eq!(listener["bindToPort"], false);
    assert_eq!(listener["filterChains"][0]["filters"][0]["typedConfig"]["cluster"], "direct_access");
    let cluster = json(&web, CLUSTER, "direct_access");
    assert_eq!((&cluster["type"], &cluster["lbPolicy"]), (&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED")));
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert!(tls["sni"].is_null(), "nobody knows which service is behind an address");
    let names_of_peer = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(names_of_peer["matchTypedSubjectAltNames"][0]["matcher"]["prefix"], "spiffe://default/");
    assert_eq!(names(&web, SECRET), ["identity_cert:secret:default", "mesh_ca:secret:default"]);
}

#[test]
fn who_reaches_proxies_at_their_addresses_hears_of_new_ones_and_nobody_else_does() {
    let mut zone = Zone::new("east", [mesh("default").resource(), headless(&["cassandra"]).resource()]);
    let web = zone.generate(&key("web"), None).unwrap();
    assert_eq!(direct(&web), ["direct_access"]);

    assert!(concerns(&zone.put(cassandra("10.0.0.2", false).resource()), &web));
    let web = zone.generate(&key("web"), Some(&web)).unwrap();
    assert_eq!(direct(&web), ["direct_access", "direct_access_10.0.0.2:9042"]);

    assert!(!concerns(&zone.put(cassandra("10.0.0.2", true).resource()), &web), "readiness changes nothing for it");
    assert!(!concerns(&zone.put(dataplane("default", "other").inbound(80, "other").resource()), &web));
    assert!(concerns(&zone.put(cassandra("10.0.0.4", true).resource()), &web));
    let web = zone.generate(&key("web"), Some(&web)).unwrap();
    assert_eq!(direct(&web), ["direct_access", "direct_access_10.0.0.4:9042"]);

    zone.put(headless(&["*"]).resource());
    let web = zone.generate(&key("web"), Some(&web)).unwrap();
    assert_eq!(direct(&web), ["direct_access", "direct_access_10.0.0.1:80", "direct_access_10.0.0.4:9042"]);
    assert!(concerns(&zone.put(dataplane("default", "third").address("10.0.0.5").inbound(80, "a").resource()), &web));
}

#[test]
fn without_redirection_there_is_no_direct_access() {
    let own = redirected(dataplane("default", "web").inbound(8080, "web"), |section| {
        *section = TransparentProxying { direct_access_services: vec!["*".to_owned()], ..Default::default() };
    });
    let zone = Zone::new("east", [mesh("default").resource(), own.resource(), cassandra("10.0.0.2", true).resource()]);
    assert!(direct(&zone.generate(&key("web"), None).unwrap()).is_empty());
}

fn with_probe() -> DataplaneBuilder {
    let mut builder = redirected(dataplane("default", "web").inbound(8080, "web"), |_| ());
    let endpoint = probes::Endpoint { inbound_port: 8080, inbound_path: "/ready".into(), path: "/8080/ready".into() };
    builder.spec.probes = Some(Probes { port: 9000, endpoints: vec![endpoint] });
    builder
}

fn generate(zone: &Zone, metadata: &ProxyMetadata) -> Generated {
    let identity = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = [("default".to_owned(), Arc::new(identity))].into();
    zone.generate_with(&key("web"), metadata, &identities, None).unwrap()
}

#[test]
fn probes_are_answered_by_envoy_unless_kuma_dp_does() {
    let zone = Zone::new("east", [mesh("default").resource(), with_probe().resource()]);
    let web = generate(&zone, &metadata());
    let listener = json(&web, LISTENER, "probe:listener");
    assert_eq!(listener["address"]["socketAddress"], json!({"address": "10.0.0.1", "portValue": 9000}));
    assert_eq!(listener["bindToPort"], false);
    let manager = &listener["filterChains"][0]["filters"][0]["typedConfig"];
    let route = &manager["routeConfig"]["virtualHosts"][0]["routes"][0];
    assert_eq!(route["match"]["path"], "/8080/ready");
    assert_eq!(route["route"]["cluster"], "localhost:8080");
    let by_kuma_dp = ProxyMetadata { app_probe_proxy: true, ..metadata() };
    assert!(!names(&generate(&zone, &by_kuma_dp), LISTENER).contains(&"probe:listener"));
}

/// Names of the listeners for redirected connections with these ports and families.
fn passthrough(inbound: u32, outbound: u32, family: IpFamilyMode, address: &str) -> Vec<String> {
    let own = redirected(dataplane("default", "web").address(address).inbound(8080, "web"), |section| {
        section.redirect_port_inbound = inbound;
        section.redirect_port_outbound = outbound;
        section.set_ip_family_mode(family);
    });
    let zone = Zone::new("east", [mesh("default").resource(), own.resource()]);
    let web = generate(&zone, &metadata());
    names(&web, LISTENER).into_iter().filter(|name| name.contains("passthrough")).map(str::to_owned).collect()
}

#[test]
fn connections_are_taken_in_the_directions_and_families_that_are_redirected() {
    let all = [
        "inbound:passthrough:ipv4",
        "inbound:passthrough:ipv6",
        "outbound:passthrough:ipv4",
        "outbound:passthrough:ipv6",
    ];
    let ipv4 = ["inbound:passthrough:ipv4", "outbound:passthrough:ipv4"];
    for (family, expected) in
        [(IpFamilyMode::UnSpecified, &all[..]), (IpFamilyMode::DualStack, &all[..]), (IpFamilyMode::IPv4, &ipv4[..])]
    {
        assert_eq!(passthrough(15006, 15001, family, "10.0.0.1"), expected);
    }
    // IPv4 alone is redirected on a host of which the mesh knows an IPv6 address.
    assert_eq!(passthrough(15006, 15001, IpFamilyMode::IPv4, "fd00::1"), ipv4);
    assert!(passthrough(0, 0, IpFamilyMode::DualStack, "10.0.0.1").is_empty());
    assert_eq!(passthrough(0, 15001, IpFamilyMode::IPv4, "10.0.0.1"), ["outbound:passthrough:ipv4"]);
    assert_eq!(passthrough(15006, 0, IpFamilyMode::IPv4, "10.0.0.1"), ["inbound:passthrough:ipv4"]);
}

#[test]
fn outbounds_that_are_bound_listen_although_connections_are_redirected() {
    let own = redirected(dataplane("default", "web").inbound(8080, "web"), |_| ());
    let zone = Zone::new("east", [mesh("default").resource(), own.resource(), vip("backend")]);
    let binding = |features: &[&str]| {
        let metadata = ProxyMetadata { features: Features::from_names(features.iter().copied()), ..metadata() };
        json(&generate(&zone, &metadata), LISTENER, OUTBOUND)["bindToPort"].clone()
    };
    assert_eq!(binding(&[]), false);
    assert!(binding(&["feature-bind-outbounds"]).is_null());
}

/// Listener of the service of [`vip`] for a proxy that names resources as always.
const OUTBOUND: &str = "outbound:241.0.0.1:80";

/// A MeshService with a virtual address.
fn vip(name: &str) -> tandem_model::Resource {
    let key = ResourceKey::new(tandem_model::Kind::MeshService, "default", name);
    let spec = json!({"selector": {"dataplaneTags": {"kuma.io/service": name}}, "ports": [{"port": 80}]});
    let mut service = tandem_model::Resource::from_json(key, spec);
    service.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
    service
}

#[test]
fn where_mutual_tls_is_strict_connections_go_to_declared_ports_and_from_the_reserved_one_nowhere() {
    let own = redirected(dataplane("default", "web").inbound(8080, "web").inbound(49151, "web"), |_| ());
    let mut zone = Zone::new("east", mesh("default").mtls().with_authority());
    zone.put(own.resource());
    let clusters_by_port = |zone: &Zone, features: &[&str]| {
        let metadata = ProxyMetadata { features: Features::from_names(features.iter().copied()), ..metadata() };
        let web = generate(zone, &metadata);
        let chains = json(&web, LISTENER, "inbound:passthrough:ipv4")["filterChains"].clone();
        let chains = chains.as_array().expect("a list").clone();
        let cluster = |chain: &Value| chain["filters"][0]["typedConfig"]["cluster"].clone();
        chains.iter().map(|chain| (chain["filterChainMatch"]["destinationPort"].clone(), cluster(chain))).collect()
    };
    const STRICT: &str = "feature-strict-inbound-ports";
    let passes = json!("inbound:passthrough:ipv4");
    let declared: Vec<(Value, Value)> = clusters_by_port(&zone, &[STRICT]);
    assert_eq!(declared, [(json!(8080), passes.clone()), (json!(49151), json!(super::super::names::NO_DESTINATION))]);
    // A proxy that does not know of it takes all ports, and so does one that still takes plain text.
    assert_eq!(clusters_by_port(&zone, &[]), [(Value::Null, passes.clone())]);
    zone.put(mesh("default").mtls().permissive().resource());
    assert_eq!(clusters_by_port(&zone, &[STRICT]), [(Value::Null, passes)]);
}
