//! Insights written from a store in memory.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Timestamp;
use tandem_insights::{InsightsSettings, global_insight, run, service_insight_name};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::{Health, State};
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway, Inbound};
use tandem_proto::mesh::v1alpha1::mesh_insight::DataplaneStat;
use tandem_proto::mesh::v1alpha1::service_insight::service::{Status, Type};
use tandem_proto::mesh::v1alpha1::{
    Dataplane, DataplaneInsight, DiscoverySubscription, EnvoyVersion, ExternalService, KumaDpVersion, Mesh,
    MeshInsight, ServiceInsight, Version, ZoneIngressInsight, dataplane_insight, external_service,
};
use tandem_proto::system::v1alpha1::{KdsSubscription, ZoneInsight};
use tandem_store::{ChangeBatch, MemoryStore, SharedStore, Write};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(40);
/// When nothing is written for so long, nothing more is to be written.
const QUIET: Duration = Duration::from_millis(300);

struct Setup {
    store: SharedStore,
    cancel: CancellationToken,
}

impl Setup {
    /// A store with the mesh `default`, and the writer at work.
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let cancel = CancellationToken::new();
        tokio::spawn(run(store.clone(), InsightsSettings { min_interval: INTERVAL }, cancel.clone()));
        let setup = Self { store, cancel };
        setup.put(Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &Mesh::default())).await;
        setup
    }

    async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }

    async fn delete(&self, key: ResourceKey) {
        self.store.commit(vec![Write::Delete { key, expected: None }]).await.expect("exists");
    }

    /// The insights once everything is written.
    async fn insights(&self) -> (MeshInsight, Option<ServiceInsight>) {
        self.settle().await;
        let mesh = self.stored(ResourceKey::global(Kind::MeshInsight, "default")).await.expect("written");
        let service = self.stored(service_key()).await;
        (mesh.proto().expect("a MeshInsight"), service.map(|service| service.proto().expect("a ServiceInsight")))
    }

    async fn settle(&self) {
        let mut feed = self.store.changes(self.store.revision());
        while timeout(QUIET, feed.next()).await.is_ok() {}
    }

    async fn services(&self) -> ServiceInsight {
        self.insights().await.1.expect("written")
    }

    async fn stored(&self, key: ResourceKey) -> Option<Arc<Resource>> {
        self.store.get(&key).await.expect("readable")
    }
}

fn service_key() -> ResourceKey {
    ResourceKey::new(Kind::ServiceInsight, "default", service_insight_name("default"))
}

fn inbound(service: &str, zone: &str) -> Inbound {
    let tags = [("kuma.io/service", service), ("kuma.io/zone", zone)];
    let tags = tags.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Inbound { port: 80, tags, ..Inbound::default() }
}

fn unready(service: &str, zone: &str) -> Inbound {
    Inbound { health: Some(Health { ready: false }), ..inbound(service, zone) }
}

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "default", name)
}

fn sidecar(name: &str, inbound: Vec<Inbound>) -> Resource {
    let networking = Networking { inbound, ..Networking::default() };
    Resource::from_proto(key(name), &Dataplane { networking: Some(networking), ..Dataplane::default() })
}

