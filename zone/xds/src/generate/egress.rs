//! The configuration of a ZoneEgress: connections of this zone's proxies go on to the ingresses of other zones, without ending
//! TLS, and to services outside of the mesh, for which it stands.
//!
//! Source: Kuma `pkg/xds/generator/egress`.

use std::sync::Arc;

use tandem_model::Protocol;
use tandem_model::tags::Tags;
use tandem_policy::MeshPolicies;
use tandem_policy::envoy::pb::{core, listener};
use tandem_policy::envoy::{ChainDraft, DownstreamTransport, Draft, NetworkFilter, Origin};

use super::admin::admin;
use super::collect::Collector;
use super::external::external_cluster;
use super::http::{everything_to, internal_addresses, manager, route_table};
use super::names::{Naming, outbound_routes, service_sni, zone_cluster};
use super::passthrough::{Route, Splits, chain};
use super::services::{self, ServiceRef, Viewer};
use super::shape::{inbound_listener, is_ipv6, tcp_proxy, tls_inspector};
use super::sidecar::AdminInput;
use super::tls::downstream;
use super::{Cache, add_secrets, credentials};
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{EgressView, MeshState, Snapshot};
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
    let naming = Naming::unified_if(metadata.features.unified_naming);
    let mut chains = Vec::new();
    for state in snapshot.meshes.values() {
        let mut routes = Vec::new();
        other_zones(snapshot, state, cache, &mut collector, &mut routes);
        chains.extend(routes.into_iter().map(Chain::OtherZone));
        // What one mesh lacks must not keep the others from their traffic.
        if ends_tls(snapshot, state)
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
            listener.message.stat_prefix = name;
        }
        listener.message.listener_filters.push(tls_inspector());
        let internal = internal();
        listener.chains = chains.iter().map(|chain| chain.draft(naming, &internal)).collect();
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

/// What the chain to a service outside of the mesh is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OutsideChain {
    mesh: Arc<str>,
    service: Arc<str>,
    protocol: Protocol,
    tags: Tags,
    policies: ByAddress<MeshPolicies>,
}

impl Chain {
    fn draft(&self, naming: Naming, internal: &[core::CidrRange]) -> ChainDraft {
        match self {
            Self::OtherZone(route) => chain(route),
            Self::Outside(outside) => outside.draft(naming, internal),
        }
    }
}

impl OutsideChain {
    fn draft(&self, naming: Naming, internal: &[core::CidrRange]) -> ChainDraft {
        let Self { mesh, service, protocol, tags, policies } = self;
        let cluster = zone_cluster(mesh, service);
        let filter = if protocol.is_http_based() {
            let route = everything_to("", &cluster, true);
            let table = route_table(outbound_routes(service), service.to_string(), vec![route]);
            NetworkFilter::Http(Box::new(manager(service, internal.to_vec(), table, Vec::new())))
        } else {
            NetworkFilter::Tcp(Box::new(tcp_proxy(&cluster, service)))
        };
        let mut chain = ChainDraft {
            name: format!("{service}_{mesh}"),
            matches: Some(listener::FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                server_names: vec![service_sni(service, mesh, [])],
                ..Default::default()
            }),
            filters: vec![filter],
            transport: Some(DownstreamTransport::Tls(Box::new(downstream(naming, mesh)))),
        };
        let permission = policies.0.egress_permission(tags);
        tandem_policy::egress_chain(permission.as_ref(), false, service, &mut chain);
        chain
    }
}

/// Adds the services outside of a mesh that can be reached from this zone, and the certificate with which the egress ends TLS for
/// the mesh. A service that cannot be configured is left out.
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
    collector.keep(state.compiled.clone());
    let mut found = false;
    for (name, service) in state.services.iter() {
        let externals: Vec<_> = service.external_in_zone(&snapshot.settings.zone).collect();
        let Some(first) = externals.first() else { continue };
        collector.uses(&mesh.name, name);
        let protocol = Protocol::common_of(externals.iter().map(|external| external.protocol));
        let more_tags = [("mesh".to_owned(), mesh.name.to_string())].into();
        let cluster = zone_cluster(&mesh.name, name);
        let prefer_ipv4 = !is_ipv6(&egress.address);
        let built = match external_cluster(&cluster, &externals, protocol, &more_tags, prefer_ipv4, state) {
            Ok(built) => built,
            Err(error) => {
                collector.warn(&[error.to_string()]);
                continue;
            }
        };
        found = true;
        let message = [built.draft.encode(), built.rest].concat();
        collector.own_encoded("outside", (&cluster, &message), || {
            [(ResourceType::Cluster, Arc::new(Encoded::new(ResourceType::Cluster, cluster.as_str(), &message)))]
        });
        chains.push(Chain::Outside(OutsideChain {
            mesh: mesh.name.clone(),
            service: name.clone(),
            protocol,
            tags: (*first.tags).clone(),
            policies: ByAddress(state.compiled.clone()),
        }));
    }
    if found {
        add_secrets(collector, cache, &mesh.name, naming, &credentials);
    }
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
