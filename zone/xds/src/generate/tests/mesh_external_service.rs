//! MeshExternalServices: sidecars reach them through the ZoneEgress, which stands for them.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;

use super::{CLUSTER, ENDPOINT, LISTENER, SECRET, http_inbound, key};
use crate::testing::{ClientPair, Zone, client_pair, egress, for_all, json, mesh, names};
use crate::{Generated, ResourceType};

const HTTPBIN: &str = "default_httpbin___extsvc_80";

fn service(name: &str, protocol: &str, addresses: &[&str], tls: Value) -> Resource {
    let endpoints: Vec<_> = addresses.iter().map(|address| json!({"address": address, "port": 443})).collect();
    let spec = json!({"match": {"port": 80, "protocol": protocol}, "endpoints": endpoints, "tls": tls});
    let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshExternalService, "default", name), spec);
    let address = json!({"hostname": format!("{name}.extsvc.mesh.local"), "origin": "HostnameGenerator"});
    resource.status = Some(json!({"vip": {"ip": "242.0.0.1"}, "addresses": [address]}));
    resource.with_labels([("kuma.io/display-name", name)])
}

fn httpbin(tls: Value) -> Resource {
    service("httpbin", "http", &["httpbin.org"], tls)
}

/// A Dataplane with an outbound to the MeshExternalService.
fn client() -> Resource {
    let mut builder = http_inbound("default", "client");
    let reference = tandem_proto::mesh::v1alpha1::dataplane::networking::outbound::BackendRef {
        kind: "MeshExternalService".into(),
        name: "httpbin".into(),
        port: 80,
        ..Default::default()
    };
    let networking = builder.spec.networking.as_mut().expect("has one");
    networking.outbound.push(tandem_proto::mesh::v1alpha1::dataplane::networking::Outbound {
        port: 10001,
        backend_ref: Some(reference),
        ..Default::default()
    });
    builder.resource()
}

fn world(external: Resource) -> Zone {
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([client(), external]);
    Zone::new("east", resources)
}

fn egress_key() -> ResourceKey {
    ResourceKey::global(Kind::ZoneEgress, "egress")
}

fn secret(name: &str, data: &str) -> Resource {
    let key = ResourceKey::new(Kind::Secret, "default", name);
    Resource::from_proto(key, &Secret { data: Some(data.into()) })
}

fn chains(generated: &Generated) -> Vec<Value> {
    json(generated, LISTENER, "inbound:10.0.0.9:10002")["filterChains"].as_array().cloned().unwrap_or_default()
}

