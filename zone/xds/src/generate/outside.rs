//! What a ZoneEgress does for services outside of the mesh: it ends the TLS of the mesh, lets in whom policies permit, and speaks to
//! the services in the name of their clients.
//!
//! Source: Kuma `pkg/xds/generator/egress/external_services_generator.go`, for access also
//! `pkg/plugins/policies/meshtrafficpermission/plugin`.

use std::sync::Arc;

use tandem_model::label::SERVICE_TAG;
use tandem_model::{Kri, Protocol};
use tandem_policy::envoy::pb::{core, listener};
use tandem_policy::envoy::{ChainDraft, DownstreamTransport, Draft, NetworkFilter, Origin};
use tandem_policy::{EgressPolicies, OutsidePolicies, legacy};

use super::collect::Collector;
use super::credential::Credential;
use super::egress::localities;
use super::external::{ExternalCluster, Outside, socket};
use super::http::{everything_to, manager, route_table};
use super::names::{Naming, outbound_routes, zone_cluster};
use super::passthrough::Splits;
use super::real::PortRef;
use super::shape::{is_ipv6, tcp_proxy};
use super::tls::downstream;
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{DestinationView, EgressView, ExternalView, MeshState, MeshView, Snapshot};
use crate::metadata::ProxyMetadata;

/// What the chain to a service outside of the mesh is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutsideChain {
    mesh: Arc<str>,
    /// Name of the chain.
    name: String,
    /// Name that connections ask for.
    sni: String,
    cluster: String,
    /// Name of the route table.
    routes: String,
    /// Name of the virtual host, also in statistics.
    host: String,
    protocol: Protocol,
    access: Access,
    /// The destination, if it is a resource, and the policies about it.
    policies: Option<(Arc<Kri>, ByAddress<EgressPolicies>)>,
}

/// Who may use a chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Access {
    /// Whom the policies about a `kuma.io/service` let in; with those of the older generation, some of which do more.
    Service(ByAddress<OutsidePolicies>, ByAddress<legacy::InboundPolicies>),
    /// Everybody in the mesh.
    All,
    /// Nobody.
    Nobody,
}

/// True when services outside of a mesh can be reached from this zone, so that an egress ends TLS for the mesh.
pub(crate) fn has_services(snapshot: &Snapshot, mesh: &MeshState) -> bool {
    let Some(config) = mesh.config.as_ref().filter(|config| config.mtls.is_some()) else { return false };
    let view = snapshot.viewpoint(config);
    mesh.externals.values().any(|external| external.is_reachable_from(view.zone))
        || mesh.views.values().any(|destination| !destination.outside(view).is_empty())
}

/// One mesh as an egress sees it.
pub(crate) struct OutsideOfMesh<'a> {
    pub snapshot: &'a Snapshot,
    pub state: &'a MeshState,
    pub mesh: &'a MeshView,
    pub egress: &'a EgressView,
    pub metadata: &'a ProxyMetadata,
}

