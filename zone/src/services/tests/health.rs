//! What MeshServices tell of their proxies.

use tandem_proto::mesh::v1alpha1::dataplane::networking::Gateway;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;
use tandem_proto::mesh::v1alpha1::mesh::Mtls;

use super::*;

fn proxies(world: &World, name: &str) -> Value {
    status(world.service(name))["dataplaneProxies"].clone()
}

fn tls(world: &World, name: &str) -> String {
    status(world.service(name))["tls"]["status"].as_str().unwrap_or("none").to_owned()
}

fn in_state(service: &str, port: u32, state: State) -> Inbound {
    Inbound { state: state.into(), ..inbound(service, port) }
}

#[test]
fn proxies_are_counted() {
    let mut world = World::new();
    world.put(dataplane("ready", vec![inbound("web", 80), inbound("web", 81)]));
    world.put(dataplane("half", vec![inbound("web", 80), in_state("web", 81, State::NotReady)]));
    world.put(dataplane("ignored", vec![in_state("web", 80, State::Ignored), in_state("web", 81, State::Ignored)]));
    world.put(insight("ready", true, ""));
    world.put(insight("half", true, ""));
    world.put(insight("ignored", false, ""));
    assert_eq!(proxies(&world, "web"), json!({"connected": 2, "healthy": 1, "total": 3}));
    assert_eq!(spec(world.service("web"))["state"], "Available");

    world.put(dataplane("ready", vec![inbound("web", 80), in_state("web", 81, State::NotReady)]));
    assert_eq!(proxies(&world, "web"), json!({"connected": 2, "total": 3}));
    assert_eq!(spec(world.service("web"))["state"], "Unavailable");
}

#[test]
fn selectors_and_target_ports() {
    let mut world = World::new();
    let mut named = inbound("web", 8080);
    named.name = "main".to_owned();
    named.tags.insert("version".to_owned(), "1".to_owned());
    world.put(dataplane("one", vec![named, inbound("api", 9090)]));
    let service = |world: &mut World, selector: Value, target: Value| {
        let mut service = written("mine", selector);
        if let Spec::Json(spec) = &mut service.spec {
            spec["ports"][0]["targetPort"] = target;
        }
        world.put(service);
        let proxies = proxies(world, "mine");
        (proxies["total"].as_u64().unwrap_or(0), proxies["healthy"].as_u64().unwrap_or(0))
    };
    let by_tags = |tags: Value| json!({ "dataplaneTags": tags });
    for (selector, target, expected) in [
        (by_tags(json!({"kuma.io/service": "web"})), json!(8080), (1, 1)),
        (by_tags(json!({"kuma.io/service": "web"})), json!("main"), (1, 1)),
        (by_tags(json!({"kuma.io/service": "web"})), json!("other"), (1, 0)),
        (by_tags(json!({"kuma.io/service": "web"})), Value::Null, (1, 0)),
        (by_tags(json!({"version": "1"})), json!(8080), (1, 1)),
        (by_tags(json!({"version": "1", "kuma.io/service": "api"})), json!(8080), (0, 0)),
        (by_tags(json!({"version": "*"})), json!(8080), (0, 0)),
        (by_tags(json!({})), json!(8080), (0, 0)),
        (json!({}), json!(8080), (0, 0)),
        (json!({"dataplaneRef": {"name": "one"}}), json!(9090), (1, 1)),
        (json!({"dataplaneRef": {"name": "two"}, "dataplaneTags": {"version": "1"}}), json!(8080), (0, 0)),
    ] {
        assert_eq!(service(&mut world, selector.clone(), target.clone()), expected, "{selector} {target}");
    }
}

#[test]
fn any_dataplane_may_concern_a_service_that_selects_by_another_tag() {
    let mut world = World::new();
    world.put(written("mine", json!({"dataplaneTags": {"version": "1"}})));
    world.put(written("this", json!({"dataplaneRef": {"name": "one"}})));
    let mut inbound = inbound("web", 80);
    inbound.tags.insert("version".to_owned(), "1".to_owned());
    world.put(dataplane("one", vec![inbound]));
    assert_eq!(
        (proxies(&world, "mine"), proxies(&world, "this")),
        (json!({"healthy": 1, "total": 1}), json!({"healthy": 1, "total": 1}))
    );
    world.delete(&ResourceKey::new(Kind::Dataplane, "demo", "one"));
    assert_eq!((proxies(&world, "mine"), proxies(&world, "this")), (json!({}), json!({})));
}

#[test]
fn services_of_other_zones_are_theirs() {
    let mut world = World::new();
    world.put(web("web-1"));
    let mut service = synced("web", "west");
    if let Spec::Json(spec) = &mut service.spec {
        spec["state"] = json!("Available");
        spec["identities"] = json!([{"type": "ServiceTag", "value": "theirs"}]);
    }
    world.put(service.clone());
    assert_eq!(spec(world.service("web-hash")), spec(&service));
    assert_eq!(proxies(&world, "web-hash"), json!({}));
    assert_eq!(vip(world.service("web-hash")), Some("241.0.0.1"));
}

#[test]
fn identities_are_the_tags_of_the_proxies() {
    let mut world = World::new();
    let gateway = Gateway { tags: tags(&[("kuma.io/service", "edge")]), ..Default::default() };
    let networking = Networking {
        inbound: vec![inbound("web", 80), inbound("api", 81)],
        gateway: Some(gateway),
        ..Default::default()
    };
    let spec_of = pb::Dataplane { networking: Some(networking), ..Default::default() };
    world.put(Resource::from_proto(ResourceKey::new(Kind::Dataplane, "demo", "one"), &spec_of));
    let expected: Vec<_> = ["api", "edge", "web"].map(|name| json!({"type": "ServiceTag", "value": name})).into();
    assert_eq!(spec(world.service("web"))["identities"], json!(expected));
}

