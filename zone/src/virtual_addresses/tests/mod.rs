//! Virtual addresses from facts: first without a store, then with one.

mod clashes;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::tags::Tags;
use tandem_model::vips::{NameKind, Vip, VipName, Vips, config_name, parse};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::virtual_outbound::Conf;
use tandem_proto::mesh::v1alpha1::virtual_outbound::conf::TemplateParameter;
use tandem_proto::system::v1alpha1::Config;
use tandem_store::Write;

use super::planner::Planner;
use super::*;

fn settings(range: &str) -> VirtualAddressSettings {
    VirtualAddressSettings {
        zone: "east".to_owned(),
        range: range.parse().expect("a range"),
        domain: "mesh".to_owned(),
        of_services: true,
        tag_first: false,
        min_interval: Duration::from_millis(20),
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
}

fn mesh(name: &str) -> Resource {
    Resource::from_proto(ResourceKey::global(Kind::Mesh, name), &pb::Mesh::default())
}

/// A Dataplane of the mesh `demo` with an inbound for each tag set.
fn dataplane(name: &str, inbounds: &[&[(&str, &str)]]) -> Resource {
    let inbound = |pairs: &&[(&str, &str)]| Inbound { port: 8080, tags: tags(pairs), ..Inbound::default() };
    let networking = Networking {
        address: "10.0.0.1".into(),
        inbound: inbounds.iter().map(inbound).collect(),
        ..Default::default()
    };
    let spec = pb::Dataplane { networking: Some(networking), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, "demo", name), &spec)
}

fn service(name: &str) -> Resource {
    dataplane(name, &[&[("kuma.io/service", name)]])
}

fn external(name: &str, service: &str, address: &str) -> Resource {
    let networking = pb::external_service::Networking { address: address.into(), ..Default::default() };
    let spec = pb::ExternalService { networking: Some(networking), tags: tags(&[("kuma.io/service", service)]) };
    Resource::from_proto(ResourceKey::new(Kind::ExternalService, "demo", name), &spec)
}