impl OutsideOfMesh<'_> {
    fn naming(&self) -> Naming {
        Naming::unified_if(self.metadata.features.unified_naming)
    }

    /// Adds the clusters of all services outside of the mesh that can be reached from this zone; returns the chains to them, sorted by
    /// the names of the services. A service that cannot be configured is left out.
    pub fn services(&self, collector: &mut Collector<'_>) -> Vec<OutsideChain> {
        let mut chains = Vec::new();
        let splits = Splits::of(self.state);
        for (name, service) in self.state.services.iter() {
            let externals: Vec<_> = service.external_in_zone(&self.snapshot.settings.zone).collect();
            if !externals.is_empty() {
                collector.uses(&self.mesh.name, name);
                let of_service = self.external_services(name, &externals, &splits, collector);
                chains.extend(of_service.into_iter().map(|chain| (name.to_string(), chain)));
            }
        }
        let views: Vec<_> = self.state.views.values().filter(|view| view.is_external()).collect();
        if !views.is_empty() {
            let policies = self.state.compiled.for_egress();
            collector.keep(policies.clone());
            for view in views {
                chains.extend(self.mesh_external_service(view, policies, collector));
            }
        }
        chains.sort_by(|(one, _), (other, _)| one.cmp(other));
        chains.into_iter().map(|(_, chain)| chain).collect()
    }

    fn add_cluster(&self, name: &str, cluster: &ExternalCluster, collector: &mut Collector<'_>) {
        let message = [&*cluster.draft.encode(), &cluster.rest].concat();
        collector.own_encoded("outside", (name, &message), || {
            [(ResourceType::Cluster, Arc::new(Encoded::new(ResourceType::Cluster, name, &message)))]
        });
    }

    /// Adds the ExternalServices of one name.
    fn external_services(
        &self,
        service: &Arc<str>,
        externals: &[&Arc<ExternalView>],
        splits: &Splits,
        collector: &mut Collector<'_>,
    ) -> Vec<OutsideChain> {
        let Self { snapshot, state, mesh, .. } = self;
        let more_tags = [("mesh".to_owned(), mesh.name.to_string())].into();
        let view = snapshot.viewpoint(mesh);
        let outside = Outside::of_externals(externals.iter().copied(), &more_tags, view, state, collector);
        if outside.endpoints.is_empty() {
            return Vec::new();
        }
        let protocol = Protocol::common_of(externals.iter().map(|external| external.protocol));
        let cluster = zone_cluster(&mesh.name, service);
        // All tags that clients may ask for lead to the same place: outside nothing is chosen by tags.
        let (routes, _) = splits.routes(&mesh.name, service, || outside.endpoints.clone());
        if routes.is_empty() {
            return Vec::new();
        }
        let localities = localities(snapshot, state, mesh, service);
        let prefer_ipv4 = !is_ipv6(&self.egress.address);
        let message = outside.cluster(&cluster, protocol, prefer_ipv4, localities.as_deref());
        self.add_cluster(&cluster, &message, collector);
        let host = match self.naming() {
            Naming::Legacy => service.to_string(),
            Naming::Unified => cluster.clone(),
        };
        let older = older_policies(&state.legacy, externals);
        // Of an ExternalService only its name counts here.
        let tags = [(SERVICE_TAG.to_owned(), service.to_string())].into();
        let policies = collector.cache().outside_policies.of(&Arc::new(state.compiled.for_outside(&tags)));
        policies.problems().for_each(|(policy, reason)| collector.left_out(policy, reason));
        collector.keep(policies.clone());
        collector.keep(older.clone());
        let chain = |sni| OutsideChain {
            mesh: mesh.name.clone(),
            name: format!("{host}_{}", mesh.name),
            sni,
            cluster: cluster.clone(),
            routes: outbound_routes(&host),
            host: host.clone(),
            protocol,
            access: Access::Service(ByAddress(policies.clone()), ByAddress(older.clone())),
            policies: None,
        };
        routes.into_iter().map(|route| chain(route.sni)).collect()
    }

    /// Adds a MeshExternalService. `None` for one that has no endpoints or cannot be reached from this zone, and for one that cannot be
    /// configured.
    fn mesh_external_service(
        &self,
        view: &DestinationView,
        policies: &Arc<EgressPolicies>,
        collector: &mut Collector<'_>,
    ) -> Option<(String, OutsideChain)> {
        let Self { snapshot, state, mesh, .. } = *self;
        let port = view.ports.first()?;
        let of = PortRef { snapshot, state, mesh, view, port };
        let endpoints = view.outside(snapshot.viewpoint(mesh));
        let first = endpoints.first()?.address.clone();
        let key = &view.resource.key;
        let socket = match state.outside_tls.get(key) {
            Some(Err(reason)) => {
                collector.left_out(key, reason);
                return None;
            }
            Some(Ok(tls)) => {
                let authority = &self.metadata.system_ca_path;
                if tls.system_authority && tls.authority.is_none() && authority.is_empty() {
                    collector.warn(&[format!(
                        "{key}: the certificate of the server is not verified: spec.tls.verification.caCert is not set, and the \
                         proxy has told of no authorities of its host (systemCaPath)"
                    )]);
                }
                Some(socket(tls, &first, None, authority))
            }
            None => None,
        };
        let cluster = of.cluster(self.naming());
        let outside = Outside { endpoints, sockets: socket.into_iter().collect() };
        let prefer_ipv4 = !is_ipv6(&self.egress.address);
        let ExternalCluster { draft, rest } = outside.cluster(&cluster, port.protocol, prefer_ipv4, None);
        let destination = Arc::new(of.kri());
        let mut draft = Draft::new(Origin::Egress, draft).speaking(port.protocol).serving(destination.clone());
        tandem_policy::egress_cluster(policies, &mut draft);
        self.add_cluster(&cluster, &ExternalCluster { draft: draft.value, rest }, collector);
        let chain = OutsideChain {
            mesh: mesh.name.clone(),
            name: cluster.clone(),
            sni: of.sni(),
            routes: cluster.clone(),
            host: cluster.clone(),
            cluster,
            protocol: port.protocol,
            access: if mesh.forbid_external_services { Access::Nobody } else { Access::All },
            policies: Some((destination, ByAddress(policies.clone()))),
        };
        Some((view.port_name(port), chain))
    }
}

