mod legacy;
mod policies;

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::system::v1alpha1 as system;

use super::*;
use crate::testing::{self, change, dataplane, mesh, remote_ingress};

fn index() -> MeshIndex {
    MeshIndex::new(ZoneSettings::new("east"))
}

fn put(index: &mut MeshIndex, resource: Resource) -> Touched {
    let resource = Arc::new(resource);
    index.apply([(&resource.key, Some(&resource))])
}

fn delete(index: &mut MeshIndex, key: &ResourceKey) -> Touched {
    index.apply([(key, None)])
}

fn service(mesh: &str, name: &str) -> ServiceKey {
    (mesh.to_owned(), name.to_owned())
}

fn endpoints(index: &MeshIndex, mesh: &str, name: &str) -> Vec<(String, u32, u32)> {
    let snapshot = index.snapshot();
    let state = snapshot.meshes.get(mesh).expect("the mesh has something");
    let config = state.config.as_ref().expect("the mesh exists");
    let Some(service) = state.services.get(name) else { return Vec::new() };
    let endpoints = service.for_sidecars(snapshot.viewpoint(config));
    let mut summary: Vec<_> = endpoints.into_iter().map(|e| (e.address.to_string(), e.port, e.weight)).collect();
    summary.sort();
    summary
}

#[test]
fn a_dataplane_touches_itself_and_its_services_only() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    put(&mut index, dataplane("default", "other").inbound(80, "other").resource());
    let touched = put(&mut index, dataplane("default", "web").inbound(80, "web").inbound(81, "api").resource());
    let expected = Touched {
        services: [service("default", "web"), service("default", "api")]
            .into_iter()
            .chain(["*", "web", "api"].map(|name| service("default", &direct_access_to(name))))
            .collect(),
        proxies: [ResourceKey::new(Kind::Dataplane, "default", "web")].into(),
        ..Touched::default()
    };
    assert_eq!(touched, expected);
    assert_eq!(endpoints(&index, "default", "web"), [("10.0.0.1".to_owned(), 80, 1)]);
}

#[test]
fn writing_the_same_again_touches_nothing() {
    let mut index = index();
    for resource in [
        mesh("default").mtls().resource(),
        dataplane("default", "web").inbound(80, "web").resource(),
        remote_ingress("default", "west-1", "west", &[("default", "web", 2)]),
        testing::egress("egress"),
        testing::policy("default", "timeouts", serde_json::json!({})),
    ] {
        assert!(!put(&mut index, resource.clone()).is_empty());
        let again = put(&mut index, Resource { version: 2, ..resource.clone() });
        assert!(again.is_empty(), "{}: {again:?}", resource.key);
    }
}

#[test]
fn a_changed_inbound_touches_the_services_it_leaves_and_joins() {
    let mut index = index();
    put(&mut index, dataplane("default", "web").inbound(80, "web").inbound(81, "api").resource());
    let touched = put(&mut index, dataplane("default", "web").inbound(80, "web").inbound(81, "api-v2").resource());
    let mut expected = BTreeSet::from([service("default", "api"), service("default", "api-v2")]);
    expected.extend(["*", "api", "api-v2"].map(|name| service("default", &direct_access_to(name))));
    assert_eq!(touched.services, expected);
}

#[test]
fn unhealthy_inbounds_are_no_endpoints() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    let mut resource = dataplane("default", "web").inbound(80, "web");
    resource.spec.networking.as_mut().unwrap().inbound[0].health =
        Some(pb::dataplane::networking::inbound::Health { ready: false });
    put(&mut index, resource.resource());
    assert!(endpoints(&index, "default", "web").is_empty());
}

#[test]
fn a_deleted_dataplane_leaves_nothing() {
    let mut index = index();
    let resource = dataplane("default", "web").inbound(80, "web").resource();
    put(&mut index, resource.clone());
    let touched = delete(&mut index, &resource.key);
    assert!(touched.services.contains(&service("default", "web")));
    assert!(index.snapshot().meshes.is_empty());
    assert!(delete(&mut index, &resource.key).is_empty());
}

#[test]
fn meshes_do_not_see_each_other() {
    let mut index = index();
    for name in ["red", "blue"] {
        put(&mut index, mesh(name).mtls().resource());
    }
    put(&mut index, dataplane("red", "web").inbound(80, "web").resource());
    put(&mut index, remote_ingress("default", "west-1", "west", &[("red", "api", 1)]));
    assert!(endpoints(&index, "blue", "web").is_empty());
    assert!(endpoints(&index, "blue", "api").is_empty());
    assert_eq!(endpoints(&index, "red", "api").len(), 1);
}

