//! What a zone has to offer to other zones, as a list for its ingresses.
//!
//! Source of the rules: Kuma `pkg/zone/available_services.go`, `pkg/xds/ingress/dataplane.go` and, for gateways,
//! `pkg/xds/topology/{outbound,gateway}.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tandem_model::dataplane::{DataplaneExt, InboundExt};
use tandem_model::label::{MESH, ZONE};
use tandem_model::mesh::MeshExt;
use tandem_model::tags::{Rank, Tags, selects};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;
use tandem_proto::mesh::v1alpha1::zone_ingress::AvailableService;
use tandem_proto::mesh::v1alpha1::{Dataplane, ExternalService, Mesh, MeshGateway};

/// Everything in the store of a zone that is reachable through its ingresses.
#[derive(Debug)]
pub(super) struct Offers {
    zone: String,
    tag_filters: Vec<String>,
    meshes: BTreeMap<String, MeshFacts>,
    dataplanes: BTreeMap<ResourceKey, Proxy>,
    /// How many healthy inbounds there are of each service, so that a list costs what there is to list.
    services: BTreeMap<Arc<Service>, u32>,
    externals: BTreeMap<ResourceKey, Tags>,
    gateways: BTreeMap<ResourceKey, Gateway>,
}

#[derive(Debug, PartialEq)]
struct MeshFacts {
    /// Only MeshServices are reachable, and those are not listed.
    exclusive: bool,
    zone_egress: bool,
}

/// Inbounds of one mesh with the same tags, those that pass the filters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    mesh: String,
    tags: Tags,
}

#[derive(Debug, PartialEq)]
struct Proxy {
    /// Services of the healthy inbounds.
    inbounds: Vec<Arc<Service>>,
    /// Set for builtin gateways: all tag sets, and that of the gateway itself.
    gateway: Option<(Vec<Tags>, Tags)>,
}

/// A MeshGateway with listeners for other meshes.
#[derive(Debug, PartialEq)]
struct Gateway {
    created: Timestamp,
    selectors: Vec<Tags>,
    /// For each listener that other meshes may use, the tags of MeshGateway and listener together.
    listeners: Vec<Tags>,
}

/// Instances by mesh and text of the tags, in the order in which they are listed.
type Counted = BTreeMap<(String, String), AvailableService>;

