//! Which destinations a workload can reach, and at which addresses.
//!
//! Source of the rules: Kuma `pkg/xds/sync/dataplane_proxy_builder.go`, `pkg/xds/context/destination_index.go`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::Kri;
use tandem_model::dataplane::{DataplaneExt as _, OutboundExt as _};
use tandem_model::tags::Tags;
use tandem_policy::destinations::DestinationPort;
use tandem_policy::reach::Reach;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;

use super::dns::{Records, mapped_to_ipv6};
use super::transparent::Redirection;
use crate::index::{DataplaneView, DestinationView, MeshState};
use crate::metadata::ProxyMetadata;

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

/// The outbounds of a proxy: with redirection those at virtual addresses, else those its Dataplane lists.
pub(crate) fn of<'a>(
    state: &'a MeshState,
    dataplane: &'a DataplaneView,
    redirection: &Redirection,
    metadata: &ProxyMetadata,
) -> Vec<Outbound<'a>> {
    if redirection.enabled || metadata.features.bind_outbounds {
        virtual_addresses(state, dataplane)
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

/// Those at virtual addresses that the Dataplane may reach.
fn virtual_addresses<'a>(state: &'a MeshState, dataplane: &'a DataplaneView) -> Vec<Outbound<'a>> {
    let networking = dataplane.spec.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    let mode = state.config.as_ref().map_or(Mode::Disabled, |mesh| mesh.mesh_services);
    let selected = reach(state, dataplane).selected();
    let selected: Option<BTreeSet<Kri>> =
        selected.map(|backends| backends.iter().map(|backend| backend.kri()).collect());
    let by_services = section.is_some_and(|section| !section.reachable_services.is_empty());
    let without_backends = section.is_none_or(|section| section.reachable_backends.is_none());
    if selected.is_none() && by_services || mode == Mode::ReachableBackends && without_backends {
        return Vec::new();
    }
    let taken = own_addresses(dataplane);
    let mut outbounds = Vec::new();
    for view in state.views.values() {
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
    outbounds
}

/// Addresses and ports on which the proxy or its workload listens.
fn own_addresses(dataplane: &DataplaneView) -> BTreeSet<(&str, u32)> {
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

/// The names that lead to some outbounds. With `ipv6` every IPv4 address can be found as an IPv6 address too.
pub(crate) fn records(outbounds: &[Outbound<'_>], ipv6: bool) -> Records {
    let addresses: BTreeSet<&str> = outbounds.iter().map(|outbound| outbound.address.as_str()).collect();
    let mut records = Records::new();
    for outbound in outbounds {
        let Target::Port(view, _) = &outbound.target else { continue };
        let Some(vip) = view.vips.first().filter(|vip| addresses.contains(vip.as_str())) else { continue };
        let Ok(address) = vip.parse::<IpAddr>() else { continue };
        let mut found = vec![address];
        if let (IpAddr::V4(v4), true) = (address, ipv6) {
            found.push(mapped_to_ipv6(v4));
        }
        records.extend(view.hostnames.iter().map(|name| (name.clone(), found.clone())));
    }
    records
}
