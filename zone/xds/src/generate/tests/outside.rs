//! Services outside of the mesh.

use std::collections::BTreeSet;

use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::external_service::networking::Tls;
use tandem_proto::system::v1alpha1::{DataSource, Secret, data_source};

use super::{CLUSTER, ENDPOINT, LISTENER, SECRET, http_inbound, key, permission};
use crate::ResourceType;
use crate::testing::{Zone, client_pair, egress, json, mesh, names};

fn external(name: &str, address: &str, authority: Option<data_source::Type>) -> Resource {
    let tls = authority.map(|source| Tls {
        enabled: true,
        ca_cert: Some(DataSource { r#type: Some(source) }),
        ..Tls::default()
    });
    let networking = pb::external_service::Networking { address: address.into(), tls, ..Default::default() };
    let tags = [("kuma.io/service", "httpbin"), ("kuma.io/protocol", "http"), ("tier", "outside")];
    let tags = tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into();
    let spec = pb::ExternalService { networking: Some(networking), tags };
    Resource::from_proto(ResourceKey::new(Kind::ExternalService, "default", name), &spec)
}

fn client() -> Resource {
    http_inbound("default", "client").outbound(10001, "httpbin").resource()
}

#[test]
fn without_egress_they_are_reached_directly() {
    let mut resources = mesh("default").mtls().with_authority();
    let secret = Secret { data: Some(client_pair().chain.into()) };
    resources.push(Resource::from_proto(ResourceKey::new(Kind::Secret, "default", "outside"), &secret));
    resources.extend([client(), external("one", "httpbin.org:443", Some(data_source::Type::Secret("outside".into())))]);
    let mut zone = Zone::new("east", resources);
    let generated = zone.generate(&key("client"), None).unwrap();
    let cluster = json(&generated, CLUSTER, "httpbin");
    assert_eq!((&cluster["type"], &cluster["dnsLookupFamily"]), (&json!("STRICT_DNS"), &json!("V4_ONLY")));
    let socket = &cluster["transportSocketMatches"][0];
    assert_eq!(
        socket["match"],
        json!({"kuma.io/external-service-name": "one", "kuma.io/protocol": "http", "tier": "outside"})
    );
    let tls = &socket["transportSocket"]["typedConfig"];
    assert_eq!(tls["sni"], "httpbin.org");
    assert!(tls["commonTlsContext"]["validationContext"]["trustedCa"]["inlineBytes"].is_string());
    let endpoint = &cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0];
    assert_eq!(endpoint["endpoint"]["address"]["socketAddress"], json!({"address": "httpbin.org", "portValue": 443}));
    assert!(names(&generated, ENDPOINT).is_empty());

    // Host names and addresses may be mixed, and what cannot be configured is left out alone.
    zone.put(external("two", "192.0.2.1:443", None));
    zone.put(external("three", "192.0.2.2:443", Some(data_source::Type::InlineString("text".into()))));
    let mixed = zone.generate(&key("client"), Some(&generated)).unwrap();
    let cluster = json(&mixed, CLUSTER, "httpbin");
    assert_eq!(cluster["type"], "STRICT_DNS");
    assert_eq!(cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"].as_array().map(Vec::len), Some(2));
    let warning = &mixed.warnings[0];
    assert_eq!(warning.resource, Some(ResourceKey::new(Kind::ExternalService, "default", "three")));
    assert!(warning.reason.starts_with("networking.tls.caCert: "), "{warning}");

    // With nothing left callers are told so: there is a cluster, without endpoints.
    for name in ["one", "two"] {
        zone.index.apply([(&ResourceKey::new(Kind::ExternalService, "default", name), None)]);
    }
    let nothing = zone.generate(&key("client"), Some(&mixed)).unwrap();
    assert!(json(&nothing, CLUSTER, "httpbin")["loadAssignment"]["endpoints"].is_null());
    assert!(names(&nothing, LISTENER).contains(&"outbound:127.0.0.1:10001"));
}

#[test]
fn the_egress_stands_for_them() {
    let mut resources = mesh("default").mtls().zone_egress().with_authority();
    resources.extend([client(), egress("egress"), permission("Allow"), external("one", "192.0.2.1:443", None)]);
    let mut zone = Zone::new("east", resources);
    let client = zone.generate(&key("client"), None).unwrap();
    let tls = &json(&client, CLUSTER, "httpbin")["transportSocket"]["typedConfig"];
    assert_eq!(tls["sni"], "httpbin{mesh=default}");
    let expected = &tls["commonTlsContext"]["combinedValidationContext"]["defaultValidationContext"];
    assert_eq!(expected["matchTypedSubjectAltNames"][0]["matcher"]["exact"], "spiffe://default/zone-egress");

    let egress = ResourceKey::global(Kind::ZoneEgress, "egress");
    let requests = crate::identity_requests(&zone.index.snapshot(), &egress);
    assert_eq!(requests[0].tags["kuma.io/service"], BTreeSet::from(["zone-egress".to_owned()]));
    let generated = zone.generate(&egress, None).unwrap();
    assert_eq!(json(&generated, CLUSTER, "default:httpbin")["type"], "STATIC");
    let chain = &json(&generated, LISTENER, "inbound:10.0.0.9:10002")["filterChains"][0];
    assert_eq!(chain["name"], "httpbin_default");
    assert_eq!(chain["filterChainMatch"]["serverNames"], json!(["httpbin{mesh=default}"]));
    assert_eq!(chain["transportSocket"]["typedConfig"]["requireClientCertificate"], true);
    let permission_filter = &chain["filters"][0]["typedConfig"]["httpFilters"][0];
    assert_eq!(permission_filter["name"], "envoy.filters.http.rbac");
    assert!(permission_filter["typedConfig"]["rules"]["policies"].is_object());
    assert_eq!(names(&generated, SECRET), ["identity_cert:secret:default", "mesh_ca:secret:default"]);

    let secret = ResourceKey::new(Kind::Secret, "default", "default.ca-builtin-cert-ca-1");
    zone.index.apply([(&secret, None)]);
    let without = zone.generate(&egress, Some(&generated)).unwrap();
    assert!(without.warnings[0].reason.contains("default.ca-builtin-cert-ca-1"), "{:?}", without.warnings);
    assert!(without.resources.of(ResourceType::Listener).iter().all(|listener| &*listener.name == "kuma:envoy:admin"));
}
