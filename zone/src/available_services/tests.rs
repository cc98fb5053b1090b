use tandem_model::tags::Tags;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::Health;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway, Inbound};
use tandem_proto::mesh::v1alpha1::mesh::MeshServices;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;
use tandem_proto::mesh::v1alpha1::mesh_gateway::{Conf, Listener};
use tandem_proto::mesh::v1alpha1::{Dataplane, ExternalService, Mesh, MeshGateway, Routing, Selector, zone_ingress};
use tandem_store::MemoryStore;
use tokio::time::timeout;

use super::*;

const INTERVAL: Duration = Duration::from_millis(40);

struct Setup {
    store: SharedStore,
}

impl Setup {
    async fn new(tag_filters: &[&str]) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let settings = AvailableServicesSettings {
            zone: "east".into(),
            tag_filters: tag_filters.iter().map(|prefix| (*prefix).to_owned()).collect(),
            min_interval: INTERVAL,
        };
        tokio::spawn(run(store.clone(), settings, CancellationToken::new()));
        let setup = Self { store };
        setup.put(ingress("zi", "")).await;
        setup.put(mesh("default", Mode::Disabled, false)).await;
        setup
    }

    async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }

    async fn settle(&self) {
        let mut feed = self.store.changes(self.store.revision());
        while timeout(Duration::from_millis(250), feed.next()).await.is_ok() {}
    }

    /// The list of an ingress once everything is written: mesh, tags and instances; `external` for external services.
    async fn listed(&self, ingress: &str) -> Vec<String> {
        self.settle().await;
        let stored = self.store.get(&ResourceKey::global(Kind::ZoneIngress, ingress)).await.expect("readable");
        let spec: ZoneIngress = stored.expect("exists").proto().expect("a ZoneIngress");
        let line = |service: &AvailableService| {
            let tags: Vec<_> = service.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
            let external = if service.external_service { " external" } else { "" };
            format!("{} {} x{}{external}", service.mesh, tags.join(","), service.instances)
        };
        spec.available_services.iter().map(line).collect()
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
}

fn ingress(name: &str, zone: &str) -> Resource {
    let networking = zone_ingress::Networking { address: "10.0.0.9".into(), port: 10001, ..Default::default() };
    let spec = ZoneIngress { zone: zone.into(), networking: Some(networking), ..Default::default() };
    Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, name), &spec).with_labels([("kept", "yes")])
}

fn mesh(name: &str, mode: Mode, zone_egress: bool) -> Resource {
    let spec = Mesh {
        mesh_services: Some(MeshServices { mode: mode.into() }),
        routing: Some(Routing { zone_egress, ..Default::default() }),
        ..Default::default()
    };
    Resource::from_proto(ResourceKey::global(Kind::Mesh, name), &spec)
}

fn inbound(pairs: &[(&str, &str)], ready: bool) -> Inbound {
    Inbound { port: 80, tags: tags(pairs), health: Some(Health { ready }), ..Default::default() }
}

fn sidecar(mesh: &str, name: &str, inbound: Vec<Inbound>) -> Resource {
    let spec = Dataplane { networking: Some(Networking { inbound, ..Default::default() }), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, mesh, name), &spec)
}

fn web(mesh: &str, name: &str, ready: bool) -> Resource {
    sidecar(mesh, name, vec![inbound(&[("kuma.io/service", "web"), ("version", "1")], ready)])
}

fn external(mesh: &str, name: &str, zone: &str) -> Resource {
    let spec =
        ExternalService { tags: tags(&[("kuma.io/service", "httpbin"), ("kuma.io/zone", zone)]), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::ExternalService, mesh, name), &spec)
}

#[tokio::test]
async fn healthy_inbounds_are_counted_by_mesh_and_tags() {
    let setup = Setup::new(&[]).await;
    setup.put(mesh("alpha", Mode::ReachableBackends, false)).await;
    setup.put(web("default", "one", true)).await;
    setup.put(web("default", "two", true)).await;
    setup.put(web("default", "unready", false)).await;
    setup.put(web("alpha", "one", true)).await;
    setup.put(sidecar("default", "api", vec![inbound(&[("kuma.io/service", "api")], true)])).await;
    setup.put(web("nowhere", "one", true)).await;
    let expected = [
        "alpha kuma.io/service=web,version=1 x1",
        "default kuma.io/service=api x1",
        "default kuma.io/service=web,version=1 x2",
    ];
    assert_eq!(setup.listed("zi").await, expected);

    setup.put(web("default", "two", false)).await;
    setup
        .store
        .commit(vec![Write::Delete { key: web("alpha", "one", true).key, expected: None }])
        .await
        .expect("exists");
    assert_eq!(
        setup.listed("zi").await,
        ["default kuma.io/service=api x1", "default kuma.io/service=web,version=1 x1"]
    );
}