fn gateway(name: &str, service: &str, r#type: GatewayType) -> Resource {
    let gateway = Gateway { tags: inbound(service, "east").tags, r#type: r#type.into() };
    let networking = Networking { gateway: Some(gateway), ..Networking::default() };
    Resource::from_proto(key(name), &Dataplane { networking: Some(networking), ..Dataplane::default() })
}

fn subscription(online: bool) -> DiscoverySubscription {
    let time = Some(Timestamp { seconds: 1, nanos: 0 });
    DiscoverySubscription {
        connect_time: time,
        disconnect_time: time.filter(|_| !online),
        version: Some(Version {
            kuma_dp: Some(KumaDpVersion { version: "2.13.10".into(), ..KumaDpVersion::default() }),
            envoy: Some(EnvoyVersion { version: "1.36.4".into(), ..EnvoyVersion::default() }),
            ..Version::default()
        }),
        ..DiscoverySubscription::default()
    }
}

/// Insight of a proxy with a certificate of `backend`, if any.
fn connection(name: &str, online: bool, backend: Option<&str>) -> Resource {
    let m_tls = backend.map(|backend| dataplane_insight::Mtls {
        issued_backend: backend.to_owned(),
        supported_backends: vec![backend.to_owned(), "ca-0".to_owned()],
        ..dataplane_insight::Mtls::default()
    });
    let insight = DataplaneInsight { subscriptions: vec![subscription(online)], m_tls, ..DataplaneInsight::default() };
    Resource::from_proto(ResourceKey::new(Kind::DataplaneInsight, "default", name), &insight).with_owner(key(name))
}

fn external(name: &str, service: &str, address: &str) -> Resource {
    let networking =
        external_service::Networking { address: address.into(), ..external_service::Networking::default() };
    let service = ExternalService { networking: Some(networking), tags: inbound(service, "west").tags };
    Resource::from_proto(ResourceKey::new(Kind::ExternalService, "default", name), &service)
}

fn stat(online: u32, offline: u32, partially_degraded: u32) -> DataplaneStat {
    DataplaneStat { total: online + offline + partially_degraded, online, offline, partially_degraded }
}

#[tokio::test]
async fn an_empty_mesh_has_a_mesh_insight_only() {
    let setup = Setup::new().await;
    let (mesh, services) = setup.insights().await;
    assert_eq!(mesh.dataplanes, Some(stat(0, 0, 0)));
    assert!(mesh.resources.is_empty() && mesh.policies.is_empty());
    let by_type = mesh.dataplanes_by_type.expect("present even if empty");
    assert!(by_type.standard.is_some() && by_type.gateway.is_some());
    assert!(mesh.dp_versions.is_some() && mesh.m_tls.is_some() && mesh.services.is_some());
    assert_eq!(services, None);
    let stored = setup.stored(ResourceKey::global(Kind::MeshInsight, "default")).await.expect("written");
    assert_eq!(stored.owner, Some(ResourceKey::global(Kind::Mesh, "default")));
    assert!(stored.labels.is_empty());
}

#[tokio::test]
async fn proxies_are_counted_by_state_role_version_and_authority() {
    let setup = Setup::new().await;
    setup.put(sidecar("ready", vec![inbound("web", "east"), inbound("api", "east")])).await;
    setup.put(connection("ready", true, Some("ca-1"))).await;
    setup.put(sidecar("half", vec![inbound("web", "east"), unready("api", "west")])).await;
    setup.put(connection("half", true, Some("ca-1"))).await;
    setup.put(sidecar("unready", vec![unready("web", "east")])).await;
    setup.put(connection("unready", true, None)).await;
    setup.put(sidecar("without-inbounds", vec![])).await;
    setup.put(connection("without-inbounds", true, None)).await;
    setup.put(sidecar("left", vec![inbound("web", "east")])).await;
    setup.put(connection("left", false, None)).await;
    setup.put(sidecar("never-seen", vec![inbound("web", "east")])).await;
    setup.put(gateway("edge", "edge", GatewayType::Builtin)).await;
    setup.put(connection("edge", true, None)).await;
    setup.put(gateway("kong", "kong", GatewayType::Delegated)).await;

    let (mesh, services) = setup.insights().await;
    assert_eq!(mesh.dataplanes, Some(stat(2, 5, 1)));
    let by_type = mesh.dataplanes_by_type.expect("present");
    assert_eq!(by_type.standard, Some(stat(1, 4, 1)));
    assert_eq!(by_type.gateway_builtin, Some(stat(1, 0, 0)));
    assert_eq!(by_type.gateway_delegated, Some(stat(0, 1, 0)));
    assert_eq!(by_type.gateway, Some(stat(1, 1, 0)));
    let versions = mesh.dp_versions.expect("present");
    // Partially degraded proxies are not part of the totals by version.
    assert_eq!(versions.kuma_dp["2.13.10"], DataplaneStat { total: 5, ..stat(2, 3, 1) });
    assert_eq!(versions.envoy["1.36.4"], DataplaneStat { total: 5, ..stat(2, 3, 1) });
    assert_eq!(versions.kuma_dp["unknown"], stat(0, 2, 0));
    let mtls = mesh.m_tls.expect("present");
    assert_eq!(mtls.issued_backends.into_iter().collect::<Vec<_>>(), [("ca-1".to_owned(), stat(1, 0, 1))]);
    assert_eq!(mtls.supported_backends["ca-0"], stat(1, 0, 1));
    assert_eq!(mesh.services.map(|s| (s.total, s.internal, s.external)), Some((4, 4, 0)));

    let services = services.expect("written").services;
    let summary = |name: &str| {
        let service = &services[name];
        let stat = service.dataplanes.expect("present");
        (service.status(), service.service_type(), stat.online, stat.offline, stat.total)
    };
    assert_eq!(services.len(), 4);
    assert_eq!(summary("web"), (Status::PartiallyDegraded, Type::Internal, 1, 4, 0));
    assert_eq!(summary("api"), (Status::PartiallyDegraded, Type::Internal, 1, 1, 0));
    assert_eq!(summary("edge"), (Status::Online, Type::GatewayBuiltin, 1, 0, 0));
    assert_eq!(summary("kong"), (Status::Offline, Type::GatewayDelegated, 0, 1, 0));
    assert_eq!(services["api"].zones, ["east", "west"]);
    assert_eq!(services["web"].issued_backends["ca-1"], 2);
    assert_eq!(services["web"].address_port, "");
}

#[tokio::test]
async fn ignored_inbounds_and_missing_service_tags_make_no_service() {
    let setup = Setup::new().await;
    let mut ignored = inbound("hidden", "east");
    ignored.set_state(State::Ignored);
    setup.put(sidecar("a", vec![ignored, inbound("", "east"), inbound("web", "")])).await;
    let (mesh, services) = setup.insights().await;
    assert_eq!(mesh.services.map(|s| s.internal), Some(1));
    let services = services.expect("written").services;
    assert_eq!(services.keys().collect::<Vec<_>>(), ["web"]);
    assert!(services["web"].zones.is_empty());
}

#[tokio::test]
async fn external_services_are_listed_with_their_address() {
    let setup = Setup::new().await;
    setup.put(external("httpbin", "httpbin", "httpbin.org:443")).await;
    setup.put(external("web-outside", "web", "example.com:80")).await;
    setup.put(sidecar("a", vec![inbound("web", "east")])).await;
    let (mesh, services) = setup.insights().await;
    assert_eq!(mesh.services.map(|s| (s.total, s.internal, s.external)), Some((3, 1, 2)));
    assert_eq!(mesh.resources["ExternalService"].total, 2);
    assert!(!mesh.policies.contains_key("ExternalService"));
    let services = services.expect("written").services;
    let httpbin = &services["httpbin"];
    assert_eq!((httpbin.status(), httpbin.service_type()), (Status::NotAvailable, Type::External));
    assert_eq!(
        (httpbin.address_port.as_str(), httpbin.zones.as_slice()),
        ("httpbin.org:443", &["west".to_owned()][..])
    );
    // The proxy came first, so the service is internal.
    assert_eq!((services["web"].service_type(), services["web"].address_port.as_str()), (Type::Internal, ""));

    setup.put(external("httpbin", "httpbin", "httpbin.org:80")).await;
    assert_eq!(setup.services().await.services["httpbin"].address_port, "httpbin.org:80");
}

#[tokio::test]
async fn resources_are_counted_by_type() {
    let setup = Setup::new().await;
    let policy = |kind, name: &str| Resource::from_json(ResourceKey::new(kind, "default", name), serde_json::json!({}));
    setup.put(policy(Kind::MeshTimeout, "a")).await;
    setup.put(policy(Kind::MeshTimeout, "b")).await;
    setup.put(policy(Kind::MeshService, "web")).await;
    setup.put(sidecar("a", vec![])).await;
    setup.put(connection("a", true, None)).await;
    let (mesh, _) = setup.insights().await;
    let resources: Vec<_> = mesh.resources.iter().map(|(kind, stat)| (kind.as_str(), stat.total)).collect();
    assert_eq!(resources, [("Dataplane", 1), ("MeshService", 1), ("MeshTimeout", 2)]);
    let policies: Vec<_> = mesh.policies.iter().map(|(kind, stat)| (kind.as_str(), stat.total)).collect();
    assert_eq!(policies, [("MeshTimeout", 2)]);
    for name in ["a", "b"] {
        setup.delete(ResourceKey::new(Kind::MeshTimeout, "default", name)).await;
    }
    assert!(setup.insights().await.0.policies.is_empty());
}

#[tokio::test]
async fn insights_go_and_come_back_with_their_mesh() {
    let setup = Setup::new().await;
    setup.put(sidecar("a", vec![inbound("web", "east")])).await;
    setup.services().await;
    setup.delete(ResourceKey::global(Kind::Mesh, "default")).await;
    setup.settle().await;
    assert_eq!(setup.stored(service_key()).await, None);
    setup.put(Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &Mesh::default())).await;
    assert!(setup.services().await.services.contains_key("web"));
    // A ServiceInsight stays when its last service goes.
    setup.delete(key("a")).await;
    assert!(setup.services().await.services.is_empty());
}

