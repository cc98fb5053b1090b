//! Connections to other proxies of the mesh at their own addresses, as clients of headless services make them: they are
//! recognized by their address and secured like those to a service.
//!
//! Source: Kuma `pkg/xds/generator/direct_access_proxy_generator.go`.

use std::collections::{BTreeMap, BTreeSet};

use tandem_policy::access_log::AccessLog;
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, NetworkFilter, Origin, UpstreamTransport};

use super::credential::Credential;
use super::outbounds;
use super::shape::{Discovery, cluster, flag, outbound_listener, tcp_proxy};
use super::tls::upstream;
use crate::index::{DataplaneView, MeshView};

/// Cluster that all connections go to.
const CLUSTER: &str = "direct_access";

/// Stands for all services.
const ALL: &str = "*";

/// Address and port of an inbound.
pub(crate) type Address = (String, u32);

/// The services whose proxies a Dataplane wants to reach at their own addresses.
pub(crate) fn services(dataplane: &DataplaneView) -> &[String] {
    let networking = dataplane.spec.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    section.map_or(&[], |section| &section.direct_access_services)
}

/// Where the other Dataplanes of a mesh provide these services, whether they are ready or not: all inbounds, and where their metrics
/// are. What is the address of an outbound already is left out.
pub(crate) fn addresses<'a>(
    mesh: &MeshView,
    dataplanes: impl IntoIterator<Item = &'a DataplaneView>,
    of: &DataplaneView,
    services: &[String],
    outbounds: &[outbounds::Address],
) -> BTreeSet<Address> {
    let wanted = |service: &str| services.iter().any(|one| one == ALL || one == service);
    let others = dataplanes.into_iter().filter(|other| other.name != of.name);
    let listens = others.flat_map(|other| other.listens(&mesh.spec));
    let wanted = listens.filter(|(service, ..)| wanted(service));
    let mut addresses: BTreeSet<_> = wanted.map(|(_, address, port)| (address, port)).collect();
    for outbound in outbounds {
        addresses.remove(outbound);
    }
    addresses
}

/// Name of the listener of an address, also in logs.
pub(crate) fn listener_name((address, port): &Address) -> String {
    format!("{CLUSTER}_{address}:{port}")
}

/// A listener for each address, with its logs, and the cluster that they share.
pub(crate) fn direct_access(
    set: &mut DraftSet,
    addresses: &BTreeMap<Address, Vec<AccessLog>>,
    credential: Option<&Credential>,
) {
    for (of, logs) in addresses {
        let (address, port) = of;
        let name = listener_name(of);
        let filter = NetworkFilter::Tcp(Box::new(tcp_proxy(CLUSTER, &name)));
        let mut listener = outbound_listener(name, address, *port);
        listener.message.bind_to_port = flag(false);
        listener.chains.push(ChainDraft { filters: vec![filter], ..Default::default() });
        logs.iter().for_each(|log| log.add(&mut listener));
        set.add_listener(Draft::new(Origin::DirectAccess, listener));
    }
    let mut destination = cluster(CLUSTER, Discovery::OriginalDestination);
    if let Some(credential) = credential {
        // Which service is behind an address is not known, but it is one of the mesh.
        let context = upstream(credential, credential.clients(), String::new());
        destination.transport = Some(UpstreamTransport::Tls(Box::new(context)));
    }
    set.add_cluster(Draft::new(Origin::DirectAccess, destination));
}
