//! What matching needs to know about a proxy.

use std::sync::Arc;

use tandem_model::dataplane::{DataplaneExt, InboundExt};
use tandem_model::kri::Kri;
use tandem_model::label;
use tandem_model::resource::{DecodeError, Labels, Resource};
use tandem_model::tags::{Rank, Tags, selects};
use tandem_proto::mesh::v1alpha1::mesh_gateway::Listener;
use tandem_proto::mesh::v1alpha1::{Dataplane, MeshGateway};

use crate::legacy::{compare, rank_of_dataplane};

/// Address and port that a proxy listens on for incoming traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InboundKey {
    /// Address of the proxy.
    pub address: String,
    /// Port.
    pub port: u32,
}

impl std::fmt::Display for InboundKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

/// An inbound as policies see it.
#[derive(Debug, Clone)]
pub struct SubjectInbound<'a> {
    /// Where it listens.
    pub key: InboundKey,
    /// Name of the inbound, or its port as text.
    pub section: String,
    /// Its tags.
    pub tags: &'a Tags,
}

/// A listener of a builtin gateway as policies see it.
#[derive(Debug, Clone)]
pub struct SubjectListener {
    /// Where it listens.
    pub key: InboundKey,
    /// Host name it serves; `*` for all.
    pub hostname: String,
    /// Tags of the proxy, the gateway and the listener together.
    pub tags: Tags,
}

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// It stands beside a workload.
    Sidecar,
    /// It stands beside a gateway that is not part of the mesh.
    DelegatedGateway,
    /// It is a gateway.
    BuiltinGateway,
}

/// A MeshGateway, decoded.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: MeshGateway,
}

impl Gateway {
    /// Decodes a stored MeshGateway.
    ///
    /// # Errors
    /// When the resource is no valid MeshGateway.
    pub fn decode(resource: Arc<Resource>) -> Result<Self, DecodeError> {
        Ok(Self { spec: resource.proto()?, resource })
    }
}

/// A proxy as policies see it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Its identifier.
    pub kri: Kri,
    /// Its labels.
    pub labels: &'a Labels,
    /// What it does.
    pub kind: SubjectKind,
    /// Tags of a gateway; `None` for sidecars.
    pub gateway_tags: Option<&'a Tags>,
    /// Its inbounds.
    pub inbounds: Vec<SubjectInbound<'a>>,
    /// The MeshGateway of a builtin gateway.
    pub gateway: Option<&'a Gateway>,
    /// The listeners that the MeshGateway asks for.
    pub listeners: Vec<SubjectListener>,
}

impl<'a> Subject<'a> {
    /// The proxy that a Dataplane describes. `gateways` are the MeshGateways of the mesh.
    pub fn new(resource: &'a Resource, dataplane: &'a Dataplane, gateways: &'a [Gateway]) -> Self {
        let address = dataplane.networking.as_ref().map(|networking| networking.address.as_str()).unwrap_or_default();
        let inbounds = dataplane
            .inbounds()
            .iter()
            .map(|inbound| {
                let address = if inbound.address.is_empty() { address } else { &inbound.address };
                SubjectInbound {
                    key: InboundKey { address: address.to_owned(), port: inbound.port },
                    section: inbound.section_name(),
                    tags: &inbound.tags,
                }
            })
            .collect();
        let kind = if dataplane.is_builtin_gateway() {
            SubjectKind::BuiltinGateway
        } else if dataplane.is_delegated_gateway() {
            SubjectKind::DelegatedGateway
        } else {
            SubjectKind::Sidecar
        };
        let gateway = match kind {
            SubjectKind::BuiltinGateway => best_gateway(resource, dataplane, gateways),
            _ => None,
        };
        let gateway_tags = dataplane.gateway().map(|gateway| &gateway.tags);
        let listeners = gateway.map(|gateway| listeners(gateway, address, gateway_tags)).unwrap_or_default();
        let kri = Kri::of(resource).expect("Dataplanes have a short name and so an identifier");
        Self { kri, labels: &resource.labels, kind, gateway_tags, inbounds, gateway, listeners }
    }
}

fn listeners(gateway: &Gateway, address: &str, proxy_tags: Option<&Tags>) -> Vec<SubjectListener> {
    let of_gateway = gateway.spec.conf.iter().flat_map(|conf| &conf.listeners);
    of_gateway
        .map(|listener| SubjectListener {
            key: InboundKey { address: address.to_owned(), port: listener.port },
            hostname: listener_hostname(listener).to_owned(),
            tags: listener_tags(proxy_tags, gateway, listener),
        })
        .collect()
}

/// Tags of a proxy, its gateway and a listener together; later ones win.
pub(crate) fn listener_tags(proxy_tags: Option<&Tags>, gateway: &Gateway, listener: &Listener) -> Tags {
    let mut tags = proxy_tags.cloned().unwrap_or_default();
    tags.extend(gateway.spec.tags.clone());
    tags.extend(listener.tags.clone());
    tags
}

/// The host name that a listener serves; `*` for all.
pub(crate) fn listener_hostname(listener: &Listener) -> &str {
    if listener.hostname.is_empty() { "*" } else { &listener.hostname }
}

/// True when a resource was created in this zone, as far as its labels tell.
pub(crate) fn is_of_zone(labels: &Labels, zone: &str) -> bool {
    let from_zone = labels.get(label::ORIGIN).is_some_and(|origin| origin == label::ORIGIN_ZONE);
    from_zone && labels.get(label::ZONE).is_none_or(|own| own == zone)
}

/// The MeshGateway whose selector describes the proxy most precisely; among equals the newest, then the first by name.
///
/// Source: Kuma `pkg/core/policy/dataplane_matcher.go` and `pkg/plugins/policies/core/matchers/dataplane.go`.
fn best_gateway<'a>(resource: &Resource, dataplane: &Dataplane, gateways: &'a [Gateway]) -> Option<&'a Gateway> {
    let zone = resource.label(label::ZONE);
    let reaches = |gateway: &&Gateway| {
        let labels = &gateway.resource.labels;
        let global = labels.get(label::ORIGIN).is_none_or(|origin| origin == label::ORIGIN_GLOBAL);
        global || zone.is_none_or(|zone| is_of_zone(labels, zone))
    };
    let ranked = gateways.iter().filter(reaches);
    let ranked = ranked.filter_map(|gateway| Some((rank_of_dataplane(&gateway.spec, dataplane)?, gateway)));
    let order = |one: &(Rank, &Gateway), other: &(Rank, &Gateway)| {
        compare((one.0, &one.1.resource), (other.0, &other.1.resource))
    };
    ranked.max_by(order).map(|(_, gateway)| gateway)
}

/// True when the tags of a gateway, if it is one, are among those selected.
pub(crate) fn selects_gateway(selector: &Tags, subject: &Subject<'_>) -> bool {
    subject.gateway_tags.is_some_and(|tags| selects(selector, tags))
}