#[tokio::test]
async fn tag_filters_keep_tags_by_prefix() {
    let setup = Setup::new(&["kuma.io/"]).await;
    setup.put(web("default", "one", true)).await;
    assert_eq!(setup.listed("zi").await, ["default kuma.io/service=web x1"]);
}

#[tokio::test]
async fn meshes_of_mesh_services_only_are_left_out() {
    let setup = Setup::new(&[]).await;
    setup.put(web("default", "one", true)).await;
    setup.put(external("default", "httpbin", "east")).await;
    setup.put(mesh("default", Mode::Exclusive, true)).await;
    assert!(setup.listed("zi").await.is_empty());
    setup.put(mesh("default", Mode::Everywhere, false)).await;
    assert_eq!(setup.listed("zi").await.len(), 1);
}

#[tokio::test]
async fn external_services_of_this_zone_need_an_egress() {
    let setup = Setup::new(&[]).await;
    setup.put(web("default", "one", true)).await;
    setup.put(external("default", "here", "east")).await;
    setup.put(external("default", "there", "west")).await;
    assert_eq!(setup.listed("zi").await.len(), 1);
    setup.put(mesh("default", Mode::Disabled, true)).await;
    let expected =
        ["default kuma.io/service=web,version=1 x1", "default kuma.io/service=httpbin,kuma.io/zone=east x1 external"];
    assert_eq!(setup.listed("zi").await, expected);
}

#[tokio::test]
async fn gateways_offer_their_listeners_for_other_meshes() {
    let setup = Setup::new(&[]).await;
    let gateway = |name: &str, selector: &[(&str, &str)], listener: &str, cross_mesh: bool| {
        let listener = Listener { tags: tags(&[("port", listener)]), cross_mesh, ..Default::default() };
        let spec = MeshGateway {
            selectors: vec![Selector { r#match: tags(selector) }],
            tags: tags(&[("gateway", name)]),
            conf: Some(Conf { listeners: vec![listener] }),
        };
        Resource::from_proto(ResourceKey::new(Kind::MeshGateway, "default", name), &spec)
    };
    let own = Gateway { tags: tags(&[("kuma.io/service", "edge"), ("v", "1")]), r#type: GatewayType::Builtin.into() };
    let spec =
        Dataplane { networking: Some(Networking { gateway: Some(own), ..Default::default() }), ..Default::default() };
    setup.put(Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", "edge"), &spec)).await;
    assert!(setup.listed("zi").await.is_empty());
    setup.put(gateway("wide", &[("kuma.io/service", "*")], "http", true)).await;
    assert_eq!(
        setup.listed("zi").await,
        ["default gateway=wide,kuma.io/mesh=default,kuma.io/service=edge,port=http,v=1 x1"]
    );
    // More specific, although it has nothing for other meshes.
    setup.put(gateway("narrow", &[("kuma.io/service", "edge"), ("v", "1")], "http", false)).await;
    assert!(setup.listed("zi").await.is_empty());
}

#[tokio::test]
async fn only_ingresses_of_this_zone_are_written_and_only_their_list() {
    let setup = Setup::new(&[]).await;
    setup.put(ingress("foreign", "west")).await;
    setup.put(ingress("named", "east")).await;
    setup.put(web("default", "one", true)).await;
    assert_eq!(setup.listed("zi").await.len(), 1);
    assert_eq!(setup.listed("named").await.len(), 1);
    assert!(setup.listed("foreign").await.is_empty());

    let stored = setup.store.get(&ResourceKey::global(Kind::ZoneIngress, "zi")).await.expect("readable");
    let stored = stored.expect("exists");
    assert_eq!(stored.label("kept"), Some("yes"));
    let spec: ZoneIngress = stored.proto().expect("a ZoneIngress");
    assert_eq!(spec.networking.map(|networking| networking.port), Some(10001));

    // An ingress that comes later, or comes back without a list, gets it.
    setup.put(ingress("late", "")).await;
    setup.put(ingress("zi", "")).await;
    assert_eq!(setup.listed("late").await.len(), 1);
    assert_eq!(setup.listed("zi").await.len(), 1);
}

#[tokio::test]
async fn what_changes_nothing_is_not_written() {
    let setup = Setup::new(&[]).await;
    setup.put(web("default", "one", true)).await;
    setup.settle().await;
    let revision = setup.store.revision();
    // Another port is no other service.
    let mut other = web("default", "one", true);
    let mut spec: Dataplane = other.proto().expect("a Dataplane");
    spec.networking.as_mut().expect("set").inbound[0].port = 81;
    other.spec = Resource::from_proto(other.key.clone(), &spec).spec;
    setup.put(other).await;
    setup.settle().await;
    assert_eq!(setup.store.revision(), revision + 1);
}