#[test]
fn sidecars_reach_them_through_every_egress_of_the_zone() {
    let mut zone = world(httpbin(Value::Null));
    let alone = zone.generate(&key("client"), None).unwrap();
    assert!(json(&alone, ENDPOINT, HTTPBIN)["endpoints"].is_null(), "there is no egress yet");
    assert!(names(&alone, LISTENER).contains(&"outbound:127.0.0.1:10001"));

    let touched = zone.put(egress("egress"));
    assert!(touched.meshes.contains("default"), "its sidecars use egresses, whatever routing.zoneEgress says");
    let client = zone.generate(&key("client"), Some(&alone)).unwrap();
    let endpoint = &json(&client, ENDPOINT, HTTPBIN)["endpoints"][0]["lbEndpoints"][0];
    let address = &endpoint["endpoint"]["address"]["socketAddress"];
    assert_eq!(*address, json!({"address": "10.0.0.9", "portValue": 10002}));
    assert_eq!(endpoint["metadata"]["filterMetadata"]["envoy.lb"], json!({"kuma.io/display-name": "httpbin"}));
    let cluster = json(&client, CLUSTER, HTTPBIN);
    let options = &cluster["typedExtensionProtocolOptions"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(options["explicitHttpConfig"], json!({"httpProtocolOptions": {}}));
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert_eq!(tls["sni"], "a260442408b1a89a9.httpbin.80.default.mes");
    let peers = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(peers["matchTypedSubjectAltNames"][0]["matcher"]["exact"], "spiffe://default/zone-egress");
    let manager = &json(&client, LISTENER, "outbound:127.0.0.1:10001")["filterChains"][0]["filters"][0]["typedConfig"];
    assert_eq!(manager["routeConfig"]["virtualHosts"][0]["routes"][0]["route"]["autoHostRewrite"], true);
}

#[test]
fn the_egress_speaks_to_them() {
    let tcp = service("database", "tcp", &["192.0.2.1", "192.0.2.2"], Value::Null);
    let mixed = service("mixed", "grpc", &["192.0.2.1", "grpc.example"], Value::Null);
    let mut zone = world(httpbin(Value::Null));
    let touched = zone.put(tcp);
    assert!(touched.zone_proxies);
    zone.put(mixed);
    zone.put(egress("egress"));
    let breaker = json!({"connectionLimits": {"maxConnections": 7}});
    zone.put(for_all(Kind::MeshCircuitBreaker, "default", "limits", "to", breaker));
    let requests = crate::identity_requests(&zone.index.snapshot(), &egress_key());
    assert_eq!(requests.len(), 1, "the egress ends TLS for the mesh");
    let generated = zone.generate(&egress_key(), None).unwrap();
    assert_eq!(names(&generated, SECRET), ["identity_cert:secret:default", "mesh_ca:secret:default"]);

    let discovery = |name: &str| json(&generated, CLUSTER, name)["type"].clone();
    assert_eq!(discovery(HTTPBIN), "STRICT_DNS");
    assert_eq!(discovery("default_database___extsvc_80"), "STATIC");
    assert_eq!(discovery("default_mixed___extsvc_80"), "STRICT_DNS");
    let thresholds = &json(&generated, CLUSTER, HTTPBIN)["circuitBreakers"]["thresholds"][0];
    assert_eq!(thresholds["maxConnections"], 7);

    let chains = chains(&generated);
    let chain_names: Vec<_> = chains.iter().map(|chain| chain["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(chain_names, ["default_database___extsvc_80", HTTPBIN, "default_mixed___extsvc_80"]);
    let filters = |index: usize| chains[index]["filters"].as_array().cloned().unwrap_or_default();
    let network: Vec<_> = filters(0).iter().map(|filter| filter["name"].clone()).collect();
    assert_eq!(network, ["envoy.filters.network.rbac", "envoy.filters.network.tcp_proxy"]);
    assert_eq!(filters(0)[0]["typedConfig"]["statPrefix"], "inbound_10_0_0_9_10002.");
    let http = &filters(1)[0]["typedConfig"]["httpFilters"][0];
    let policies = &http["typedConfig"]["rules"]["policies"]["MeshTrafficPermission"];
    assert_eq!(policies["principals"], json!([{"any": true}]), "without MeshTrafficPermission everybody may use them");
}

#[test]
fn a_mesh_can_forbid_them() {
    let mut zone = world(httpbin(Value::Null));
    zone.put(egress("egress"));
    let allowed = zone.generate(&egress_key(), None).unwrap();
    let mut forbidding = mesh("default").mtls();
    forbidding.spec.routing.get_or_insert_default().default_forbid_mesh_external_service_access = true;
    assert!(zone.put(forbidding.resource()).zone_proxies);
    let forbidden = zone.generate(&egress_key(), Some(&allowed)).unwrap();
    let rules = |generated: &Generated| {
        chains(generated)[0]["filters"][0]["typedConfig"]["httpFilters"][0]["typedConfig"]["rules"].clone()
    };
    assert!(rules(&allowed)["policies"].is_object());
    assert_eq!(rules(&forbidden), json!({}), "nobody");
    zone.put(mesh("default").mtls().resource());
    let again = zone.generate(&egress_key(), Some(&forbidden)).unwrap();
    assert_eq!(rules(&again), rules(&allowed));
}

#[test]
fn those_of_another_zone_are_not_reached_from_here() {
    let of =
        |zone: &str| httpbin(Value::Null).with_labels([("kuma.io/display-name", "httpbin"), ("kuma.io/zone", zone)]);
    let mut zone = world(of("west"));
    zone.put(egress("egress"));
    let generated = zone.generate(&egress_key(), None).unwrap();
    assert_eq!(names(&generated, LISTENER), ["kuma:envoy:admin"]);
    assert!(crate::identity_requests(&zone.index.snapshot(), &egress_key()).is_empty());
    zone.put(of("east"));
    let generated = zone.generate(&egress_key(), None).unwrap();
    assert_eq!(chains(&generated).len(), 1);
    let cluster = json(&generated, CLUSTER, "default_httpbin__east_extsvc_80");
    assert_eq!(cluster["loadAssignment"]["endpoints"][0]["locality"]["zone"], "east");
}

/// The TLS context of the one socket of the service on the egress.
fn context(zone: &Zone, system_authority: &str) -> Value {
    let metadata = crate::ProxyMetadata { system_ca_path: system_authority.to_owned(), ..crate::testing::metadata() };
    let identity = crate::Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = [("default".to_owned(), std::sync::Arc::new(identity))].into();
    let generated = zone.generate_with(&egress_key(), &metadata, &identities, None).unwrap();
    assert_eq!(generated.warnings, []);
    let socket = json(&generated, CLUSTER, HTTPBIN)["transportSocketMatches"][0].clone();
    assert!(socket["match"].is_null(), "for all endpoints");
    socket["transportSocket"]["typedConfig"].clone()
}

#[test]
fn tls_is_as_the_resource_says() {
    let ClientPair { chain, key } = client_pair();
    let mut zone = world(httpbin(json!({"enabled": true})));
    zone.put(egress("egress"));
    let plain = context(&zone, "/etc/authorities.pem");
    assert_eq!(plain["sni"], "httpbin.org");
    let validation = &plain["commonTlsContext"]["validationContext"];
    assert_eq!(validation["trustedCa"], json!({"filename": "/etc/authorities.pem"}));
    let names = |context: &Value| {
        let names = context["commonTlsContext"]["validationContext"]["matchTypedSubjectAltNames"].as_array().cloned();
        let text = |name: Value| format!("{} {}", name["sanType"].as_str().unwrap_or_default(), name["matcher"]);
        names.unwrap_or_default().into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(names(&plain), [r#"DNS {"exact":"httpbin.org"}"#, r#"IP_ADDRESS {"exact":"httpbin.org"}"#]);

    zone.put(secret("key", key));
    let verification = json!({
        "serverName": "a.example", "subjectAltNames": [{"type": "Prefix", "value": "b."}],
        "caCert": {"inlineString": chain}, "clientCert": {"inlineString": chain}, "clientKey": {"secret": "key"}
    });
    let version = json!({"min": "TLS12", "max": "TLS13"});
    let tls = json!({"enabled": true, "allowRenegotiation": true, "version": version, "verification": verification});
    zone.put(httpbin(tls));
    let full = context(&zone, "/etc/authorities.pem");
    assert_eq!((&full["sni"], &full["allowRenegotiation"]), (&json!("a.example"), &json!(true)));
    let common = &full["commonTlsContext"];
    let versions = json!({"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"});
    assert_eq!(common["tlsParams"], versions);
    assert!(common["tlsCertificates"][0]["privateKey"]["inlineBytes"].is_string());
    assert!(common["validationContext"]["trustedCa"]["inlineBytes"].is_string());
    let expected = [
        r#"DNS {"exact":"a.example"}"#,
        r#"IP_ADDRESS {"exact":"a.example"}"#,
        r#"DNS {"prefix":"b."}"#,
        r#"IP_ADDRESS {"prefix":"b."}"#,
    ];
    assert_eq!(names(&full), expected);

    zone.put(httpbin(json!({"enabled": true, "verification": {"mode": "SkipAll"}})));
    let skip = context(&zone, "/etc/authorities.pem");
    assert!(skip["commonTlsContext"].is_null() && skip["sni"] == "httpbin.org", "{skip}");
    zone.put(httpbin(json!({"enabled": true, "verification": {"mode": "SkipSAN"}})));
    let any_name = context(&zone, "/etc/authorities.pem");
    assert!(names(&any_name).is_empty() && any_name["commonTlsContext"]["validationContext"]["trustedCa"].is_object());
}

#[test]
fn one_that_cannot_be_configured_is_left_out_alone_until_it_can() {
    let ClientPair { chain, .. } = client_pair();
    let mut zone = world(service("database", "tcp", &["192.0.2.1"], Value::Null));
    zone.put(egress("egress"));
    let touched = zone.put(httpbin(json!({"enabled": true, "verification": {"caCert": {"secret": "authority"}}})));
    assert!(touched.meshes.contains("default"));
    let problem = r#"spec.tls.verification.caCert: the mesh has no secret "authority""#;
    let of_service = ResourceKey::new(Kind::MeshExternalService, "default", "httpbin");
    assert_eq!(zone.index.snapshot().problems_of(&of_service), [problem]);
    for proxy in [egress_key(), key("client")] {
        let generated = zone.generate(&proxy, None).unwrap();
        let warning = &generated.warnings[0];
        assert_eq!((&warning.resource, warning.reason.as_str()), (&Some(of_service.clone()), problem), "{proxy}");
    }
    let without = zone.generate(&egress_key(), None).unwrap();
    assert_eq!(chains(&without).len(), 1);
    assert_eq!(chains(&without)[0]["name"], "default_database___extsvc_80");

    // A secret that is not used concerns nobody, a wrong one is told, a right one mends it.
    assert!(zone.put(secret("other", chain)).is_empty());
    zone.put(secret("authority", "nothing"));
    assert!(zone.index.snapshot().problems_of(&of_service)[0].contains("no certificate"));
    let touched = zone.put(secret("authority", chain));
    assert!(touched.zone_proxies && touched.meshes.contains("default"));
    assert!(zone.index.snapshot().problems_of(&of_service).is_empty());
    let with = zone.generate(&egress_key(), Some(&without)).unwrap();
    assert_eq!((chains(&with).len(), with.warnings.len()), (2, 0));

    let unknown = zone.put(service("httpbin", "smtp", &["httpbin.org"], Value::Null));
    assert!(unknown.zone_proxies);
    assert!(zone.index.snapshot().problems_of(&of_service)[0].contains("match.protocol"));
    let without = zone.generate(&egress_key(), Some(&with)).unwrap();
    assert_eq!(chains(&without).len(), 1);
}

#[test]
fn names_are_unified_where_the_egress_asks_for_it() {
    let mut zone = world(httpbin(Value::Null));
    zone.put(egress("egress"));
    let mut metadata = crate::testing::metadata();
    metadata.features.unified_naming = true;
    let identity = crate::Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = [("default".to_owned(), std::sync::Arc::new(identity))].into();
    let generated = zone.generate_with(&egress_key(), &metadata, &identities, None).unwrap();
    let name = "kri_extsvc_default___httpbin_80";
    assert!(names(&generated, CLUSTER).contains(&name));
    let chain = json(&generated, ResourceType::Listener, "self_inbound_ze_10002")["filterChains"][0].clone();
    assert_eq!(chain["name"], name);
}
