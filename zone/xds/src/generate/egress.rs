//! The configuration of a ZoneEgress: connections of this zone's proxies go on to the ingresses of other zones, without ending
//! TLS, and to services outside of the mesh, for which it stands.
//!
//! Source: Kuma `pkg/xds/generator/egress`.

use std::sync::Arc;

use tandem_policy::envoy::pb::core;
use tandem_policy::envoy::{ChainDraft, Draft, Origin};
use tandem_policy::load_balancing::{Localities, Standpoint};

use super::admin::admin;
use super::collect::Collector;
use super::http::internal_addresses;
use super::names::{Naming, zone_cluster};
use super::outside::{OutsideChain, OutsideOfMesh, has_services};
use super::passthrough::{Route, Splits, chain};
use super::services::{self, ServiceRef, Viewer};
use super::shape::{inbound_listener, tls_inspector};
use super::sidecar::AdminInput;
use super::{Cache, add_secrets, credentials};
use crate::index::{EgressView, MeshState, MeshView, Snapshot};
use crate::input::{GenerateError, Generated, ProxyInput};

pub(crate) fn generate(
    snapshot: &Snapshot,
    input: &ProxyInput<'_>,
    cache: &Cache,
    mut collector: Collector<'_>,
) -> Result<Generated, GenerateError> {
    let egress = snapshot.egress(&input.key.name).ok_or_else(|| GenerateError::ProxyNotFound(input.key.clone()))?;
    let metadata = input.metadata;
    collector.own(
        "admin",
        (&*egress.address, AdminInput(metadata), input.admin_tls.map(|tls| &tls.certificate)),
        |set| admin(set, &egress.address, metadata, input.admin_tls),
    )?;
    let naming = Naming::unified_if(metadata.features.unified_naming);
    let mut chains = Vec::new();
    for state in snapshot.meshes.values() {
        let mut routes = Vec::new();
        other_zones(snapshot, state, cache, &mut collector, &mut routes);
        chains.extend(routes.into_iter().map(Chain::OtherZone));
        // What one mesh lacks must not keep the others from their traffic.
        if has_services(snapshot, state)
            && let Err(reason) = outside(snapshot, state, egress, input, cache, &mut collector, &mut chains)
        {
            collector.warn(&[reason]);
        }
    }
    if chains.is_empty() {
        return Ok(collector.finish());
    }
    let reuse_port = metadata.features.reuse_port;
    let ranges = snapshot.settings.internal_cidrs.iter().map(String::as_str);
    let internal = || internal_addresses(ranges, metadata.ipv6_enabled);
    let listener_input = (&*egress.address, egress.port, naming, reuse_port, metadata.ipv6_enabled, &chains);
    collector.own("listener", listener_input, |set| {
        let name = naming.egress_listener(&egress.address, egress.port);
        let mut listener = inbound_listener(name.clone(), &egress.address, egress.port, reuse_port);
        if naming == Naming::Unified {
            listener.message.stat_prefix.clone_from(&name);
        }
        listener.message.listener_filters.push(tls_inspector());
        let internal = internal();
        listener.chains = chains.iter().map(|chain| chain.draft(&name, naming, &internal)).collect();
        set.add_listener(Draft::new(Origin::Egress, listener));
        Ok::<_, GenerateError>(())
    })?;
    Ok(collector.finish())
}

/// A filter chain of the listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Chain {
    /// To other zones, without ending TLS.
    OtherZone(Route),
    /// To the outside, for whom policies permit.
    Outside(OutsideChain),
}

impl Chain {
    fn draft(&self, listener: &str, naming: Naming, internal: &[core::CidrRange]) -> ChainDraft {
        match self {
            Self::OtherZone(route) => chain(route),
            Self::Outside(outside) => outside.draft(listener, naming, internal),
        }
    }
}

/// Adds the services outside of a mesh that can be reached from this zone, and the certificate with which the egress ends TLS for
/// the mesh.
fn outside(
    snapshot: &Snapshot,
    state: &MeshState,
    egress: &EgressView,
    input: &ProxyInput<'_>,
    cache: &Cache,
    collector: &mut Collector<'_>,
    chains: &mut Vec<Chain>,
) -> Result<(), String> {
    let Some(mesh) = &state.config else { return Ok(()) };
    let naming = Naming::unified_if(input.metadata.features.unified_naming);
    let credentials = credentials(state, &mesh.name, input).map_err(|error| error.to_string())?;
    let found = OutsideOfMesh { snapshot, state, mesh, egress, metadata: input.metadata }.services(collector);
    if !found.is_empty() {
        add_secrets(collector, cache, &mesh.name, naming, &credentials);
    }
    chains.extend(found.into_iter().map(Chain::Outside));
    Ok(())
}

/// Adds the services of a mesh in other zones, in order of their names.
fn other_zones(
    snapshot: &Snapshot,
    state: &MeshState,
    cache: &Cache,
    collector: &mut Collector<'_>,
    routes: &mut Vec<Route>,
) {
    let Some(mesh) = state.config.as_ref().filter(|mesh| mesh.mtls.is_some() && mesh.zone_egress) else { return };
    let zone = &snapshot.settings.zone;
    let splits = Splits::of(state);
    for (name, service) in state.services.iter().filter(|(_, service)| !service.remote.is_empty()) {
        collector.uses(&mesh.name, name);
        // What can be reached from here is not sent through another zone.
        if service.external_in_zone(zone).next().is_some() {
            continue;
        }
        let of = ServiceRef::new(snapshot, state, mesh, name);
        if !of.is_reachable_in_other_zones() {
            continue;
        }
        let (ways, subsets) = splits.routes(&mesh.name, name, || of.endpoints(Viewer::Egress));
        if ways.is_empty() {
            continue;
        }
        let cluster = zone_cluster(&mesh.name, name);
        let localities = localities(snapshot, state, mesh, name);
        services::add_zone_service(collector, cache, of, Viewer::Egress, &cluster, &subsets, localities);
        routes.extend(ways);
    }
}

/// What policies of all clients make of the endpoints of a service; `None` when they are left as they are.
pub(super) fn localities(
    snapshot: &Snapshot,
    state: &MeshState,
    mesh: &MeshView,
    service: &str,
) -> Option<Arc<Localities>> {
    let strategy = state.compiled.for_egress().load_balancing_of_services.of(service)?;
    // The tags of clients are not known here.
    let standpoint = Standpoint { zone: &snapshot.settings.zone, tags: &Default::default(), through_egress: false };
    let localities = strategy.localities(standpoint);
    (!(localities.is_default() && mesh.locality_aware)).then(|| Arc::new(localities))
}
