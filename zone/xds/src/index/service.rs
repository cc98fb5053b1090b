//! Services of a mesh: who provides them, and the endpoints that follow.
//!
//! Source of the rules: Kuma `pkg/xds/topology/outbound.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use tandem_model::Protocol;
use tandem_model::label::{PROTOCOL_TAG, SERVICE_TAG, ZONE};

use super::dataplane::LocalEndpoint;
use super::external::ExternalView;
use super::mesh::MeshView;
use super::zone_proxy::{AvailableService, Topology};

/// Who provides a service, identified by the tag `kuma.io/service`. Changing one provider costs the same however many there are.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Changes whenever the service does; never used twice by one index.
    pub(crate) revision: u64,
    /// Healthy inbounds of this zone by Dataplane and index of the inbound.
    pub(crate) local: RedBlackTreeMapSync<(Arc<str>, u32), Arc<LocalEndpoint>>,
    /// What ingresses of other zones make reachable, by ingress.
    pub(crate) remote: RedBlackTreeMapSync<Arc<str>, Arc<[AvailableService]>>,
    /// External services by name of the resource.
    pub(crate) external: RedBlackTreeMapSync<Arc<str>, Arc<ExternalView>>,
}

/// One endpoint of a service as a proxy is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address or host name.
    pub address: Arc<str>,
    /// Port.
    pub port: u32,
    /// Tags; published as metadata without `kuma.io/service`.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Load balancing weight.
    pub weight: u32,
    /// Zone and priority; `None` when the endpoint tells no zone.
    pub locality: Option<Locality>,
    /// The endpoint stands for an external service.
    pub external: bool,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// Zone.
    pub zone: String,
    /// 0 is preferred over 1.
    pub priority: u32,
}

/// From where a service is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Viewpoint<'a> {
    /// Name of this zone.
    pub zone: &'a str,
    /// The mesh.
    pub mesh: &'a MeshView,
    /// There are MeshIdentities in the mesh.
    pub identities: bool,
    /// Ingresses and egresses.
    pub topology: &'a Topology,
}

impl<'a> Viewpoint<'a> {
    /// Where an endpoint of a zone is.
    pub(crate) fn locality(&self, zone: Option<&str>) -> Option<Locality> {
        let zone = zone?;
        let remote = self.mesh.locality_aware && zone != self.zone;
        Some(Locality { zone: zone.to_owned(), priority: u32::from(remote) })
    }

    /// The egresses of this zone as the way to something with these tags. They share the load among themselves, so they weigh the same.
    pub(crate) fn through_egresses(
        self,
        tags: &'a Arc<BTreeMap<String, String>>,
        external: bool,
    ) -> impl Iterator<Item = Endpoint> + 'a {
        self.topology.egresses.iter().map(move |(address, port)| Endpoint {
            address: address.clone(),
            port: *port,
            tags: tags.clone(),
            weight: 1,
            locality: self.locality(zone_of(tags)),
            external,
        })
    }
}

fn zone_of(tags: &BTreeMap<String, String>) -> Option<&str> {
    tags.get(ZONE).map(String::as_str)
}