fn virtual_outbound(name: &str, selector: &[(&str, &str)], host: &str, port: &str) -> Resource {
    let parameter = |name: &str, tag: &str| TemplateParameter { name: name.into(), tag_key: tag.into() };
    let spec = pb::VirtualOutbound {
        selectors: vec![pb::Selector { r#match: tags(selector) }],
        conf: Some(Conf {
            host: host.into(),
            port: port.into(),
            parameters: vec![parameter("service", "kuma.io/service"), parameter("version", "version")],
        }),
    };
    Resource::from_proto(ResourceKey::new(Kind::VirtualOutbound, "demo", name), &spec)
}

/// A planner whose writes happen, without a store.
struct World {
    planner: Planner,
    configs: BTreeMap<String, Arc<Resource>>,
    version: u64,
    problems: Vec<String>,
    writes: usize,
}

impl World {
    fn new(range: &str) -> Self {
        Self::with(settings(range))
    }

    fn with(settings: VirtualAddressSettings) -> Self {
        let planner = Planner::new(settings);
        let mut world = Self { planner, configs: BTreeMap::new(), version: 0, problems: Vec::new(), writes: 0 };
        world.put(mesh("demo"));
        world
    }

    fn put(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        self.planner.apply(&resource.key, Some(&resource));
        self.settle();
    }

    fn delete(&mut self, resource: &Resource) {
        self.planner.apply(&resource.key, None);
        self.settle();
    }

    /// Stores a Config with this text.
    fn put_config(&mut self, mesh: &str, text: &str) {
        let key = ResourceKey::global(Kind::Config, config_name(mesh));
        self.store(Resource::from_proto(key, &Config { config: text.to_owned() }));
        self.settle();
    }

    fn store(&mut self, mut resource: Resource) {
        self.version += 1;
        resource.version = self.version;
        let resource = Arc::new(resource);
        self.configs.insert(resource.key.name.clone(), resource.clone());
        self.planner.apply(&resource.key, Some(&resource));
    }

    fn settle(&mut self) {
        while self.planner.is_due() {
            for mesh in self.planner.take_due() {
                let plan = self.planner.plan(&mesh);
                self.problems.extend(plan.problems);
                match plan.write {
                    None => continue,
                    Some(Write::Create(resource)) => {
                        assert_eq!(resource.owner, Some(ResourceKey::global(Kind::Mesh, mesh)));
                        assert!(!self.configs.contains_key(&resource.key.name));
                        self.store(resource);
                    }
                    Some(Write::Update { resource, expected }) => {
                        assert_eq!(self.configs.get(&resource.key.name).map(|stored| stored.version), expected);
                        self.store(resource);
                    }
                    Some(other) => panic!("neither created nor updated: {other:?}"),
                }
                self.writes += 1;
            }
        }
    }

    fn text(&self, mesh: &str) -> String {
        let config = self.configs.get(&config_name(mesh));
        config.map_or_else(String::new, |config| config.proto::<Config>().expect("a Config").config)
    }

    fn vips(&self) -> Vips {
        parse(&self.text("demo")).expect("written by the planner")
    }

    fn vip(&self, kind: NameKind, name: &str) -> Option<Vip> {
        self.vips().remove(&VipName::new(kind, name))
    }

    /// Address of a service.
    fn address(&self, service: &str) -> Option<String> {
        Some(self.vip(NameKind::Service, service)?.address)
    }
}

#[test]
fn services_get_addresses_in_the_form_of_kuma() {
    let mut world = World::new("240.0.0.0/4");
    assert_eq!(world.text("demo"), "", "nothing is kept for a mesh without names");
    world.put(service("backend"));
    assert_eq!(
        world.text("demo"),
        r#"{"0:backend":{"address":"240.0.0.0","outbounds":[{"Port":0,"TagSet":{"kuma.io/service":"backend"},"Origin":"service"}]}}"#
    );
    world.put(service("another"));
    assert_eq!(world.address("another").as_deref(), Some("240.0.0.1"));
    assert_eq!(world.address("backend").as_deref(), Some("240.0.0.0"), "it stays");
    let writes = world.writes;
    world.put(dataplane("backend-2", &[&[("kuma.io/service", "backend")]]));
    assert_eq!(world.writes, writes, "a second proxy changes nothing");
}

#[test]
fn both_forms_are_read_and_the_configured_one_is_written() {
    let mut world = World::with(VirtualAddressSettings { tag_first: true, ..settings("240.0.0.0/4") });
    world.put(service("a"));
    assert_eq!(world.text("demo"), r#"{"v":{"a":{"oe":[{"ap":[{"a":"240.0.0.0","o":"svc"}]}]}}}"#);
    world.put(service("b"));
    assert_eq!(world.address("a").as_deref(), Some("240.0.0.0"));
    assert_eq!(world.address("b").as_deref(), Some("240.0.0.1"));
}

#[test]
fn a_freed_address_comes_again_last() {
    let mut world = World::new("240.0.0.0/30");
    for name in ["a", "b", "c"] {
        world.put(service(name));
    }
    world.delete(&service("b"));
    assert_eq!(world.address("b"), None);
    world.put(service("d"));
    assert_eq!(world.address("d").as_deref(), Some("240.0.0.3"));
    world.put(service("e"));
    assert_eq!(world.address("e").as_deref(), Some("240.0.0.1"));
}

#[test]
fn what_a_zone_of_kuma_kept_goes_on() {
    let mut world = World::new("240.0.0.0/4");
    let kept = r#"{"0:b":{"address":"240.0.0.7","outbounds":[{"Port":0,"TagSet":{"kuma.io/service":"b"},"Origin":"service"}]},"0:out":{"address":"10.9.0.1","outbounds":[{"Port":0,"TagSet":{"kuma.io/service":"out"},"Origin":"service"}]}}"#;
    world.put_config("demo", kept);
    // Nothing of this mesh is known yet but its addresses.
    assert_eq!(world.vips().len(), 0);
    world.put_config("demo", kept);
    for name in ["a", "b", "out"] {
        let resource = Arc::new(service(name));
        world.planner.apply(&resource.key, Some(&resource));
    }
    world.put_config("demo", kept);
    assert_eq!(world.address("b").as_deref(), Some("240.0.0.7"));
    assert_eq!(world.address("a").as_deref(), Some("240.0.0.8"), "what may have been in use is not given away");
    assert_eq!(world.address("out").as_deref(), Some("240.0.0.9"), "its address is not of the range");
}

#[test]
fn meshes_have_addresses_of_their_own() {
    let mut world = World::new("240.0.0.0/4");
    world.put(mesh("other"));
    world.put(service("a"));
    let key = ResourceKey::new(Kind::Dataplane, "other", "a");
    world.put(Resource { key, ..service("a") });
    assert_eq!(world.text("demo"), world.text("other"));
}

#[test]
fn what_is_switched_off_or_set_aside_has_no_name() {
    let mut world = World::with(VirtualAddressSettings { of_services: false, ..settings("240.0.0.0/4") });
    world.put(service("a"));
    world.put(external("example", "example", "example.com:443"));
    assert_eq!(world.vips().keys().map(ToString::to_string).collect::<Vec<_>>(), ["host:example.com"]);

    let mut world = World::new("240.0.0.0/4");
    let mut ignored = pb::Dataplane::default();
    let states = [(8080, 2), (49151, 0)];
    let inbound = |(port, state): (u32, i32)| Inbound {
        port,
        state,
        tags: tags(&[("kuma.io/service", "x")]),
        ..Default::default()
    };
    ignored.networking = Some(Networking { inbound: states.map(inbound).to_vec(), ..Default::default() });
    world.put(Resource::from_proto(ResourceKey::new(Kind::Dataplane, "demo", "ignored"), &ignored));
    assert!(world.vips().is_empty());
}

#[test]
fn services_of_other_zones_have_addresses_too() {
    use pb::zone_ingress::AvailableService;
    let mut world = World::new("240.0.0.0/4");
    world.put(virtual_outbound("vo", &[("kuma.io/service", "*")], "{{.service}}.example", "8080"));
    let offer = |mesh: &str, service: &str| AvailableService {
        mesh: mesh.to_owned(),
        tags: tags(&[("kuma.io/service", service)]),
        instances: 1,
        ..AvailableService::default()
    };
    let ingress = |zone: &str| {
        let spec = pb::ZoneIngress {
            zone: zone.to_owned(),
            available_services: vec![offer("demo", "far"), offer("other", "elsewhere")],
            ..pb::ZoneIngress::default()
        };
        Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, "ingress"), &spec)
    };
    world.put(ingress("east"));
    assert!(world.vips().is_empty(), "its own ingress tells nothing new");
    world.put(ingress("west"));
    let names: Vec<_> = world.vips().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["service:far", "fqdn:far.example"], "nothing of another mesh");
    world.delete(&ingress("west"));
    assert!(world.vips().is_empty());
}