fn identity(labels: Value, provider: Value, reason: &str) -> Resource {
    let mut spec = json!({"selector": {"dataplane": {"matchLabels": labels}}});
    if !provider.is_null() {
        spec["provider"] = json!({"type": provider, "bundled": {}, "spire": {}});
    }
    let mut identity = resource(Kind::MeshIdentity, "identity", spec);
    let holds = if reason == "Ready" { "True" } else { "False" };
    identity.status =
        Some(json!({"conditions": [{"type": "Ready", "status": holds, "reason": reason, "message": ""}]}));
    identity
}

#[test]
fn spiffe_ids_are_told_once_the_identity_is_ready() {
    let mut world = World::new();
    let label = |name, workload: &str| web(name).with_labels([("kuma.io/workload", workload), ("app", "web")]);
    world.put(label("web-2", "b"));
    world.put(label("web-1", "a"));
    world.put(web("unlabelled"));
    let ids = |world: &World| -> Vec<String> {
        let identities = spec(world.service("web"))["identities"].as_array().cloned().unwrap_or_default();
        let ids = identities.iter().filter(|identity| identity["type"] == "SpiffeID");
        ids.map(|identity| identity["value"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let both = ["spiffe://demo.east.mesh.local/workload/a", "spiffe://demo.east.mesh.local/workload/b"];
    for (reason, expected) in [("Failure", &[][..]), ("Ready", &both), ("PartiallyReady", &both)] {
        world.put(identity(json!({"app": "web"}), json!("Bundled"), reason));
        assert_eq!(ids(&world), expected, "{reason}");
    }
    world.put(identity(json!({"app": "api"}), json!("Bundled"), "Ready"));
    assert!(ids(&world).is_empty());
}

fn mtls() -> Resource {
    let backend =
        pb::CertificateAuthorityBackend { name: "ca-1".into(), r#type: "builtin".into(), ..Default::default() };
    let mtls = Mtls { enabled_backend: "ca-1".into(), backends: vec![backend], ..Default::default() };
    let services = MeshServices { mode: Mode::Exclusive.into() };
    let spec = pb::Mesh { mtls: Some(mtls), mesh_services: Some(services), ..Default::default() };
    Resource::from_proto(ResourceKey::global(Kind::Mesh, "demo"), &spec)
}

#[test]
fn with_mutual_tls_all_proxies_need_certificates_at_first() {
    let mut world = World::new();
    world.put(web("web-1"));
    world.put(insight("web-1", true, "ca-1"));
    assert_eq!(tls(&world, "web"), "NotReady");
    world.put(web("web-2"));
    world.put(mtls());
    assert_eq!(tls(&world, "web"), "NotReady");
    world.put(insight("web-2", true, "ca-0"));
    assert_eq!(tls(&world, "web"), "Ready");
    world.put(web("web-3"));
    assert_eq!(tls(&world, "web"), "Ready", "new proxies start with certificates");
    world.put(mesh(Mode::Exclusive));
    assert_eq!(tls(&world, "web"), "NotReady");
}

#[test]
fn with_identities_their_trust_domain_has_to_be_trusted() {
    let mut world = World::new();
    world.put(web("web-1"));
    let trust = |domain: &str| {
        let bundle = json!({"type": "Pem", "pem": {"value": ""}});
        resource(Kind::MeshTrust, "trust", json!({"trustDomain": domain, "caBundles": [bundle]}))
    };
    for (identity, domain, expected) in [
        (identity(json!({}), json!("Bundled"), "Ready"), "other", "NotReady"),
        (identity(json!({}), json!("Bundled"), "Failure"), "demo.east.mesh.local", "NotReady"),
        (identity(json!({"app": "api"}), json!("Bundled"), "Ready"), "demo.east.mesh.local", "NotReady"),
        (identity(json!({}), json!("Bundled"), "Ready"), "demo.east.mesh.local", "Ready"),
        (identity(json!({}), json!("Bundled"), "Failure"), "other", "Ready"),
    ] {
        world.store(trust(domain));
        world.put(identity);
        assert_eq!(tls(&world, "web"), expected, "{domain}");
    }
    world.delete(&ResourceKey::new(Kind::MeshIdentity, "demo", "identity"));
    assert_eq!(tls(&world, "web"), "NotReady");
    world.put(identity(json!({}), json!("Spire"), "Ready"));
    assert_eq!(tls(&world, "web"), "Ready", "SPIRE knows what is trusted");
}

#[test]
fn what_does_not_matter_is_not_looked_at() {
    let mut world = World::new();
    world.put(web("web-1"));
    world.put(insight("web-1", true, "ca-1"));
    let mut again = insight("web-1", true, "ca-1");
    let mut spec: pb::DataplaneInsight = again.proto().expect("an insight");
    spec.subscriptions[0].version = Some(pb::Version::default());
    again.spec = Resource::from_proto(again.key.clone(), &spec).spec;
    world.store(again);
    world.store(resource(Kind::MeshTimeout, "timeout", json!({})));
    assert!(!world.planner.is_due());
    // An own write is looked at once more, and nothing comes of it.
    let service = world.service("web").clone();
    world.store(service);
    assert!(world.planner.is_due());
    assert_eq!(world.settle(), 0);
}
