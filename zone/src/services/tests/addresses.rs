//! Virtual addresses, host names, and MeshMultiZoneServices.

use super::*;

fn external(name: &str) -> Resource {
    resource(Kind::MeshExternalService, name, json!({"match": {"port": 443, "protocol": "tcp"}}))
        .with_labels([(ORIGIN, "zone"), ("kuma.io/mesh", "demo")])
}

fn multi_zone(name: &str, labels: Value) -> Resource {
    let spec = json!({"selector": {"meshService": {"matchLabels": labels}}, "ports": [{"port": 80}]});
    resource(Kind::MeshMultiZoneService, name, spec).with_labels([(ORIGIN, ORIGIN_GLOBAL)])
}

fn generator(name: &str, selector: Value, template: &str) -> Resource {
    resource(Kind::HostnameGenerator, name, json!({"selector": selector, "template": template}))
}

#[test]
fn each_kind_has_its_range_and_all_meshes_share_it() {
    let mut world = World::new();
    world.put(written("a", json!({})));
    let mut elsewhere = written("a", json!({}));
    elsewhere.key.mesh = "elsewhere".to_owned();
    world.put(elsewhere.clone());
    world.put(external("b"));
    world.put(multi_zone("c", json!({"a": "b"})));
    assert_eq!(vip(world.service("a")), Some("241.0.0.0"));
    assert_eq!(vip(&world.resources[&elsewhere.key]), Some("241.0.0.1"));
    assert_eq!(vip(world.get(Kind::MeshExternalService, "b").expect("exists")), Some("242.0.0.0"));
    assert_eq!(vip(world.get(Kind::MeshMultiZoneService, "c").expect("exists")), Some("243.0.0.0"));
    assert_eq!(hostnames(world.get(Kind::MeshExternalService, "b").expect("exists")), ["b.extsvc.mesh.local"]);
}

#[test]
fn an_address_is_not_given_again_at_once() {
    let mut world = World::new();
    world.put(written("a", json!({})));
    world.delete(&ResourceKey::new(Kind::MeshService, "demo", "a"));
    world.put(written("a", json!({})));
    assert_eq!(vip(world.service("a")), Some("241.0.0.1"));
}

#[test]
fn addresses_of_before_are_kept() {
    let mut world = World::new();
    let mut service = written("a", json!({}));
    service.status = Some(json!({"vips": [{"ip": "241.0.0.7"}]}));
    world.put(service);
    world.put(written("b", json!({})));
    assert_eq!((vip(world.service("a")), vip(world.service("b"))), (Some("241.0.0.7"), Some("241.0.0.8")));
}

#[test]
fn a_full_range_stops_only_those_who_come_late() {
    let mut settings = settings();
    settings.mesh_service_cidr = "10.9.0.0/31".parse().expect("a range");
    let mut world = World::with(&settings);
    for name in ["a", "b", "c", "d"] {
        world.store(written(name, json!({"dataplaneTags": {"kuma.io/service": name}})));
    }
    world.put(external("e"));
    let vips = |world: &World| {
        ["a", "b", "c", "d"].map(|name| world.get(Kind::MeshService, name).and_then(vip).map(str::to_owned))
    };
    assert_eq!(vips(&world), [Some("10.9.0.0".to_owned()), Some("10.9.0.1".to_owned()), None, None]);
    assert_eq!(vip(world.get(Kind::MeshExternalService, "e").expect("exists")), Some("242.0.0.0"));
    assert_eq!(status(world.service("c"))["tls"]["status"], "NotReady", "the rest is as ever");
    world.delete(&ResourceKey::new(Kind::MeshService, "demo", "a"));
    assert_eq!(vips(&world), [None, Some("10.9.0.1".to_owned()), Some("10.9.0.0".to_owned()), None]);
}

#[test]
fn host_names_follow_their_generators() {
    let mut world = World::new();
    world.put(synced("web", "west"));
    assert!(hostnames(world.service("web-hash")).is_empty());
    let selector = json!({"meshService": {"matchLabels": {"kuma.io/origin": "global"}}});
    world.put(generator("synced", selector.clone(), "{{ .DisplayName }}.svc.{{ .Zone }}.mesh.local"));
    assert_eq!(hostnames(world.service("web-hash")), ["web.svc.west.mesh.local"]);
    world.put(generator("synced", selector.clone(), "{{ .DisplayName }}.{{ .Zone }}"));
    assert_eq!(hostnames(world.service("web-hash")), ["web.west"]);
    world.put(generator("synced", json!({"meshExternalService": {}}), "x"));
    assert!(hostnames(world.service("web-hash")).is_empty());
    world.put(generator("synced", selector, "{{ label \"nope\" }}"));
    let condition = &status(world.service("web-hash"))["hostnameGenerators"][0]["conditions"][0];
    assert_eq!((&condition["reason"], &condition["status"]), (&json!("TemplateError"), &json!("False")));
    world.delete(&ResourceKey::global(Kind::HostnameGenerator, "synced"));
    assert!(status(world.service("web-hash")).get("hostnameGenerators").is_none());
}

