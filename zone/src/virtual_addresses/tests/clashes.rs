//! Names of policies, hosts of ExternalServices, and what happens when there are too many or one is claimed twice.

use super::*;

fn targets(vip: &Vip) -> Vec<(u32, &str)> {
    vip.outbounds.iter().map(|target| (target.port, target.origin.as_str())).collect()
}

#[test]
fn policies_make_names_and_ports() {
    let mut world = World::new("240.0.0.0/4");
    world.put(virtual_outbound("versions", &[("version", "*")], "{{.version}}.{{.service}}.example", "8{{.version}}"));
    world.put(virtual_outbound("all", &[("kuma.io/service", "*")], "{{.service}}.example", "8080"));
    world.put(dataplane("web-1", &[&[("kuma.io/service", "web"), ("version", "1"), ("team", "x")]]));
    world.put(service("db"));
    let names: Vec<_> = world.vips().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["service:db", "service:web", "fqdn:1.web.example", "fqdn:db.example", "fqdn:web.example"]);
    let vip = world.vip(NameKind::Domain, "1.web.example").expect("made by a policy");
    assert_eq!(targets(&vip), [(81, "virtual-outbound:versions")]);
    assert_eq!(vip.outbounds[0].tags, tags(&[("kuma.io/service", "web"), ("version", "1")]));
    world.delete(&virtual_outbound("versions", &[], "", ""));
    assert_eq!(world.vip(NameKind::Domain, "1.web.example"), None);
}

#[test]
fn hosts_of_external_services_have_names() {
    let mut world = World::new("240.0.0.0/4");
    world.put(external("example", "example", "example.com:443"));
    world.put(external("address", "address", "10.9.9.9:9000"));
    let vip = world.vip(NameKind::Host, "example.com").expect("a host");
    assert_eq!(targets(&vip), [(443, "external-service:example")]);
    let service = world.vip(NameKind::Service, "example").expect("a service");
    assert_eq!(targets(&service), [(443, "service")]);
    assert_eq!(world.vip(NameKind::Host, "10.9.9.9").expect("a host").address, "10.9.9.9", "it is its own address");
    let mut silent: pb::ExternalService = external("example", "example", "example.com:443").proto().expect("encoded");
    silent.networking.as_mut().expect("set").disable_host_dns_entry = true;
    world.put(Resource::from_proto(ResourceKey::new(Kind::ExternalService, "demo", "example"), &silent));
    assert_eq!(world.vip(NameKind::Host, "example.com"), None);
}

#[test]
fn a_name_that_is_claimed_twice_stays_with_the_first() {
    let mut world = World::new("240.0.0.0/4");
    world.put(external("b", "b", "example.com:443"));
    world.put(external("a", "a", "example.com:443"));
    world.put(external("c", "c", "example.com:80"));
    let vip = world.vip(NameKind::Host, "example.com").expect("a host");
    assert_eq!(targets(&vip), [(80, "external-service:c"), (443, "external-service:a")]);
    assert_eq!(world.problems.len(), 1);
    let problem = &world.problems[0];
    for part in ["port 443 of host:example.com", "external-service:a", "external-service:b", "disableHostDNSEntry"] {
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(world.vips().len(), 4, "everything else has its name");
    world.put(service("web"));
    assert_eq!(world.problems.len(), 1, "it is told once");

    world.put(virtual_outbound("one", &[("kuma.io/service", "*")], "all.example", "80"));
    let vip = world.vip(NameKind::Domain, "all.example").expect("a host name");
    assert_eq!(vip.outbounds[0].tags, tags(&[("kuma.io/service", "web")]), "Dataplanes come first");
    assert_eq!(world.problems.len(), 4, "{:?}", world.problems);
}

#[test]
fn a_template_that_makes_no_name_is_told_and_harms_nobody() {
    let mut world = World::new("240.0.0.0/4");
    world.put(virtual_outbound("versions", &[("kuma.io/service", "*")], "{{.version}}.example", "80"));
    world.put(service("web"));
    world.put(dataplane("api", &[&[("kuma.io/service", "api"), ("version", "2")]]));
    let names: Vec<_> = world.vips().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["service:api", "service:web", "fqdn:2.example"]);
    assert!(
        world
            .problems
            .iter()
            .any(|problem| problem.contains("\"versions\"") && problem.contains("kuma.io/service=web"))
    );
}

#[test]
fn a_full_range_leaves_the_others_served() {
    let mut world = World::new("240.0.0.0/31");
    for name in ["a", "b", "c"] {
        world.put(service(name));
    }
    assert_eq!(world.address("a").as_deref(), Some("240.0.0.0"));
    assert_eq!(world.address("b").as_deref(), Some("240.0.0.1"));
    assert_eq!(world.address("c").as_deref(), Some(""), "it is kept without an address");
    assert_eq!(
        world.problems,
        [
            "all addresses of 240.0.0.0/31 are in use, so there is none for service:c; give a larger range with dnsServer.CIDR"
        ]
    );
    world.delete(&service("a"));
    assert_eq!(world.address("c").as_deref(), Some("240.0.0.0"), "it gets the first one that is free");
}

#[test]
fn a_config_that_cannot_be_read_is_not_written_over() {
    let mut world = World::new("240.0.0.0/4");
    world.put_config("demo", "[]");
    world.put(service("a"));
    assert_eq!(world.text("demo"), "[]");
    assert!(
        world.problems.iter().any(|problem| problem.contains("\"kuma-demo-dns-vips\" cannot be read: invalid JSON"))
    );
    world.put_config("demo", "{}");
    assert_eq!(world.address("a").as_deref(), Some("240.0.0.0"));
}

#[test]
fn gateways_for_other_meshes_are_known_in_all_meshes() {
    use pb::mesh_gateway::{Conf, Listener};
    let listener = |hostname: &str, cross_mesh| Listener {
        hostname: hostname.to_owned(),
        port: 8080,
        cross_mesh,
        tags: tags(&[("port", "http")]),
        ..Listener::default()
    };
    let spec = pb::MeshGateway {
        selectors: vec![pb::Selector { r#match: tags(&[("kuma.io/service", "edge")]) }],
        tags: tags(&[("team", "x")]),
        conf: Some(Conf {
            listeners: vec![listener("edge.example", true), listener("*", true), listener("hidden", false)],
        }),
    };
    let mut world = World::new("240.0.0.0/4");
    world.put(mesh("other"));
    world.put(Resource::from_proto(ResourceKey::new(Kind::MeshGateway, "other", "gw"), &spec));
    let vip = world.vip(NameKind::Domain, "edge.example").expect("known in another mesh");
    assert_eq!(targets(&vip), [(8080, "mesh-gateway:other:gw:edge.example")]);
    let expected = [("kuma.io/mesh", "other"), ("kuma.io/service", "edge"), ("port", "http"), ("team", "x")];
    assert_eq!(vip.outbounds[0].tags, tags(&expected));
    assert!(world.vip(NameKind::Domain, "internal.gw.other.mesh").is_some());
    assert_eq!(world.vips().len(), 2);
}