#[test]
fn remote_services_need_mutual_tls() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    put(&mut index, remote_ingress("default", "west-1", "west", &[("default", "web", 2)]));
    assert!(endpoints(&index, "default", "web").is_empty());
    put(&mut index, mesh("default").mtls().resource());
    assert_eq!(endpoints(&index, "default", "web"), [("198.51.100.1".to_owned(), 10001, 2)]);
}

#[test]
fn with_zone_egress_remote_services_are_behind_every_egress() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().zone_egress().resource());
    put(&mut index, remote_ingress("default", "west-1", "west", &[("default", "web", 2)]));
    assert!(endpoints(&index, "default", "web").is_empty());
    let touched = put(&mut index, testing::egress("egress"));
    assert!(touched.meshes.contains("default") && touched.zone_proxies);
    assert_eq!(endpoints(&index, "default", "web"), [("10.0.0.9".to_owned(), 10002, 1)]);
}

#[test]
fn several_ingresses_raise_the_weight_of_local_endpoints() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    put(&mut index, dataplane("default", "web").inbound(80, "web").resource());
    put(&mut index, remote_ingress("198.51.100.1", "west-1", "west", &[("default", "web", 3)]));
    assert_eq!(endpoints(&index, "default", "web")[0].2, 1);
    let touched = put(&mut index, remote_ingress("198.51.100.2", "west-2", "west", &[("default", "web", 3)]));
    assert!(touched.meshes.contains("default"));
    let web = endpoints(&index, "default", "web");
    assert_eq!(web.iter().map(|(_, _, weight)| *weight).collect::<Vec<_>>(), [2, 3, 3]);
}

#[test]
fn of_ingresses_behind_one_address_one_counts() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    put(&mut index, remote_ingress("198.51.100.1", "west-1", "west", &[]));
    put(&mut index, remote_ingress("198.51.100.1", "west-2", "west", &[("default", "web", 3)]));
    put(&mut index, remote_ingress("198.51.100.1", "west-3", "west", &[("default", "web", 3)]));
    assert_eq!(endpoints(&index, "default", "web").len(), 1);
    // The one that counted leaves, the next one counts.
    delete(&mut index, &ResourceKey::global(Kind::ZoneIngress, "west-2"));
    assert_eq!(endpoints(&index, "default", "web").len(), 1);
}

#[test]
fn host_names_are_left_out_until_they_are_known() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    put(&mut index, dataplane("default", "web").address("web.example").inbound(80, "web").resource());
    put(&mut index, remote_ingress("ingress.example", "west-1", "west", &[("default", "web", 2)]));
    assert!(endpoints(&index, "default", "web").is_empty());
    let unknown = index.take_problems().into_iter().filter(|problem| problem.reason.contains("has no known address"));
    assert_eq!(unknown.count(), 2);
    assert_eq!(index.hostnames().collect::<Vec<_>>(), ["ingress.example", "web.example"]);

    let touched = index.resolve("web.example", "10.0.0.7".parse().ok());
    assert!(touched.services.contains(&service("default", "web")));
    index.resolve("ingress.example", "198.51.100.9".parse().ok());
    let addresses: Vec<_> = endpoints(&index, "default", "web").into_iter().map(|(address, ..)| address).collect();
    assert_eq!(addresses, ["10.0.0.7", "198.51.100.9"]);
    assert!(index.resolve("web.example", "10.0.0.7".parse().ok()).is_empty());

    index.resolve("web.example", None);
    assert_eq!(endpoints(&index, "default", "web").len(), 1);
    delete(&mut index, &ResourceKey::new(Kind::Dataplane, "default", "web"));
    assert_eq!(index.hostnames().collect::<Vec<_>>(), ["ingress.example"]);
}

#[test]
fn an_ingress_touches_the_services_that_change() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    put(&mut index, remote_ingress("198.51.100.4", "west-1", "west", &[("default", "web", 2), ("default", "api", 1)]));
    let touched = put(
        &mut index,
        remote_ingress("198.51.100.4", "west-1", "west", &[("default", "web", 3), ("default", "api", 1)]),
    );
    assert_eq!(touched.services, BTreeSet::from([service("default", "web")]));
    assert!(touched.meshes.is_empty());
    assert!(touched.zone_proxies);
}

#[test]
fn the_ingress_of_this_zone_adds_no_remote_endpoints() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    let touched = put(&mut index, remote_ingress("198.51.100.4", "ingress", "east", &[("default", "web", 2)]));
    assert!(touched.services.is_empty());
    assert!(endpoints(&index, "default", "web").is_empty());
}

