//! ZoneIngresses and ZoneEgresses as generation needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::label::SERVICE_TAG;
use tandem_model::{DecodeError, Resource};
use tandem_proto::mesh::v1alpha1 as pb;

use super::hostnames::{AddressError, Hostnames};

/// Proxies with the same tags that an ingress makes reachable.
#[derive(Debug, PartialEq, Eq)]
pub struct AvailableService {
    /// Tags of the proxies.
    pub tags: Arc<BTreeMap<String, String>>,
    /// How many there are.
    pub instances: u32,
    /// It is an external service.
    pub external: bool,
}

/// A service of a mesh: mesh, then value of the tag `kuma.io/service`.
pub type ServiceKey = (String, String);

/// A ZoneIngress, decoded.
#[derive(Debug)]
pub struct IngressView {
    /// Name.
    pub name: Arc<str>,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Zone it belongs to; empty for one of this zone.
    pub zone: String,
    /// Address it listens on.
    pub address: String,
    /// Port it listens on.
    pub port: u32,
    /// Address and port under which other zones reach it; `None` until it has both.
    pub public: Option<(Arc<str>, u32)>,
    /// What it makes reachable, by service, in the order of the resource.
    pub services: BTreeMap<ServiceKey, Arc<[AvailableService]>>,
}

impl IngressView {
    pub(crate) fn decode(resource: &Arc<Resource>, hostnames: &mut Hostnames) -> Result<Self, AddressError> {
        let ingress: pb::ZoneIngress = resource.proto()?;
        let mut networking = ingress.networking.unwrap_or_default();
        hostnames.replace(&mut networking.advertised_address, resource)?;
        let mut services: BTreeMap<ServiceKey, Vec<AvailableService>> = BTreeMap::new();
        for service in ingress.available_services {
            let name = service.tags.get(SERVICE_TAG).cloned().unwrap_or_default();
            services.entry((service.mesh, name)).or_default().push(AvailableService {
                tags: Arc::new(service.tags),
                instances: service.instances,
                external: service.external_service,
            });
        }
        let has_public = !networking.advertised_address.is_empty() && networking.advertised_port != 0;
        Ok(Self {
            name: resource.key.name.as_str().into(),
            resource: resource.clone(),
            zone: ingress.zone,
            address: networking.address,
            port: networking.port,
            public: has_public.then(|| (networking.advertised_address.into(), networking.advertised_port)),
            services: services.into_iter().map(|(key, services)| (key, services.into())).collect(),
        })
    }

    /// True when it belongs to another zone than `zone`.
    pub fn is_remote(&self, zone: &str) -> bool {
        !self.zone.is_empty() && self.zone != zone
    }
}

/// A ZoneEgress, decoded.
#[derive(Debug)]
pub struct EgressView {
    /// Name.
    pub name: Arc<str>,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Zone it belongs to; empty for one of this zone.
    pub zone: String,
    /// Address it listens on.
    pub address: Arc<str>,
    /// Port it listens on.
    pub port: u32,
}

impl EgressView {
    pub(crate) fn decode(resource: &Arc<Resource>) -> Result<Self, DecodeError> {
        let egress: pb::ZoneEgress = resource.proto()?;
        let networking = egress.networking.unwrap_or_default();
        Ok(Self {
            name: resource.key.name.as_str().into(),
            resource: resource.clone(),
            zone: egress.zone,
            address: networking.address.into(),
            port: networking.port,
        })
    }

    /// True when it belongs to another zone than `zone`.
    pub fn is_remote(&self, zone: &str) -> bool {
        !self.zone.is_empty() && self.zone != zone
    }
}

/// What all services depend on: which ingresses count, and where the egresses are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Names of the remote ingresses that count, by name: of several behind one public address only the first that has
    /// services. With the public address.
    pub ingresses: BTreeMap<Arc<str>, (Arc<str>, u32)>,
    /// Public addresses of the remote ingresses, by zone, each once.
    pub public: BTreeMap<Arc<str>, BTreeSet<(Arc<str>, u32)>>,
    /// Egresses of this zone, sorted by name.
    pub egresses: Vec<(Arc<str>, u32)>,
}

impl Topology {
    /// Weight of an endpoint in this zone: many ingresses of other zones lead to the same endpoints there, and weights are
    /// integers, so the local ones are raised instead of the remote ones lowered.
    pub fn local_weight(&self) -> u32 {
        u32::try_from(self.ingresses.len()).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn compute<'a>(
        zone: &str,
        ingresses: impl Iterator<Item = &'a Arc<IngressView>>,
        egresses: impl Iterator<Item = &'a Arc<EgressView>>,
    ) -> Self {
        let mut counted: BTreeMap<Arc<str>, (Arc<str>, u32)> = BTreeMap::new();
        let mut public_by_zone: BTreeMap<Arc<str>, BTreeSet<(Arc<str>, u32)>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for ingress in ingresses.filter(|ingress| ingress.is_remote(zone)) {
            let Some(public) = &ingress.public else { continue };
            public_by_zone.entry(ingress.zone.as_str().into()).or_default().insert(public.clone());
            if !ingress.services.is_empty() && seen.insert(public.clone()) {
                counted.insert(ingress.name.clone(), public.clone());
            }
        }
        let local = egresses.filter(|egress| !egress.is_remote(zone));
        Self {
            ingresses: counted,
            public: public_by_zone,
            egresses: local.map(|egress| (egress.address.clone(), egress.port)).collect(),
        }
    }
}
