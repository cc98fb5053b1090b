//! The configuration of a ZoneIngress: connections from other zones go to the service they name, without ending TLS.
//!
//! Source: Kuma `pkg/xds/generator/ingress_generator.go`.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::filters::network::direct_response::v3::Config as DirectResponse;
use serde::Serialize;
use tandem_policy::envoy::{ChainDraft, Draft, ListenerDraft, NetworkFilter, Origin, packed_filter};

use super::Cache;
use super::admin::admin;
use super::collect::Collector;
use super::names::{Naming, zone_cluster};
use super::passthrough::{Route, Splits, chain};
use super::real::PortRef;
use super::services::{self, ServiceRef, Viewer};
use super::shape::{inbound_listener, tls_inspector};
use super::sidecar::AdminInput;
use super::tls::inline;
use crate::encoded::ResourceType;
use crate::index::{IngressView, Snapshot};
use crate::input::{GenerateError, Generated, ProxyInput};

pub(crate) fn generate(
    snapshot: &Snapshot,
    input: &ProxyInput<'_>,
    cache: &Cache,
    mut collector: Collector<'_>,
) -> Result<Generated, GenerateError> {
    let ingress = snapshot.ingress(&input.key.name).ok_or_else(|| GenerateError::ProxyNotFound(input.key.clone()))?;
    let metadata = input.metadata;
    collector.own(
        "admin",
        (&ingress.address, AdminInput(metadata), input.admin_tls.map(|tls| &tls.certificate)),
        |set| admin(set, &ingress.address, metadata, input.admin_tls),
    )?;
    let naming = Naming::unified_if(metadata.features.unified_naming);
    let routes = services(snapshot, ingress, naming, cache, &mut collector);
    let reuse_port = metadata.features.reuse_port;
    let answer = no_route_answer(input, snapshot);
    let listener_input = (&ingress.address, ingress.port, naming, reuse_port, &routes, &answer);
    collector.own("listener", listener_input, |set| {
        let name = naming.ingress_listener(&ingress.address, ingress.port);
        let listener = listener(name, ingress, naming, reuse_port, &routes, &answer);
        set.add_listener(Draft::new(Origin::Ingress, listener));
        Ok::<_, GenerateError>(())
    })?;
    Ok(collector.finish())
}

/// Adds clusters and endpoints of what the ingress makes reachable; returns the ways there by mesh and name.
fn services(
    snapshot: &Snapshot,
    ingress: &IngressView,
    naming: Naming,
    cache: &Cache,
    collector: &mut Collector<'_>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for state in snapshot.meshes.values() {
        let Some(mesh) = &state.config else { continue };
        let mut of_mesh: Vec<(String, Vec<Route>)> = Vec::new();
        let splits = Splits::of(state);
        let available = ingress.services.range((mesh.name.to_string(), String::new())..);
        for ((_, service), _) in available.take_while(|((of, _), _)| **of == *mesh.name) {
            collector.uses(&mesh.name, service);
            let of = ServiceRef::new(snapshot, state, mesh, service);
            let (ways, subsets) = splits.routes(&mesh.name, service, || of.endpoints(Viewer::Ingress));
            if ways.is_empty() {
                continue;
            }
            let cluster = zone_cluster(&mesh.name, service);
            services::add_zone_service(collector, cache, of, Viewer::Ingress, &cluster, &subsets, None);
            of_mesh.push((service.clone(), ways));
        }
        for view in state.views.values().filter(|view| view.is_offered()) {
            for port in &view.ports {
                let of = PortRef { snapshot, state, mesh, view, port };
                of.services().for_each(|(mesh, service)| collector.uses(&mesh, &service));
                let cluster = of.cluster(naming);
                collector.add(ResourceType::Cluster, services::plain_cluster(cache, Viewer::Ingress, &cluster));
                collector.add(ResourceType::Endpoint, of.endpoints(cache, Viewer::Ingress, &cluster, None));
                let route = Route { sni: of.sni(), cluster, tags: BTreeMap::new() };
                of_mesh.push((view.port_name(port), vec![route]));
            }
        }
        of_mesh.sort_by(|(one, _), (other, _)| one.cmp(other));
        routes.extend(of_mesh.into_iter().flat_map(|(_, ways)| ways));
    }
    routes
}

/// What an ingress without any way through answers, so that a person who tries it can see who answered.
fn no_route_answer(input: &ProxyInput<'_>, snapshot: &Snapshot) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        proxy: &'a str,
        zone: &'a str,
    }
    let proxy = format!("{}.{}", input.key.mesh, input.key.name);
    serde_json::to_string(&Answer { proxy: &proxy, zone: &snapshot.settings.zone }).expect("strings have a JSON form")
}

fn listener(
    name: String,
    ingress: &IngressView,
    naming: Naming,
    reuse_port: bool,
    routes: &[Route],
    answer: &str,
) -> ListenerDraft {
    let mut draft = inbound_listener(name.clone(), &ingress.address, ingress.port, reuse_port);
    if naming == Naming::Unified {
        draft.message.stat_prefix = name;
    }
    draft.message.listener_filters.push(tls_inspector());
    draft.chains = routes.iter().map(chain).collect();
    if draft.chains.is_empty() {
        let config = DirectResponse { response: Some(inline(answer.as_bytes())) };
        let filter = NetworkFilter::Packed(packed_filter("envoy.filters.network.direct_response", &config));
        draft.chains.push(ChainDraft { filters: vec![filter], ..Default::default() });
    }
    draft
}
