//! MeshServices from Dataplanes.

use tandem_proto::mesh::v1alpha1::dataplane::networking::Gateway;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;

use super::*;

const STARTED: &str = "kuma.io/deletion-grace-period-started-at";

#[test]
fn a_generated_service_is_complete_when_it_appears() {
    let mut world = World::new();
    let mut inbound = inbound("web", 8080);
    inbound.name = "main".to_owned();
    inbound.tags.insert("kuma.io/protocol".to_owned(), "HTTP".to_owned());
    world.store(dataplane("web-1", vec![inbound]));
    assert_eq!(world.settle(), 1, "everything is in one write");
    let service = world.service("web");
    assert_eq!(
        spec(service).to_string(),
        json!({
            "state": "Available",
            "selector": {"dataplaneTags": {"kuma.io/service": "web"}},
            "ports": [{"name": "main", "port": 8080, "targetPort": 8080, "appProtocol": "http"}],
            "identities": [{"type": "ServiceTag", "value": "web"}],
        })
        .to_string()
    );
    let reference = json!({"coreName": "local-universal-mesh-service"});
    assert_eq!(
        status(service).to_string(),
        json!({
            "addresses": [
                {"hostname": "web.svc.mesh.local", "origin": "HostnameGenerator", "hostnameGeneratorRef": reference}
            ],
            "vips": [{"ip": "241.0.0.0"}],
            "tls": {"status": "NotReady"},
            "hostnameGenerators": [{
                "hostnameGeneratorRef": reference,
                "conditions": [{"type": "Generated", "status": "True", "reason": "Generated", "message": ""}],
            }],
            "dataplaneProxies": {"healthy": 1, "total": 1},
        })
        .to_string()
    );
    let labels = [
        ("kuma.io/display-name", "web"),
        ("kuma.io/env", "universal"),
        ("kuma.io/managed-by", "meshservice-generator"),
        ("kuma.io/mesh", "demo"),
        ("kuma.io/origin", "zone"),
        ("kuma.io/zone", "east"),
    ];
    assert_eq!(service.labels, tags(&labels));
    assert_eq!(service.owner, Some(ResourceKey::global(Kind::Mesh, "demo")));
}

#[test]
fn ports_come_from_the_inbounds_of_the_service() {
    let mut world = World::new();
    let mut named = inbound("web", 81);
    named.name = "admin".to_owned();
    named.tags.insert("kuma.io/protocol".to_owned(), "gopher".to_owned());
    named.state = State::Ignored.into();
    let mut kafka = inbound("queue", 9092);
    kafka.tags.insert("kuma.io/protocol".to_owned(), "kafka".to_owned());
    world.put(dataplane("web-1", vec![inbound("web", 80), kafka, named]));
    let ports = |name| spec(world.service(name))["ports"].clone();
    assert_eq!(
        ports("web"),
        json!([
            {"name": "80", "port": 80, "targetPort": 80, "appProtocol": "tcp"},
            {"name": "admin", "port": 81, "targetPort": 81, "appProtocol": "tcp"},
        ])
    );
    assert_eq!(ports("queue"), json!([{"name": "9092", "port": 9092, "targetPort": 9092, "appProtocol": "kafka"}]));
}

