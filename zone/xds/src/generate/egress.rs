//! The configuration of a ZoneEgress: connections of this zone's proxies go on to the ingresses of other zones, without ending
//! TLS.
//!
//! Source: Kuma `pkg/xds/generator/egress`.

use tandem_policy::envoy::{Draft, Origin};

use super::Cache;
use super::admin::admin;
use super::collect::Collector;
use super::names::{Naming, zone_cluster};
use super::passthrough::{Route, Splits, chain};
use super::services::{self, ServiceRef, Viewer};
use super::shape::{inbound_listener, tls_inspector};
use super::sidecar::AdminInput;
use crate::index::{MeshState, Snapshot};
use crate::input::{GenerateError, Generated, ProxyInput};

/// True when the egress ends TLS for a mesh and so needs a certificate in it: when the mesh has external services that can be
/// reached from this zone.
pub(crate) fn ends_tls(snapshot: &Snapshot, mesh: &MeshState) -> bool {
    let zone = &snapshot.settings.zone;
    mesh.config.as_ref().is_some_and(|config| config.mtls.is_some())
        && mesh.externals.values().any(|external| external.is_reachable_from(zone))
}

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
    let mut routes = Vec::new();
    for state in snapshot.meshes.values() {
        other_zones(snapshot, state, cache, &mut collector, &mut routes);
    }
    if routes.is_empty() {
        return Ok(collector.finish());
    }
    let naming = Naming::unified_if(metadata.features.unified_naming);
    let reuse_port = metadata.features.reuse_port;
    collector.own("listener", (&*egress.address, egress.port, naming, reuse_port, &routes), |set| {
        let name = naming.egress_listener(&egress.address, egress.port);
        let mut listener = inbound_listener(name.clone(), &egress.address, egress.port, reuse_port);
        if naming == Naming::Unified {
            listener.message.stat_prefix = name;
        }
        listener.message.listener_filters.push(tls_inspector());
        listener.chains = routes.iter().map(chain).collect();
        set.add_listener(Draft::new(Origin::Egress, listener));
        Ok::<_, GenerateError>(())
    })?;
    Ok(collector.finish())
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
    let splits = Splits::of(&state.compiled);
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
        services::add_zone_service(collector, cache, of, Viewer::Egress, &zone_cluster(&mesh.name, name), &subsets);
        routes.extend(ways);
    }
}
