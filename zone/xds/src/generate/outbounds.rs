//! Which destinations a workload can reach, and at which addresses.
//!
//! Source of the rules: Kuma `pkg/xds/sync/dataplane_proxy_builder.go`, `pkg/xds/context/destination_index.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message as _;
use tandem_model::dataplane::{DataplaneExt as _, OutboundExt as _};
use tandem_model::label::{K8S_NAMESPACE, ZONE};
use tandem_model::tags::Tags;
use tandem_model::vips::reachable;
use tandem_model::{Kind, Kri};
use tandem_policy::destinations::DestinationPort;
use tandem_policy::reach::Reach;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;

use super::dns::{Records, mapped_to_ipv6};
use super::transparent::Redirection;
use crate::index::{ALL_VIPS, DataplaneView, DestinationView, MeshState, vips_of};
use crate::metadata::ProxyMetadata;

/// Host and port of an outbound.
pub(crate) type Address = (String, u32);

/// What of a Dataplane decides which destinations its workload reaches, besides addresses that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    /// Where references without zone and namespace lead.
    place: (String, String),
    /// `networking` with what it lists and restricts itself to, encoded; a section without restrictions is one, too.
    networking: Vec<u8>,
}

impl Selection {
    /// Of a Dataplane.
    pub fn of(dataplane: &DataplaneView) -> Self {
        let own = |label| dataplane.resource.label(label).unwrap_or_default().to_owned();
        let networking = dataplane.spec.networking.as_ref();
        let restrictions = networking.and_then(|networking| networking.transparent_proxying.as_ref());
        let restrictions = restrictions.map(|section| TransparentProxying {
            reachable_services: section.reachable_services.clone(),
            reachable_backends: section.reachable_backends.clone(),
            ..Default::default()
        });
        let outbound = networking.map(|networking| networking.outbound.clone()).unwrap_or_default();
        let networking = Networking { outbound, transparent_proxying: restrictions, ..Default::default() };
        Self { place: (own(ZONE), own(K8S_NAMESPACE)), networking: networking.encode_to_vec() }
    }
}

/// A destination at an address of the proxy's host.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    pub address: String,
    pub port: u32,
    pub target: Target<'a>,
}

/// What an outbound leads to.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// A service by tags.
    Tags(&'a Tags),
    /// A port of a resource.
    Port(&'a Arc<DestinationView>, &'a DestinationPort),
}

/// The outbounds of a proxy: with redirection those at virtual addresses but `taken` ones, else those its Dataplane lists.
pub(crate) fn of<'a>(
    state: &'a MeshState,
    dataplane: &'a DataplaneView,
    redirection: &Redirection,
    metadata: &ProxyMetadata,
    taken: &BTreeSet<(&str, u32)>,
) -> Vec<Outbound<'a>> {
    if redirection.enabled || metadata.features.bind_outbounds {
        virtual_addresses(state, dataplane, taken)
    } else {
        listed(state, dataplane)
    }
}

/// Those the Dataplane lists; what refers to nothing is passed over.
fn listed<'a>(state: &'a MeshState, dataplane: &'a DataplaneView) -> Vec<Outbound<'a>> {
    let reach = reach(state, dataplane);
    let outbounds = dataplane.spec.outbounds().iter().filter_map(|outbound| {
        let target = match &outbound.backend_ref {
            None if outbound.service().is_empty() => return None,
            None => Target::Tags(&outbound.tags),
            Some(reference) => {
                let backend = reach.outbound(reference)?;
                let view = state.views.get(&backend.destination.kri)?;
                Target::Port(view, view.port(&backend.port.section)?)
            }
        };
        let interface = outbound.interface();
        Some(Outbound { address: interface.address, port: interface.port, target })
    });
    outbounds.collect()
}

fn reach<'a>(state: &'a MeshState, dataplane: &'a DataplaneView) -> Reach<'a> {
    Reach::new(&dataplane.resource, &dataplane.spec, state.compiled.destinations())
}

/// Those at virtual addresses that the Dataplane may reach: services by tags first, then resources.
fn virtual_addresses<'a>(
    state: &'a MeshState,
    dataplane: &'a DataplaneView,
    taken: &BTreeSet<(&str, u32)>,
) -> Vec<Outbound<'a>> {
    let mut outbounds = Vec::new();
    if has_legacy(state) {
        let legacy = reachable(state.vips.outbounds(), &dataplane.spec);
        let free = legacy.filter(|outbound| !taken.contains(&(outbound.address.as_str(), outbound.port)));
        outbounds.extend(free.map(|outbound| Outbound {
            address: outbound.address.clone(),
            port: outbound.port,
            target: Target::Tags(&outbound.tags),
        }));
    }
    add_resources(&mut outbounds, state, dataplane, taken);
    outbounds
}

fn mode(state: &MeshState) -> Mode {
    state.config.as_ref().map_or(Mode::Disabled, |mesh| mesh.mesh_services)
}

/// True when services are also reached by their tags.
fn has_legacy(state: &MeshState) -> bool {
    mode(state) != Mode::Exclusive
}

/// The services that a Dataplane restricts itself to; empty when it does not.
fn reachable_services(dataplane: &DataplaneView) -> &[String] {
    let networking = dataplane.spec.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    section.map_or(&[], |section| &section.reachable_services)
}