#[test]
fn addresses_are_those_that_a_zone_of_kuma_gives() {
    let mut world = World::new("240.0.0.0/4");
    // All of them are there when the first addresses are given, as when a zone starts.
    let resources = [
        dataplane("web-1", &[&[("kuma.io/service", "web"), ("version", "1")]]),
        service("db_main"),
        service("client"),
        external("ex", "ex", "example.com:443"),
        external("ip", "ip", "192.0.2.7:9000"),
        virtual_outbound("vo", &[("kuma.io/service", "*")], "{{.service}}.vo.mesh", "8081"),
    ];
    for resource in resources.map(Arc::new) {
        world.planner.apply(&resource.key, Some(&resource));
    }
    world.settle();
    let given: Vec<_> = world.vips().into_iter().map(|(name, vip)| format!("{} {name}", vip.address)).collect();
    assert_eq!(
        given,
        [
            "240.0.0.0 service:client",
            "240.0.0.1 service:db_main",
            "240.0.0.2 service:ex",
            "240.0.0.3 service:ip",
            "240.0.0.4 service:web",
            "192.0.2.7 host:192.0.2.7",
            "240.0.0.5 host:example.com",
            "240.0.0.6 fqdn:client.vo.mesh",
            "240.0.0.7 fqdn:db_main.vo.mesh",
            "240.0.0.8 fqdn:ex.vo.mesh",
            "240.0.0.9 fqdn:ip.vo.mesh",
            "240.0.0.10 fqdn:web.vo.mesh",
        ]
    );
}