#[test]
fn the_certificate_authority_is_found_whichever_comes_first() {
    let secret = |data: &str| {
        let key = ResourceKey::new(Kind::Secret, "default", "default.ca-builtin-cert-ca-1");
        Resource::from_proto(key, &system::Secret { data: Some(data.into()) })
    };
    let mut index = index();
    assert!(put(&mut index, secret("one")).is_empty());
    put(&mut index, mesh("default").mtls().resource());
    let authority = |index: &MeshIndex| index.snapshot().meshes.get("default").unwrap().authority.clone();
    assert_eq!(authority(&index), Authority::Root(Arc::from(&b"one"[..])));
    let touched = put(&mut index, secret("two"));
    assert!(touched.meshes.contains("default") && touched.zone_proxies);
    assert_eq!(authority(&index), Authority::Root(Arc::from(&b"two"[..])));
    delete(&mut index, &secret("").key);
    assert!(matches!(authority(&index), Authority::Missing(reason) if reason.contains("default.ca-builtin-cert-ca-1")));
}

#[test]
fn readiness_matters_only_where_plain_text_is_accepted() {
    use pb::service_insight::{Service, service::DataplaneStat};
    let insight = |issued: u32| {
        let service = Service {
            dataplanes: Some(DataplaneStat { total: 2, online: 2, offline: 0 }),
            issued_backends: [("ca-1".to_owned(), issued)].into(),
            ..Service::default()
        };
        let key = ResourceKey::new(Kind::ServiceInsight, "default", "all-services-default");
        Resource::from_proto(key, &pb::ServiceInsight { services: [("web".to_owned(), service)].into() })
    };
    let mut index = index();
    put(&mut index, mesh("default").mtls().resource());
    assert!(put(&mut index, insight(1)).is_empty());
    let touched = put(&mut index, mesh("default").mtls().permissive().resource());
    assert!(touched.services.contains(&service("default", "web")));
    assert_eq!(put(&mut index, insight(2)).services, BTreeSet::from([service("default", "web")]));
    assert_eq!(index.snapshot().meshes.get("default").unwrap().tls_ready.get("web"), Some(&true));
}

#[test]
fn what_does_not_decode_is_reported_and_left_out() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    let good = dataplane("default", "good").inbound(80, "web").resource();
    let bad_key = ResourceKey::new(Kind::Dataplane, "default", "bad");
    let bad = Resource::new(bad_key.clone(), tandem_model::Spec::Proto(vec![0xff, 0xff].into()));
    let resources = [Arc::new(bad), Arc::new(good)];
    index.apply(resources.iter().map(change));
    assert_eq!(endpoints(&index, "default", "web").len(), 1);
    let problems = index.take_problems();
    assert_eq!(problems.iter().map(|problem| &problem.key).collect::<Vec<_>>(), [&bad_key]);
    assert!(index.take_problems().is_empty());
}

#[test]
fn a_resource_that_becomes_undecodable_is_removed() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    let good = dataplane("default", "web").inbound(80, "web").resource();
    put(&mut index, good.clone());
    let touched = put(&mut index, Resource { spec: tandem_model::Spec::Proto(vec![0xff].into()), ..good });
    assert!(touched.services.contains(&service("default", "web")));
    assert!(endpoints(&index, "default", "web").is_empty());
}

#[test]
fn snapshots_do_not_change() {
    let mut index = index();
    put(&mut index, dataplane("default", "web").inbound(80, "web").resource());
    let before = index.snapshot();
    put(&mut index, dataplane("default", "api").inbound(80, "api").resource());
    assert!(before.dataplane("default", "api").is_none());
    assert!(index.snapshot().dataplane("default", "api").is_some());
}

#[test]
fn resetting_forgets_what_is_not_given() {
    let mut index = index();
    put(&mut index, dataplane("default", "web").inbound(80, "web").resource());
    let kept = Arc::new(dataplane("default", "api").inbound(80, "api").resource());
    assert!(index.reset([&kept]).everything);
    let snapshot = index.snapshot();
    assert!(snapshot.dataplane("default", "web").is_none() && snapshot.dataplane("default", "api").is_some());
}

#[test]
fn external_services_are_reached_through_the_egress() {
    let mut index = index();
    put(&mut index, mesh("default").mtls().zone_egress().resource());
    put(&mut index, testing::egress("egress"));
    let key = ResourceKey::new(Kind::ExternalService, "default", "httpbin");
    let external = |address: &str| {
        let networking = pb::external_service::Networking { address: address.into(), ..Default::default() };
        let tags = [("kuma.io/service".to_owned(), "httpbin".to_owned())].into();
        Resource::from_proto(key.clone(), &pb::ExternalService { networking: Some(networking), tags })
    };
    let touched = put(&mut index, external("httpbin.org:443"));
    assert!(touched.services.contains(&service("default", "httpbin")) && touched.zone_proxies);
    assert_eq!(endpoints(&index, "default", "httpbin"), [("10.0.0.9".to_owned(), 10002, 1)]);
    put(&mut index, external("httpbin.org"));
    assert!(endpoints(&index, "default", "httpbin").is_empty());
    assert!(index.take_problems().iter().any(|problem| problem.key == key && problem.reason.contains("host:port")));
}