/// What stands, among the services a proxy uses, for the services it reaches at virtual addresses: it has to be generated again
/// when one of them comes, goes or moves.
pub(crate) fn watched(
    state: &MeshState,
    dataplane: &DataplaneView,
    redirection: &Redirection,
    metadata: &ProxyMetadata,
) -> Vec<String> {
    if !has_legacy(state) || !(redirection.enabled || metadata.features.bind_outbounds) {
        return Vec::new();
    }
    match reachable_services(dataplane) {
        [] => vec![ALL_VIPS.to_owned()],
        services => services.iter().map(|service| vips_of(service)).collect(),
    }
}

/// Adds the resources that the Dataplane may reach.
fn add_resources<'a>(
    outbounds: &mut Vec<Outbound<'a>>,
    state: &'a MeshState,
    dataplane: &'a DataplaneView,
    taken: &BTreeSet<(&str, u32)>,
) {
    let networking = dataplane.spec.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    // Without the section nothing is restricted.
    let selected = section.and_then(|_| reach(state, dataplane).selected());
    let selected: Option<BTreeSet<Kri>> =
        selected.map(|backends| backends.iter().map(|backend| backend.kri()).collect());
    let by_services = !reachable_services(dataplane).is_empty();
    let without_backends = section.is_none_or(|section| section.reachable_backends.is_none());
    if selected.is_none() && by_services || mode(state) == Mode::ReachableBackends && without_backends {
        return;
    }
    let views: Vec<&Arc<DestinationView>> = match &selected {
        None => state.views.values().collect(),
        Some(selected) => {
            let whole: BTreeSet<Kri> = selected.iter().map(|kri| kri.clone().without_section()).collect();
            whole.iter().filter_map(|kri| state.views.get(kri)).collect()
        }
    };
    for view in views {
        for port in &view.ports {
            let kri = || view.kri.clone().with_section(port.section.clone());
            if selected.as_ref().is_some_and(|selected| !selected.contains(&kri())) {
                continue;
            }
            let free = view.vips.iter().filter(|vip| !taken.contains(&(vip.as_str(), port.number)));
            outbounds.extend(free.map(|vip| Outbound {
                address: vip.clone(),
                port: port.number,
                target: Target::Port(view, port),
            }));
        }
    }
}

/// Addresses and ports on which the proxy or its workload listens.
pub(crate) fn own_addresses(dataplane: &DataplaneView) -> BTreeSet<(&str, u32)> {
    let spec = &dataplane.spec;
    let of_proxy = dataplane.address();
    let first = |text: &'_ str| !text.is_empty();
    let mut taken = BTreeSet::new();
    for inbound in spec.inbounds() {
        let address = Some(inbound.address.as_str()).filter(|text| first(text)).unwrap_or(of_proxy);
        let workload = Some(inbound.service_address.as_str()).filter(|text| first(text)).unwrap_or(address);
        let port = if inbound.service_port == 0 { inbound.port } else { inbound.service_port };
        taken.insert((address, inbound.port));
        taken.insert((workload, port));
    }
    taken
}

/// The names that lead to some outbounds, and which names are claimed twice. With `ipv6` every IPv4 address can be found as an IPv6
/// address too.
///
/// Of several that claim a name the last one has it: services by tags come first, then hosts and host names that policies make,
/// MeshServices, MeshExternalServices, MeshMultiZoneServices.
pub(crate) fn records(state: &MeshState, outbounds: &[Outbound<'_>], ipv6: bool) -> (Records, Vec<String>) {
    let addresses: BTreeSet<&str> = outbounds.iter().map(|outbound| outbound.address.as_str()).collect();
    let reached = |(_, address): &(&str, &str)| addresses.contains(address);
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut clashes = Vec::new();
    if has_legacy(state) {
        let domains = state.vips.domains().iter().map(|(name, address)| (name.as_str(), address.as_str()));
        // Policies may give a name of a service to something else on purpose.
        owners.extend(domains.filter(reached));
    }
    let views = outbounds.iter().filter_map(|outbound| match &outbound.target {
        Target::Port(view, _) => Some(*view),
        Target::Tags(_) => None,
    });
    let mut views: Vec<_> = views.collect();
    views.sort_by_key(|view| RANKED.iter().position(|kind| *kind == view.kri.kind));
    views.dedup_by(|a, b| Arc::ptr_eq(a, b));
    for view in views {
        let Some(vip) = view.vips.first().map(String::as_str).filter(|vip| addresses.contains(vip)) else { continue };
        for name in &view.hostnames {
            match owners.insert(name, vip) {
                Some(other) if other != vip => clashes.push(format!(
                    "the host name {name:?} is claimed twice: it leads to {} at {vip} and not to {other}",
                    view.resource.key
                )),
                _ => {}
            }
        }
    }
    let found = |(name, address): (&str, &str)| {
        let address: IpAddr = address.parse().ok()?;
        let mut found = vec![address];
        if let (IpAddr::V4(v4), true) = (address, ipv6) {
            found.push(mapped_to_ipv6(v4));
        }
        Some((name.to_owned(), found))
    };
    (owners.into_iter().filter_map(found).collect(), clashes)
}

/// Kinds of destinations, the one that has a name that several claim last.
const RANKED: [Kind; 3] = [Kind::MeshService, Kind::MeshExternalService, Kind::MeshMultiZoneService];