#[tokio::test]
async fn a_burst_is_written_soon_and_then_once_per_interval() {
    let setup = Setup::new().await;
    setup.insights().await;
    let mut feed = setup.store.changes(setup.store.revision());
    let start = Instant::now();
    for n in 0..40 {
        setup.put(sidecar(&format!("dp-{n}"), vec![inbound("web", "east")])).await;
        sleep(INTERVAL / 10).await;
    }
    let intervals = u32::try_from(start.elapsed().as_millis() / INTERVAL.as_millis()).expect("a short time");
    let mut writes = Vec::new();
    setup.settle().await;
    let Some(ChangeBatch::Changes { changes, .. }) = feed.next().await else { panic!("not far behind") };
    for change in changes.iter().filter(|change| change.key.kind == Kind::MeshInsight) {
        let insight: MeshInsight = change.new.as_ref().expect("not deleted").proto().expect("a MeshInsight");
        writes.push(insight.dataplanes.expect("present").total);
    }
    assert!(writes[0] < 40, "the first write does not wait for the end of the burst: {writes:?}");
    assert_eq!(writes.last(), Some(&40));
    assert!(writes.len() <= intervals as usize + 2, "{writes:?} in {intervals} intervals");
}

#[tokio::test]
async fn what_does_not_count_causes_no_write() {
    let setup = Setup::new().await;
    setup.put(sidecar("a", vec![inbound("web", "east")])).await;
    setup.put(connection("a", true, None)).await;
    setup.insights().await;
    let revision = setup.store.revision();
    let mut counted = connection("a", true, None);
    let mut insight: DataplaneInsight = counted.proto().expect("a DataplaneInsight");
    insight.subscriptions[0].generation = 7;
    counted.spec = Resource::from_proto(counted.key.clone(), &insight).spec;
    setup.put(counted).await;
    setup.insights().await;
    assert_eq!(setup.store.revision(), revision + 1);
    // A new writer finds everything in place.
    setup.cancel.cancel();
    tokio::spawn(run(setup.store.clone(), InsightsSettings { min_interval: INTERVAL }, CancellationToken::new()));
    setup.insights().await;
    assert_eq!(setup.store.revision(), revision + 1);
}