/// Policies of the older generation about the ExternalServices of one name: the permission of the last one that has one, faults and
/// limits of all.
fn older_policies(policies: &legacy::Compiled, externals: &[&Arc<ExternalView>]) -> Arc<legacy::InboundPolicies> {
    let mut found = externals.iter().map(|external| policies.inbound(&external.tags));
    let first = found.next().unwrap_or_default();
    found.fold(first, |known, next| {
        // The same policies are the same in memory.
        if Arc::ptr_eq(&known, &next) {
            return known;
        }
        let mut all = (*known).clone();
        all.traffic_permission = next.traffic_permission.clone().or(all.traffic_permission);
        append_new(&mut all.fault_injections, &next.fault_injections);
        append_new(&mut all.rate_limits, &next.rate_limits);
        Arc::new(all)
    })
}

fn append_new<T>(known: &mut Vec<Arc<T>>, more: &[Arc<T>]) {
    for policy in more {
        if !known.iter().any(|known| Arc::ptr_eq(known, policy)) {
            known.push(policy.clone());
        }
    }
}

impl OutsideChain {
    /// The chain. `listener` is the name of the listener it is for.
    pub fn draft(&self, listener: &str, naming: Naming, internal: &[core::CidrRange]) -> ChainDraft {
        let Self { mesh, name, sni, cluster, routes, host, protocol, access, policies } = self;
        let filter = if protocol.is_http_based() {
            let table = route_table(routes.clone(), host.clone(), vec![everything_to("", cluster, true)]);
            NetworkFilter::Http(Box::new(manager(host, internal.to_vec(), table, Vec::new())))
        } else {
            NetworkFilter::Tcp(Box::new(tcp_proxy(cluster, host)))
        };
        let mut chain = ChainDraft {
            name: name.clone(),
            matches: Some(listener::FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                server_names: vec![sni.clone()],
                ..Default::default()
            }),
            filters: vec![filter],
            transport: Some(DownstreamTransport::Tls(Box::new(downstream(&Credential::of_mesh(naming, mesh))))),
        };
        if let Some((destination, policies)) = policies {
            tandem_policy::egress_routes(&policies.0, destination, &mut chain);
        }
        match access {
            Access::Service(policies, older) => {
                legacy::inbound_chain(&older.0, host, &mut chain);
                let has_older = older.0.traffic_permission.is_some();
                tandem_policy::egress_chain(&policies.0, has_older, listener, &mut chain);
            }
            Access::All => tandem_policy::egress_external_service_chain(false, listener, &mut chain),
            Access::Nobody => tandem_policy::egress_external_service_chain(true, listener, &mut chain),
        }
        chain
    }
}