impl Service {
    /// True when nobody provides it any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty() && self.external.is_empty()
    }

    /// Endpoints as sidecars see them.
    pub fn for_sidecars(&self, view: Viewpoint<'_>) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let mtls = view.mesh.mtls.is_some();
        if mtls {
            for (services, public) in self.reachable(view.topology) {
                for service in services.iter() {
                    if view.mesh.zone_egress {
                        endpoints.extend(view.through_egresses(&service.tags, service.external));
                    } else {
                        endpoints.push(self.through_ingress(service, public, view));
                    }
                }
            }
        }
        let weight = if mtls { view.topology.local_weight() } else { 1 };
        endpoints.extend(self.in_this_zone(view, weight));
        if view.mesh.zone_egress {
            for external in self.external.values() {
                endpoints.extend(view.through_egresses(&external.tags, true));
            }
        }
        endpoints
    }

    /// Endpoints as the ingress of this zone sees them: those of this zone alone.
    pub fn for_ingress(&self, view: Viewpoint<'_>) -> Vec<Endpoint> {
        let mut endpoints: Vec<_> = self.in_this_zone(view, 1).collect();
        if view.mesh.zone_egress {
            for external in self.external.values() {
                endpoints.extend(view.through_egresses(&external.tags, true));
            }
        }
        endpoints
    }

    /// Endpoints in other zones as the egress of this zone sees them: their ingresses. Every endpoint carries the tag `mesh`.
    pub fn for_egress(&self, view: Viewpoint<'_>) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        if view.mesh.mtls.is_none() {
            return endpoints;
        }
        for (services, public) in self.reachable(view.topology) {
            for service in services.iter() {
                let mut endpoint = self.through_ingress(service, public, view);
                let mut tags = (*endpoint.tags).clone();
                tags.insert("mesh".to_owned(), view.mesh.name.to_string());
                endpoint.tags = Arc::new(tags);
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    /// External services of this name that can be reached from this zone.
    pub fn external_in_zone<'a>(&'a self, zone: &'a str) -> impl Iterator<Item = &'a Arc<ExternalView>> {
        self.external.values().filter(move |external| external.is_reachable_from(zone))
    }

    fn reachable<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> impl Iterator<Item = (&'a Arc<[AvailableService]>, &'a (Arc<str>, u32))> {
        self.remote.iter().filter_map(|(ingress, services)| Some((services, topology.ingresses.get(ingress)?)))
    }

    fn through_ingress(&self, service: &AvailableService, public: &(Arc<str>, u32), view: Viewpoint<'_>) -> Endpoint {
        Endpoint {
            address: public.0.clone(),
            port: public.1,
            tags: service.tags.clone(),
            weight: service.instances,
            locality: view.locality(zone_of(&service.tags)),
            external: false,
        }
    }

    fn in_this_zone<'a>(&'a self, view: Viewpoint<'a>, weight: u32) -> impl Iterator<Item = Endpoint> + 'a {
        self.local.values().map(move |endpoint| Endpoint {
            address: endpoint.address.clone(),
            port: endpoint.port,
            tags: endpoint.tags.clone(),
            weight,
            locality: view.locality(endpoint.zone()),
            external: false,
        })
    }

    /// The protocol all providers speak as a sidecar learns it: that of the endpoints it sees, or of the external services.
    pub fn protocol(&self, view: Viewpoint<'_>) -> Protocol {
        let tag = |tags: &BTreeMap<String, String>| Protocol::parse(tags.get(PROTOCOL_TAG).map_or("", String::as_str));
        let mtls = view.mesh.mtls.is_some();
        let routed = mtls && (!view.mesh.zone_egress || !view.topology.egresses.is_empty());
        let remote = self.reachable(view.topology).filter(|_| routed).flat_map(|(services, _)| services.iter());
        let local = self.local.values().map(|endpoint| endpoint.protocol);
        let external = self.external.values().map(|external| external.protocol);
        Protocol::common_of(remote.map(|service| tag(&service.tags)).chain(local).chain(external))
    }

    /// True when sidecars are to treat the service as an external one: it is, or it is one of another zone that is reached
    /// through the egress.
    pub fn is_external(&self, view: Viewpoint<'_>) -> bool {
        let through_egress = view.mesh.zone_egress && view.mesh.mtls.is_some() && !view.topology.egresses.is_empty();
        let mut remote = self.reachable(view.topology).flat_map(|(services, _)| services.iter());
        !self.external.is_empty() || through_egress && remote.any(|service| service.external)
    }

    /// Name of the service that a set of tags tells.
    pub fn name_in(tags: &BTreeMap<String, String>) -> &str {
        tags.get(SERVICE_TAG).map_or("", String::as_str)
    }
}