#[test]
fn a_host_name_goes_to_the_next_when_its_owner_leaves() {
    let mut world = World::new();
    world.put(generator("same", json!({"meshService": {"matchLabels": {"team": "a"}}}), "same.local"));
    world.put(written("first", json!({})).with_labels([("team", "a")]));
    world.wait(Duration::from_secs(1));
    world.put(written("another", json!({})).with_labels([("team", "a")]));
    assert_eq!((hostnames(world.service("first")), hostnames(world.service("another"))), (vec!["same.local"], vec![]));
    let mut first = world.service("first").clone();
    first.labels.clear();
    world.put(first);
    assert_eq!((hostnames(world.service("first")), hostnames(world.service("another"))), (vec![], vec!["same.local"]));
}

#[test]
fn a_multi_zone_service_names_its_services() {
    let mut world = World::new();
    world.put(multi_zone("everywhere", json!({"kuma.io/display-name": "web"})));
    let seen = |world: &World| status(world.get(Kind::MeshMultiZoneService, "everywhere").expect("exists")).clone();
    let condition = |world: &World| {
        let conditions = seen(world)["conditions"].clone();
        assert_eq!(
            (conditions.as_array().map(Vec::len), &conditions[0]["type"]),
            (Some(1), &json!("MeshServicesMatched"))
        );
        ["status", "reason", "message"].map(|member| conditions[0][member].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(condition(&world), ["False", "NoMatchesFound", "Selector does not match any MeshService in this zone"]);
    world.put(synced("web", "west"));
    world.store(web("web-1"));
    assert_eq!(world.settle(), 2, "the new MeshService and what consists of it");
    let mut elsewhere = synced("web", "north");
    elsewhere.key.mesh = "another".to_owned();
    world.put(elsewhere);
    world.put(synced("api", "west"));
    assert_eq!(
        seen(&world)["meshServices"],
        json!([
            {"name": "web", "namespace": "", "zone": "east", "mesh": "demo"},
            {"name": "web", "namespace": "", "zone": "north", "mesh": "another"},
            {"name": "web", "namespace": "", "zone": "west", "mesh": "demo"},
        ])
    );
    assert_eq!(condition(&world), ["True", "MatchesFound", "Matched 3 MeshService(s)"]);

    world.delete(&ResourceKey::new(Kind::MeshService, "demo", "web-hash"));
    let mut service = world.service("web").clone();
    service.labels.remove("kuma.io/display-name");
    world.put(service);
    assert_eq!(condition(&world), ["True", "MatchesFound", "Matched 1 MeshService(s)"]);
    let narrower = multi_zone("everywhere", json!({"kuma.io/display-name": "web", "kuma.io/mesh": "demo"}));
    let mut changed = world.get(Kind::MeshMultiZoneService, "everywhere").expect("exists").clone();
    changed.spec = narrower.spec;
    world.put(changed);
    assert_eq!(condition(&world)[1], "NoMatchesFound");
    assert_eq!(vip(world.get(Kind::MeshMultiZoneService, "everywhere").expect("exists")), Some("243.0.0.0"));
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let mut world = World::new();
    world.put(resource(Kind::MeshService, "broken", json!({"ports": "none"})));
    world.put(resource(Kind::HostnameGenerator, "broken", json!({})));
    let mut odd = written("odd", json!({}));
    odd.status = Some(json!({"vips": 7}));
    world.put(odd);
    assert_eq!(vip(world.service("odd")), Some("241.0.0.0"));
    assert_eq!(vip(world.service("broken")), None);
}

/// Reason and message of the condition that a service is not served as it says.
fn problem(resource: &Resource) -> Option<(&str, &str)> {
    let conditions = resource.status.as_ref()?["conditions"].as_array()?;
    let problem = conditions.iter().find(|condition| condition["type"] == "Configured")?;
    assert_eq!(problem["status"], "False");
    Some((problem["reason"].as_str()?, problem["message"].as_str()?))
}

#[test]
fn the_status_tells_what_is_wrong_as_long_as_it_is() {
    let mut settings = settings();
    settings.mesh_service_cidr = "10.9.0.0/32".parse().expect("a range");
    let mut world = World::with(&settings);
    world.put(written("a", json!({})));
    world.put(written("b", json!({})));
    assert_eq!(problem(world.service("a")), None);
    let (reason, message) = problem(world.service("b")).expect("there is no address");
    assert_eq!(reason, "Incomplete");
    assert!(message.contains("no virtual address") && message.contains("ipam.meshService.cidr"), "{message}");
    world.delete(&ResourceKey::new(Kind::MeshService, "demo", "a"));
    assert_eq!((vip(world.service("b")), problem(world.service("b"))), (Some("10.9.0.0"), None));

    world.put(external("c"));
    let key = ResourceKey::new(Kind::MeshExternalService, "demo", "c");
    let gone = ResourceKey::new(Kind::MeshExternalService, "demo", "gone");
    let reasons = |key: &ResourceKey| (key.clone(), ["bad certificate".to_owned()].into());
    world.planner.set_left_out(Reasons::from([reasons(&key), reasons(&gone)]));
    world.settle();
    let told = world.resources[&key].clone();
    assert_eq!(problem(&told), Some(("LeftOut", "bad certificate")));
    world.put(multi_zone("m", json!({"a": "b"})));
    assert_eq!(world.resources[&key].version, told.version, "nothing about it is new");
    world.planner.set_left_out(Reasons::new());
    world.settle();
    assert_eq!(problem(&world.resources[&key]), None);
}