#[test]
fn identities_and_trust_touch_the_proxies_of_their_mesh_when_they_matter() {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    let key = ResourceKey::new(Kind::MeshIdentity, "default", "identity");
    let bundled = serde_json::json!({"autogenerate": {"enabled": true}});
    let spec = serde_json::json!({
        "selector": {"dataplane": {}}, "provider": {"type": "Bundled", "bundled": bundled}
    });
    let identity = |status: &str, message: &str| {
        let mut resource = Resource::from_json(key.clone(), spec.clone());
        let condition = serde_json::json!({"type": "Ready", "status": status, "reason": "", "message": message});
        resource.status = Some(serde_json::json!({"conditions": [condition]}));
        resource
    };
    let of_mesh = Touched { meshes: ["default".to_owned()].into(), zone_proxies: true, ..Touched::default() };
    assert_eq!(put(&mut index, identity("False", "one")), of_mesh);
    assert!(put(&mut index, identity("False", "two")).is_empty(), "what is said of it concerns no proxy");
    let revision = |index: &MeshIndex| index.snapshot().mesh_revision("default");
    let before = revision(&index);
    assert_eq!(put(&mut index, identity("True", "two")), of_mesh);
    assert!(revision(&index) > before, "certificates are looked at again");

    // Its authority, and another Secret.
    let secret = |name: &str, data: &str| {
        let spec = system::Secret { data: Some(data.as_bytes().to_vec()) };
        Resource::from_proto(ResourceKey::new(Kind::Secret, "default", name), &spec)
    };
    assert_eq!(put(&mut index, secret("identity-root-ca", "one")), of_mesh);
    assert!(put(&mut index, secret("another", "one")).is_empty());

    let trust = testing::trust("default", "trust", "domain", testing::authority());
    assert_eq!(put(&mut index, trust.clone()), of_mesh);
    assert!(put(&mut index, Resource { version: 7, ..trust.clone() }).is_empty());
    let domains = |index: &MeshIndex| {
        let bundle = index.snapshot().trust("default").cloned().expect("the mesh exists");
        bundle.domains().map(|(domain, _)| domain.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(domains(&index), ["domain"]);
    assert_eq!(index.snapshot().trust_identifiers("default"), ["kri_mtrust_default___trust_"]);
    // One that Envoy would refuse is left out alone.
    put(&mut index, testing::trust("default", "wrong", "wrong", "nonsense"));
    assert_eq!(domains(&index), ["domain"]);
    assert_eq!(index.take_problems().len(), 1);
    // With mutual TLS the authority of the mesh is trusted too.
    mesh("default").mtls().with_authority().into_iter().for_each(|resource| drop(put(&mut index, resource)));
    assert_eq!(domains(&index), ["default", "domain"]);
    assert_eq!(delete(&mut index, &trust.key), of_mesh);
    assert_eq!(delete(&mut index, &key), of_mesh);
    assert!(domains(&index).is_empty(), "without MeshTrusts there are no domains");
}

#[test]
fn what_is_wrong_is_known_until_it_is_not() {
    let mut index = index();
    let problems = |index: &MeshIndex| -> Vec<String> {
        index.snapshot().problems().map(|(key, reasons)| format!("{}: {}", key.name, reasons.join(", "))).collect()
    };
    put(&mut index, mesh("m").mtls().resource());
    let first = index.snapshot().problems_revision();
    assert!(
        problems(&index)[0].starts_with("m: mtls: the secret \"m.ca-builtin-cert-ca-1\""),
        "{:?}",
        problems(&index)
    );
    let nowhere = dataplane("m", "nowhere").address("no.such.host").resource();
    let touched = put(&mut index, nowhere.clone());
    assert!(touched.proxies.contains(&nowhere.key), "its stream tells why it is not configured");
    assert_eq!(index.snapshot().problems_of(&nowhere.key).len(), 1);
    put(&mut index, nowhere.clone());
    assert_eq!((problems(&index).len(), index.take_problems().len()), (2, 2), "each is told once");
    mesh("m").mtls().with_authority().into_iter().for_each(|resource| drop(put(&mut index, resource)));
    assert_eq!(problems(&index).len(), 1, "the authority is there");
    index.resolve("no.such.host", Some([127, 0, 0, 1].into()));
    assert_eq!((problems(&index), index.take_problems()), (vec![], vec![]));
    assert_ne!(index.snapshot().problems_revision(), first);
}