#[test]
fn tags_that_are_no_dns_labels_make_no_service() {
    let mut world = World::new();
    let long = "x".repeat(64);
    let names = ["a_b", "1x", "Web", "a.b", "-a", &long, ""];
    world.put(dataplane("odd", names.iter().map(|name| inbound(name, 80)).collect()));
    let spec = pb::Dataplane {
        networking: Some(Networking {
            gateway: Some(Gateway { tags: tags(&[("kuma.io/service", "edge")]), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    world.put(Resource::from_proto(ResourceKey::new(Kind::Dataplane, "demo", "edge"), &spec));
    assert!(world.names().is_empty());
    world.put(dataplane("even", vec![inbound(&"x".repeat(63), 80)]));
    assert_eq!(world.names().len(), 1);
}

fn numbers(world: &World, name: &str) -> Vec<u64> {
    let ports = spec(world.service(name))["ports"].as_array().expect("ports");
    ports.iter().filter_map(|port| port["port"].as_u64()).collect()
}

#[test]
fn the_oldest_dataplane_decides_until_nobody_agrees() {
    let mut world = World::new();
    let at = |port, name| dataplane(name, vec![inbound("web", port)]);
    world.put(at(81, "b"));
    world.wait(Duration::from_secs(1));
    world.put(at(80, "a"));
    assert_eq!(numbers(&world, "web"), [81], "the older one");
    world.put(at(82, "b"));
    assert_eq!(numbers(&world, "web"), [82], "nobody has 81 any more, and b is the oldest");
    world.wait(Duration::from_secs(1));
    world.put(at(82, "c"));
    world.delete(&ResourceKey::new(Kind::Dataplane, "demo", "b"));
    assert_eq!(numbers(&world, "web"), [82], "c still has it, although a is older");
    assert_eq!(status(world.service("web"))["dataplaneProxies"], json!({"healthy": 1, "total": 2}));
}

#[test]
fn a_service_keeps_its_address_when_its_ports_change() {
    let mut world = World::new();
    world.put(web("web-1"));
    let before = status(world.service("web")).clone();
    world.put(dataplane("web-1", vec![inbound("web", 81)]));
    assert_eq!(numbers(&world, "web"), [81]);
    assert_eq!(status(world.service("web")), &before);
}

#[test]
fn what_somebody_wrote_is_left_alone() {
    let mut world = World::new();
    let selector = json!({"dataplaneTags": {"kuma.io/service": "web", "version": "1"}});
    world.put(written("web", selector.clone()).with_labels([(ORIGIN, "zone"), ("team", "a")]));
    world.put(web("web-1"));
    let service = world.service("web");
    assert_eq!((&spec(service)["selector"], service.label("kuma.io/managed-by")), (&selector, None));
    // It goes, and the Dataplane is still there.
    world.delete(&ResourceKey::new(Kind::MeshService, "demo", "web"));
    assert_eq!(world.service("web").label("kuma.io/managed-by"), Some("meshservice-generator"));
}

#[test]
fn a_service_outlives_its_dataplanes_for_a_while() {
    let mut world = World::new();
    world.put(web("web-1"));
    let address = vip(world.service("web")).map(str::to_owned);
    let dataplane = ResourceKey::new(Kind::Dataplane, "demo", "web-1");
    world.delete(&dataplane);
    let service = world.service("web");
    assert_eq!(service.label(STARTED), Some("2026-03-01T12:00:00Z"));
    assert_eq!(spec(service)["state"], "Unavailable");
    assert_eq!(vip(service), address.as_deref());
    assert_eq!(world.planner.next_grace_end(), Some("2026-03-01T13:00:00Z".parse().expect("a time")));

    // It comes back.
    world.wait(GRACE);
    world.put(web("web-2"));
    assert_eq!(world.service("web").label(STARTED), None);
    assert_eq!((vip(world.service("web")), world.planner.next_grace_end()), (address.as_deref(), None));

    world.delete(&ResourceKey::new(Kind::Dataplane, "demo", "web-2"));
    world.wait(GRACE);
    assert_eq!(world.settle(), 0, "not longer than the grace period");
    world.wait(Duration::from_secs(1));
    assert_eq!(world.settle(), 1);
    assert!(world.names().is_empty());
    assert_eq!(world.planner.next_grace_end(), None);
}

#[test]
fn a_grace_period_that_cannot_be_read_begins_again() {
    let mut world = World::new();
    world.put(web("web-1"));
    world.delete(&ResourceKey::new(Kind::Dataplane, "demo", "web-1"));
    let mut service = world.service("web").clone();
    service.labels.insert(STARTED.to_owned(), "yesterday".to_owned());
    world.put(service);
    assert_eq!(world.service("web").label(STARTED), Some("2026-03-01T12:00:00Z"));
    // As Kuma writes it, with an offset.
    let mut service = world.service("web").clone();
    service.labels.insert(STARTED.to_owned(), "2026-03-01T12:30:00.123456789+02:00".to_owned());
    world.put(service);
    assert!(world.names().is_empty());
}

#[test]
fn a_mesh_without_mesh_services_has_none_that_are_generated() {
    let mut world = World::new();
    world.put(web("web-1"));
    world.put(written("mine", json!({})));
    world.put(synced("web", "west"));
    for (mode, expected) in [
        (Mode::Disabled, &["mine", "web-hash"][..]),
        (Mode::Everywhere, &["mine", "web", "web-hash"]),
        (Mode::Disabled, &["mine", "web-hash"]),
        (Mode::ReachableBackends, &["mine", "web", "web-hash"]),
    ] {
        world.put(mesh(mode));
        assert_eq!(world.names(), expected, "{mode:?}");
    }
}

#[test]
fn services_of_other_zones_are_not_let_go() {
    let mut world = World::new();
    world.put(synced("web", "west"));
    world.wait(GRACE * 2);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.service("web-hash").label(STARTED), None);
}

#[test]
fn a_mesh_that_is_not_known_yet_generates_nothing() {
    let mut world = World::new();
    let mut stray = web("web-1");
    stray.key.mesh = "later".to_owned();
    world.put(stray);
    assert!(world.names().is_empty());
    let mut later = mesh(Mode::Everywhere);
    later.key.name = "later".to_owned();
    world.put(later);
    assert_eq!(world.names(), ["web"]);
}

#[test]
fn members_of_another_version_are_kept() {
    let mut world = World::new();
    let mut service = written("mine", json!({"dataplaneTags": {"kuma.io/service": "web"}}));
    if let Spec::Json(spec) = &mut service.spec {
        spec["novel"] = json!(1);
        spec["identities"] = json!([{"type": "ServiceTag", "value": "old"}]);
    }
    world.put(service);
    assert_eq!(spec(world.service("mine"))["novel"], 1);
    assert!(spec(world.service("mine")).get("identities").is_none());
}
