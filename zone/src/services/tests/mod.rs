//! Services from facts: first without a store, then with one.

mod addresses;
mod generation;
mod health;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::label::{ORIGIN, ORIGIN_GLOBAL, ZONE};
use tandem_model::{Kind, Resource, Spec};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::mesh::MeshServices;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;

use super::*;

const GRACE: Duration = Duration::from_secs(60 * 60);

pub(super) fn settings() -> ServicesSettings {
    let range = |text: &str| text.parse().expect("a range");
    ServicesSettings {
        zone: "east".to_owned(),
        mesh_service_cidr: range("241.0.0.0/8"),
        mesh_external_service_cidr: range("242.0.0.0/8"),
        mesh_multi_zone_service_cidr: range("243.0.0.0/8"),
        deletion_grace_period: GRACE,
        min_interval: Duration::from_millis(20),
    }
}

/// What [`run`] is told where nothing is left out of configurations.
pub(super) fn nothing_left_out() -> watch::Receiver<Reasons> {
    watch::channel(Reasons::new()).1
}

/// A planner whose writes happen, without a store.
struct World {
    planner: Planner,
    resources: BTreeMap<ResourceKey, Arc<Resource>>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self::with(&settings())
    }

    /// A zone with the mesh `demo` that generates MeshServices, and the HostnameGenerators that a zone starts with.
    fn with(settings: &ServicesSettings) -> Self {
        let now = "2026-03-01T12:00:00Z".parse().expect("a time");
        let mut world = Self { planner: Planner::new(settings), resources: BTreeMap::new(), now };
        world.put(mesh(Mode::Exclusive));
        for generator in tandem_admission::hostname_generators(false) {
            world.put(generator);
        }
        world
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).expect("not that long");
    }

    /// Stores a resource, and goes on until nothing is left to do.
    fn put(&mut self, resource: Resource) {
        self.store(resource);
        self.settle();
    }

    /// Stores a resource without anybody looking at it yet.
    fn store(&mut self, mut resource: Resource) {
        let stored = self.resources.get(&resource.key);
        resource.version = stored.map_or(1, |stored| stored.version + 1);
        resource.created = match stored {
            Some(stored) => stored.created,
            None if resource.created == Timestamp::UNIX_EPOCH => self.now,
            None => resource.created,
        };
        let resource = Arc::new(resource);
        self.resources.insert(resource.key.clone(), resource.clone());
        self.planner.apply(&resource.key, Some(&resource));
    }

    fn delete(&mut self, key: &ResourceKey) {
        self.resources.remove(key).expect("it exists");
        self.planner.apply(key, None);
        self.settle();
    }

    /// Writes until nothing is left to write; returns how many writes that took.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        for _ in 0..4 {
            let writes = self.planner.plan(self.now);
            if writes.is_empty() {
                assert!(!self.planner.is_due());
                return count;
            }
            count += writes.len();
            for write in writes {
                self.write(write);
            }
        }
        panic!("it does not come to an end");
    }

    fn write(&mut self, write: Write) {
        let version = |world: &Self, key: &ResourceKey| world.resources.get(key).map(|stored| stored.version);
        match write {
            Write::Create(resource) => {
                assert_eq!(version(self, &resource.key), None, "{} is there", resource.key);
                self.store(resource);
            }
            Write::Update { resource, expected } => {
                assert_eq!(version(self, &resource.key), expected, "{} is written as it is", resource.key);
                self.store(resource);
            }
            Write::Delete { key, expected } => {
                assert_eq!(version(self, &key), expected, "{key} is deleted as it is");
                self.resources.remove(&key);
                self.planner.apply(&key, None);
            }
            Write::Put(resource) => panic!("{} would be overwritten", resource.key),
        }
    }

    fn get(&self, kind: Kind, name: &str) -> Option<&Resource> {
        self.resources.get(&ResourceKey::new(kind, "demo", name)).map(|resource| &**resource)
    }

    fn service(&self, name: &str) -> &Resource {
        self.get(Kind::MeshService, name).unwrap_or_else(|| panic!("there is no MeshService {name}"))
    }

    /// Names of the MeshServices.
    fn names(&self) -> Vec<&str> {
        self.resources.keys().filter(|key| key.kind == Kind::MeshService).map(|key| key.name.as_str()).collect()
    }
}

fn spec(resource: &Resource) -> &Value {
    match &resource.spec {
        Spec::Json(spec) => spec,
        Spec::Proto(_) => panic!("{} is not JSON", resource.key),
    }
}

fn status(resource: &Resource) -> &Value {
    resource.status.as_ref().expect("services have a status")
}

fn vip(resource: &Resource) -> Option<&str> {
    let status = status(resource);
    status["vips"][0]["ip"].as_str().or_else(|| status["vip"]["ip"].as_str())
}

fn hostnames(resource: &Resource) -> Vec<&str> {
    let addresses = status(resource)["addresses"].as_array().map_or(&[][..], Vec::as_slice);
    addresses.iter().filter_map(|address| address["hostname"].as_str()).collect()
}

fn mesh(mode: Mode) -> Resource {
    let spec = pb::Mesh { mesh_services: Some(MeshServices { mode: mode.into() }), ..Default::default() };
    Resource::from_proto(ResourceKey::global(Kind::Mesh, "demo"), &spec)
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
}

fn inbound(service: &str, port: u32) -> Inbound {
    Inbound { port, tags: tags(&[("kuma.io/service", service)]), ..Default::default() }
}

fn dataplane(name: &str, inbound: Vec<Inbound>) -> Resource {
    let spec = pb::Dataplane { networking: Some(Networking { inbound, ..Default::default() }), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, "demo", name), &spec)
}

fn web(name: &str) -> Resource {
    dataplane(name, vec![inbound("web", 80)])
}

/// The insight of a Dataplane.
fn insight(name: &str, online: bool, backend: &str) -> Resource {
    let subscription = pb::DiscoverySubscription {
        connect_time: Some(prost_types::Timestamp::default()),
        disconnect_time: (!online).then(prost_types::Timestamp::default),
        ..Default::default()
    };
    let m_tls = pb::dataplane_insight::Mtls { issued_backend: backend.to_owned(), ..Default::default() };
    let spec = pb::DataplaneInsight { subscriptions: vec![subscription], m_tls: Some(m_tls), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::DataplaneInsight, "demo", name), &spec)
}

fn resource(kind: Kind, name: &str, spec: Value) -> Resource {
    let mesh = if kind.is_mesh_scoped() { "demo" } else { "" };
    Resource::from_json(ResourceKey::new(kind, mesh, name), spec)
}

/// A MeshService that somebody wrote.
fn written(name: &str, selector: Value) -> Resource {
    let ports = json!([{"name": "main", "port": 80, "targetPort": 80, "appProtocol": "http"}]);
    resource(Kind::MeshService, name, json!({"state": "Unavailable", "selector": selector, "ports": ports}))
}

/// A MeshService of another zone.
fn synced(name: &str, zone: &str) -> Resource {
    let service = written(&format!("{name}-hash"), json!({"dataplaneTags": {"kuma.io/service": name}}));
    service.with_labels([
        (ORIGIN, ORIGIN_GLOBAL),
        (ZONE, zone),
        ("kuma.io/display-name", name),
        ("kuma.io/env", "universal"),
        ("kuma.io/managed-by", "meshservice-generator"),
    ])
}
