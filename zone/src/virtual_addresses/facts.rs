//! What the names of meshes follow from.

use std::collections::{BTreeMap, BTreeSet};

use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _, SERVICELESS_PORT};
use tandem_model::label::{MESH, SERVICE_TAG};
use tandem_model::tags::Tags;
use tandem_model::virtual_outbound::VirtualOutbound;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;

/// Everything in the store of a zone that has a name of the older kind.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) meshes: BTreeSet<String>,
    /// Tags of the inbounds, in the order of the Dataplane.
    pub(super) dataplanes: BTreeMap<ResourceKey, Vec<Tags>>,
    /// Mesh and tags of what each ingress of another zone leads to.
    pub(super) ingresses: BTreeMap<ResourceKey, Vec<(String, Tags)>>,
    pub(super) externals: BTreeMap<ResourceKey, External>,
    pub(super) virtual_outbounds: BTreeMap<ResourceKey, VirtualOutbound>,
    pub(super) gateways: BTreeMap<ResourceKey, Vec<GatewayListener>>,
}

/// An ExternalService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    pub(super) service: String,
    pub(super) port: u32,
    /// Host name or address, unless it is to have no name of its own.
    pub(super) host: Option<String>,
}

/// A listener of a MeshGateway that other meshes may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayListener {
    pub(super) host: String,
    pub(super) port: u32,
    pub(super) tags: Tags,
}

/// The meshes whose names may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concerned {
    These(BTreeSet<String>),
    All,
}

impl Concerned {
    fn one(mesh: &str, changed: bool) -> Self {
        Self::These(changed.then(|| mesh.to_owned()).into_iter().collect())
    }
}

impl Facts {
    /// Takes notice of a resource that is now so, or is gone. `zone` is the name of this zone, `domain` the ending of host names.
    pub(super) fn apply(&mut self, key: &ResourceKey, new: Option<&Resource>, zone: &str, domain: &str) -> Concerned {
        match key.kind {
            Kind::Mesh => {
                let changed = match new {
                    Some(_) => self.meshes.insert(key.name.clone()),
                    None => self.meshes.remove(&key.name),
                };
                Concerned::one(&key.name, changed)
            }
            Kind::Dataplane => {
                let inbounds = new.and_then(decoded::<pb::Dataplane>).map(|dataplane| inbounds(&dataplane));
                Concerned::one(&key.mesh, replace(&mut self.dataplanes, key, inbounds))
            }
            Kind::ZoneIngress => {
                let services = new.and_then(decoded::<pb::ZoneIngress>);
                let services =
                    services.filter(|ingress| !ingress.zone.is_empty() && ingress.zone != zone).map(services_of);
                let old = self.ingresses.get(key).cloned();
                if !replace(&mut self.ingresses, key, services.clone()) {
                    return Concerned::These(BTreeSet::new());
                }
                let all = old.into_iter().chain(services).flatten();
                Concerned::These(all.map(|(mesh, _)| mesh).collect())
            }
            Kind::ExternalService => {
                let external = new.and_then(decoded::<pb::ExternalService>).and_then(External::of);
                Concerned::one(&key.mesh, replace(&mut self.externals, key, external))
            }
            Kind::VirtualOutbound => {
                let outbound = new.and_then(|resource| known(VirtualOutbound::decode(resource)));
                Concerned::one(&key.mesh, replace(&mut self.virtual_outbounds, key, outbound))
            }
            Kind::MeshGateway => {
                let listeners = new.and_then(decoded::<pb::MeshGateway>).map(|gateway| listeners(key, gateway, domain));
                let listeners = listeners.filter(|listeners| !listeners.is_empty());
                if replace(&mut self.gateways, key, listeners) {
                    Concerned::All
                } else {
                    Concerned::These(BTreeSet::new())
                }
            }
            _ => Concerned::These(BTreeSet::new()),
        }
    }
}

fn inbounds(dataplane: &pb::Dataplane) -> Vec<Tags> {
    let counted =
        dataplane.inbounds().iter().filter(|inbound| !inbound.is_ignored() && inbound.port != SERVICELESS_PORT);
    counted.map(|inbound| inbound.tags.clone()).collect()
}

fn services_of(ingress: pb::ZoneIngress) -> Vec<(String, Tags)> {
    ingress.available_services.into_iter().map(|service| (service.mesh, service.tags)).collect()
}

impl External {
    fn of(external: pb::ExternalService) -> Option<Self> {
        let networking = external.networking.unwrap_or_default();
        let (host, port) = networking.address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let named = !networking.disable_host_dns_entry && !host.is_empty();
        Some(Self {
            service: external.tags.get(SERVICE_TAG)?.clone(),
            port: port.parse::<u16>().ok()?.into(),
            host: named.then(|| host.to_owned()),
        })
    }
}

/// The listeners of a MeshGateway that other meshes may use, one for each of its selectors.
fn listeners(key: &ResourceKey, gateway: pb::MeshGateway, domain: &str) -> Vec<GatewayListener> {
    let cross_mesh = gateway.conf.unwrap_or_default().listeners.into_iter().filter(|listener| listener.cross_mesh);
    let mut listeners = Vec::new();
    for listener in cross_mesh {
        let is_name = !listener.hostname.is_empty() && !listener.hostname.contains('*');
        let host = if is_name { listener.hostname } else { format!("internal.{}.{}.{domain}", key.name, key.mesh) };
        for selector in &gateway.selectors {
            let mut tags = gateway.tags.clone();
            tags.extend(listener.tags.clone());
            tags.insert(MESH.to_owned(), key.mesh.clone());
            tags.extend(selector.r#match.clone());
            listeners.push(GatewayListener { host: host.clone(), port: listener.port, tags });
        }
    }
    listeners
}

/// Sets or removes what is known under a key; true when that made a difference.
fn replace<V: PartialEq>(all: &mut BTreeMap<ResourceKey, V>, key: &ResourceKey, new: Option<V>) -> bool {
    if all.get(key) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => all.insert(key.clone(), new),
        None => all.remove(key),
    };
    true
}

fn decoded<M: prost::Message + Default>(resource: &Resource) -> Option<M> {
    known(resource.proto())
}

/// What could be read; what could not is reported.
fn known<T, E: std::fmt::Display>(read: Result<T, E>) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(%error, "gets no virtual address")).ok()
}