impl Offers {
    /// Nothing on offer yet. With `tag_filters`, of inbounds only tags with one of these prefixes are listed.
    pub(super) fn new(zone: String, tag_filters: Vec<String>) -> Self {
        Self {
            zone,
            tag_filters,
            meshes: BTreeMap::new(),
            dataplanes: BTreeMap::new(),
            services: BTreeMap::new(),
            externals: BTreeMap::new(),
            gateways: BTreeMap::new(),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.meshes.clear();
        self.dataplanes.clear();
        self.services.clear();
        self.externals.clear();
        self.gateways.clear();
    }

    /// Takes notice of a resource that is now so, or is gone; true when the list may differ.
    pub(super) fn apply(&mut self, key: &ResourceKey, new: Option<&Resource>) -> bool {
        match key.kind {
            Kind::Mesh => {
                let facts = new.and_then(decoded::<Mesh>).map(|mesh| MeshFacts {
                    exclusive: mesh.mesh_services_mode() == Mode::Exclusive,
                    zone_egress: mesh.zone_egress(),
                });
                replace(&mut self.meshes, &key.name, facts)
            }
            Kind::Dataplane => {
                let proxy = new.and_then(decoded::<Dataplane>).map(|dataplane| self.proxy(&key.mesh, &dataplane));
                self.replace_dataplane(key, proxy)
            }
            Kind::ExternalService => {
                let tags = new.and_then(decoded::<ExternalService>).map(|service| service.tags);
                let tags = tags.filter(|tags| tags.get(ZONE) == Some(&self.zone));
                replace(&mut self.externals, key, tags)
            }
            Kind::MeshGateway => replace(&mut self.gateways, key, new.and_then(Gateway::of)),
            _ => false,
        }
    }

    fn replace_dataplane(&mut self, key: &ResourceKey, new: Option<Proxy>) -> bool {
        let old = self.dataplanes.get(key);
        if old == new.as_ref() {
            return false;
        }
        for service in new.iter().flat_map(|proxy| &proxy.inbounds) {
            *self.services.entry(service.clone()).or_default() += 1;
        }
        for service in old.iter().flat_map(|proxy| &proxy.inbounds) {
            if let Some(count) = self.services.get_mut(service) {
                *count -= 1;
                if *count == 0 {
                    self.services.remove(service);
                }
            }
        }
        replace(&mut self.dataplanes, key, new)
    }

    fn proxy(&self, mesh: &str, dataplane: &Dataplane) -> Proxy {
        let listed = |tag: &str| {
            self.tag_filters.is_empty() || self.tag_filters.iter().any(|prefix| tag.starts_with(prefix.as_str()))
        };
        let service = |tags: &Tags| {
            let tags = tags.iter().filter(|(tag, _)| listed(tag)).map(|(t, v)| (t.clone(), v.clone())).collect();
            let service = Service { mesh: mesh.to_owned(), tags };
            // Instances of a service share one.
            self.services.get_key_value(&service).map_or_else(|| Arc::new(service), |(known, _)| known.clone())
        };
        let inbounds = dataplane.inbounds().iter().filter(|inbound| inbound.is_healthy());
        let gateway = dataplane.gateway().filter(|_| dataplane.is_builtin_gateway());
        Proxy {
            inbounds: inbounds.map(|inbound| service(&inbound.tags)).collect(),
            gateway: gateway.map(|gateway| (dataplane.tag_sets().cloned().collect(), gateway.tags.clone())),
        }
    }

    /// The list for the ingresses: services of proxies, external services of this zone, then gateways for other meshes;
    /// each sorted by mesh and tags.
    pub(super) fn list(&self) -> Vec<AvailableService> {
        let mut services = Counted::new();
        let mut externals = Counted::new();
        let mut gateways = Counted::new();
        for (service, instances) in &self.services {
            if self.meshes.get(&service.mesh).is_some_and(|mesh| !mesh.exclusive) {
                count(&mut services, &service.mesh, service.tags.clone(), *instances, false);
            }
        }
        for (key, proxy) in &self.dataplanes {
            if let Some((tag_sets, own)) = &proxy.gateway
                && self.meshes.contains_key(&key.mesh)
                && let Some(gateway) = self.gateway_of(&key.mesh, tag_sets)
            {
                for listener in &gateway.listeners {
                    let mut tags = Tags::from([(MESH.to_owned(), key.mesh.clone())]);
                    tags.extend(own.clone());
                    tags.extend(listener.clone());
                    count(&mut gateways, &key.mesh, tags, 1, false);
                }
            }
        }
        for (key, tags) in &self.externals {
            if self.meshes.get(&key.mesh).is_some_and(|mesh| mesh.zone_egress && !mesh.exclusive) {
                count(&mut externals, &key.mesh, tags.clone(), 1, true);
            }
        }
        [services, externals, gateways].into_iter().flat_map(BTreeMap::into_values).collect()
    }

    /// The MeshGateway that configures a proxy with these tag sets: the most specific one, of equal ones the last created.
    fn gateway_of(&self, mesh: &str, tag_sets: &[Tags]) -> Option<&Gateway> {
        let first = ResourceKey::new(Kind::MeshGateway, mesh, "");
        let gateways = self.gateways.range(first..).take_while(|(key, _)| key.mesh == mesh).map(|(_, gateway)| gateway);
        let ranked = gateways.filter_map(|gateway| Some((gateway.rank(tag_sets)?, gateway)));
        let key = |(rank, gateway): &(Rank, &Gateway)| (*rank, gateway.created);
        ranked.reduce(|best, next| if key(&next) > key(&best) { next } else { best }).map(|(_, gateway)| gateway)
    }
}

impl Gateway {
    /// Also those without listeners for other meshes matter: they may win over one that has some.
    fn of(resource: &Resource) -> Option<Self> {
        let gateway: MeshGateway = decoded(resource)?;
        let listeners = gateway.conf.unwrap_or_default().listeners;
        let listeners = listeners.into_iter().filter(|listener| listener.cross_mesh).map(|listener| {
            let mut tags = gateway.tags.clone();
            tags.extend(listener.tags);
            tags
        });
        let listeners = listeners.collect();
        let selectors = gateway.selectors.into_iter().map(|selector| selector.r#match).collect();
        Some(Self { created: resource.created, selectors, listeners })
    }

    /// How specifically it selects a proxy; `None` if not at all. Without selectors it selects all.
    fn rank(&self, tag_sets: &[Tags]) -> Option<Rank> {
        if self.selectors.is_empty() {
            return Some(Rank::default());
        }
        let matches = |selector: &&Tags| selector.is_empty() || tag_sets.iter().any(|tags| selects(selector, tags));
        self.selectors.iter().filter(matches).map(Rank::of).max()
    }
}

fn count(counted: &mut Counted, mesh: &str, tags: Tags, instances: u32, external_service: bool) {
    let text: Vec<_> = tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    let service = counted.entry((mesh.to_owned(), text.join(","))).or_insert_with(|| AvailableService {
        tags,
        instances: 0,
        mesh: mesh.to_owned(),
        external_service,
    });
    service.instances += instances;
}

/// Sets or removes what is known under a key; true when that made a difference.
fn replace<K: Ord + Clone, V: PartialEq>(known: &mut BTreeMap<K, V>, key: &K, new: Option<V>) -> bool {
    if known.get(key) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => known.insert(key.clone(), new),
        None => known.remove(key),
    };
    true
}

/// The specification of a resource; one that does not decode is reported.
fn decoded<M: prost::Message + Default>(resource: &Resource) -> Option<M> {
    resource.proto().inspect_err(|error| tracing::warn!(%error, "left out of the available services")).ok()
}