#[tokio::test]
async fn a_resource_that_does_not_decode_is_left_out() {
    let setup = Setup::new().await;
    let mut broken = sidecar("broken", vec![]);
    broken.spec = tandem_model::Spec::Proto(vec![0xff].into());
    setup.put(broken).await;
    setup.put(sidecar("a", vec![inbound("web", "east")])).await;
    let (mesh, services) = setup.insights().await;
    assert_eq!(mesh.dataplanes.map(|stat| stat.total), Some(1));
    assert_eq!(mesh.resources["Dataplane"].total, 2);
    assert_eq!(services.expect("written").services.len(), 1);
}

#[tokio::test]
async fn the_global_insight_sums_up() {
    let setup = Setup::new().await;
    let empty = serde_json::to_value(global_insight(&*setup.store).await.expect("readable")).expect("JSON");
    assert_eq!(empty["zones"]["controlPlanes"], serde_json::json!({"online": 0, "total": 0}));
    assert_eq!(
        empty["services"]["internal"],
        serde_json::json!({"offline": 0, "online": 0, "partiallyDegraded": 0, "total": 0})
    );
    assert_eq!(empty["services"]["external"], serde_json::json!({"total": 0}));

    setup.put(Resource::from_proto(ResourceKey::global(Kind::Mesh, "other"), &Mesh::default())).await;
    setup.put(sidecar("a", vec![inbound("web", "east")])).await;
    setup.put(connection("a", true, None)).await;
    setup.put(gateway("kong", "kong", GatewayType::Delegated)).await;
    setup.put(external("httpbin", "httpbin", "httpbin.org:443")).await;
    let policy = ResourceKey::new(Kind::MeshTimeout, "other", "t");
    setup.put(Resource::from_json(policy, serde_json::json!({}))).await;
    let zone = |name: &str, online: bool| {
        let time = Some(Timestamp { seconds: 1, nanos: 0 });
        let disconnect_time = time.filter(|_| !online);
        let subscription = KdsSubscription { connect_time: time, disconnect_time, ..KdsSubscription::default() };
        let insight = ZoneInsight { subscriptions: vec![subscription], ..ZoneInsight::default() };
        Resource::from_proto(ResourceKey::global(Kind::ZoneInsight, name), &insight)
    };
    setup.put(zone("east", true)).await;
    setup.put(zone("west", false)).await;
    let ingress = ZoneIngressInsight { subscriptions: vec![subscription(true)], ..ZoneIngressInsight::default() };
    setup.put(Resource::from_proto(ResourceKey::global(Kind::ZoneIngressInsight, "zi"), &ingress)).await;
    setup.insights().await;

    let sum = serde_json::to_value(global_insight(&*setup.store).await.expect("readable")).expect("JSON");
    assert!(sum["createdAt"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(sum["meshes"]["total"], 2);
    assert_eq!(sum["policies"]["total"], 1);
    assert_eq!(sum["resources"]["Dataplane"]["total"], 2);
    assert_eq!(sum["dataplanes"]["standard"]["online"], 1);
    assert_eq!(sum["dataplanes"]["gatewayDelegated"]["offline"], 1);
    assert_eq!(sum["services"]["internal"]["online"], 1);
    assert_eq!(sum["services"]["gatewayDelegated"]["offline"], 1);
    assert_eq!(sum["services"]["external"]["total"], 1);
    assert_eq!(sum["zones"]["controlPlanes"], serde_json::json!({"online": 1, "total": 2}));
    assert_eq!(sum["zones"]["zoneIngresses"], serde_json::json!({"online": 1, "total": 1}));
    assert_eq!(sum["zones"]["zoneEgresses"]["total"], 0);
}
