//! Services by tags as destinations, built once for all proxies that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use tandem_model::label::{MESH, SERVICE_TAG};
use tandem_model::{Kri, Protocol};
use tandem_policy::envoy::{Draft, Origin};
use tandem_policy::load_balancing::Localities;

use super::Cache;
use super::assignment::assignment;
use super::collect::{Collector, encode_cluster};
use super::credential::Credentials;
use super::names::{Naming, outbound_routes, service_sni, tagged_cluster};
use super::outbound::{Destination, DestinationTls, Reference};
use super::passthrough;
use super::shape::HttpVersion;
use super::tls::{PeerName, ZONE_EGRESS};
use crate::encoded::{Encoded, ResourceType};
use crate::index::{Endpoint, MeshState, MeshView, Service, Snapshot};

/// Everything a [`Destination`] is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DestinationKey {
    pub mesh: Arc<str>,
    pub what: Wanted,
    /// Revisions of what it follows from.
    pub revisions: Vec<u64>,
    pub naming: Naming,
    pub tls_ready: Option<bool>,
    /// Secret of the MeshIdentity of the sidecars that are to reach it, if that makes a difference.
    pub workload: Option<Arc<str>>,
}

/// What an outbound asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// A service by tags.
    Tags(BTreeMap<String, String>, Providers),
    /// A port of a resource.
    Port(Kri),
}

/// Which providers of a service count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Providers {
    /// Those outside of the mesh, too.
    All,
    /// Those of the mesh alone: not every proxy may use what is outside.
    OfMesh,
}

/// Who looks at a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Viewer {
    /// A sidecar of the mesh.
    Sidecar,
    /// An ingress of this zone.
    Ingress,
    /// An egress of this zone.
    Egress,
}

/// Everything an encoded assignment is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AssignmentKey {
    pub viewer: Viewer,
    pub mesh: Arc<str>,
    pub cluster: String,
    pub tags: BTreeMap<String, String>,
    /// What policies make of the endpoints; `None` when none does anything.
    pub localities: Option<Arc<Localities>>,
    /// Revisions of what it follows from.
    pub revisions: Vec<u64>,
}

/// Everything the cluster of a service on a zone proxy is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ZoneClusterKey {
    name: String,
    subsets: BTreeSet<Vec<String>>,
    viewer: Viewer,
}

/// A service of a mesh in a snapshot; also one that nobody provides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceRef<'a> {
    snapshot: &'a Snapshot,
    state: &'a MeshState,
    mesh: &'a MeshView,
    service: Option<&'a Service>,
}

impl<'a> ServiceRef<'a> {
    pub fn new(snapshot: &'a Snapshot, state: &'a MeshState, mesh: &'a MeshView, name: &str) -> Self {
        Self { snapshot, state, mesh, service: state.services.get(name) }
    }

    fn revisions(&self) -> Vec<u64> {
        let service = self.service.map_or(0, |service| service.revision);
        vec![service, self.state.config_revision, self.snapshot.topology_revision]
    }

    /// What somebody sees of the service.
    pub fn endpoints(&self, viewer: Viewer) -> Vec<Endpoint> {
        let view = self.snapshot.viewpoint(self.mesh);
        self.service.map_or_else(Vec::new, |service| match viewer {
            Viewer::Sidecar => service.for_sidecars(view),
            Viewer::Ingress => service.for_ingress(view),
            Viewer::Egress => service.for_egress(view),
        })
    }

    /// True when ingresses of other zones lead to it.
    pub fn is_reachable_in_other_zones(&self) -> bool {
        let topology = &self.snapshot.topology;
        self.service.is_some_and(|service| service.remote.keys().any(|name| topology.ingresses.contains_key(name)))
    }

    fn protocol(&self) -> Protocol {
        let view = self.snapshot.viewpoint(self.mesh);
        self.service.map_or(Protocol::Unknown, |service| service.protocol(view))
    }

    fn is_external(&self) -> bool {
        self.service.is_some_and(|service| service.is_external(self.snapshot.viewpoint(self.mesh)))
    }

    /// The destination that a set of tags names, as sidecars are to reach it.
    pub fn destination(
        &self,
        cache: &Cache,
        tags: &BTreeMap<String, String>,
        providers: Providers,
        naming: Naming,
        credentials: &Credentials,
    ) -> Arc<Destination> {
        let Self { state, mesh, .. } = *self;
        let name = Service::name_in(tags);
        let tls_ready = mesh.permissive().then(|| state.tls_ready.get(name).copied().unwrap_or_default());
        let key = DestinationKey {
            mesh: mesh.name.clone(),
            what: Wanted::Tags(tags.clone(), providers),
            revisions: self.revisions(),
            naming,
            tls_ready,
            workload: None,
        };
        let build = || {
            let is_external = providers == Providers::All && self.is_external();
            let through_egress = is_external && mesh.zone_egress;
            let direct = is_external && !through_egress;
            let protocol = self.protocol();
            let credential = if through_egress { &credentials.egress } else { &credentials.mesh };
            let secured = !direct && (through_egress || tls_ready.unwrap_or(true));
            let own_tags: BTreeMap<_, _> =
                tags.iter().filter(|(tag, _)| *tag != MESH).map(|(tag, value)| (tag.clone(), value.clone())).collect();
            let tls = |credential| DestinationTls {
                credential,
                sni: service_sni(name, &mesh.name, own_tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str()))),
                peers: vec![PeerName::service(&mesh.name, if through_egress { ZONE_EGRESS } else { name })],
            };
            Ok::<_, Infallible>(Arc::new(Destination {
                mesh: mesh.name.clone(),
                reference: Reference::Service(name.into()),
                alias: None,
                cluster: tagged_cluster(tags),
                routes: outbound_routes(name),
                host: name.to_owned(),
                listener: None,
                protocol,
                http: match protocol {
                    _ if !is_external => Some(HttpVersion::Two),
                    Protocol::Http => Some(HttpVersion::One),
                    Protocol::Http2 | Protocol::Grpc => Some(HttpVersion::Two),
                    _ => None,
                },
                rewrite_host: is_external,
                direct,
                tls: credential.clone().filter(|_| secured).map(tls),
                tags: own_tags,
                naming,
            }))
        };
        cache.destinations.get_or_build(key, build).unwrap_or_else(|never| match never {})
    }
}

/// The encoded endpoints of a cluster. Only endpoints with all of `tags` are in it; the service itself is not compared. `localities`
/// are what policies make of them.
pub(crate) fn endpoints(
    cache: &Cache,
    service: ServiceRef<'_>,
    viewer: Viewer,
    cluster: &str,
    tags: &BTreeMap<String, String>,
    localities: Option<Arc<Localities>>,
) -> Arc<Encoded> {
    let key = AssignmentKey {
        viewer,
        mesh: service.mesh.name.clone(),
        cluster: cluster.to_owned(),
        tags: tags.clone(),
        localities: localities.clone(),
        revisions: service.revisions(),
    };
    let build = || {
        let mut endpoints = service.endpoints(viewer);
        let wanted = || tags.iter().filter(|(tag, _)| *tag != SERVICE_TAG);
        endpoints.retain(|endpoint| wanted().all(|(tag, value)| endpoint.tags.get(tag) == Some(value)));
        let message = assignment(cluster, &endpoints, localities.as_deref()).encode();
        Ok::<_, Infallible>(Arc::new(Encoded::new(ResourceType::Endpoint, cluster, &message)))
    };
    cache.assignments.get_or_build(key, build).unwrap_or_else(|never| match never {})
}

/// Adds cluster and endpoints of a service on a zone proxy.
pub(crate) fn add_zone_service(
    collector: &mut Collector<'_>,
    cache: &Cache,
    service: ServiceRef<'_>,
    viewer: Viewer,
    cluster: &str,
    subsets: &BTreeSet<Vec<String>>,
    localities: Option<Arc<Localities>>,
) {
    collector.add(ResourceType::Cluster, zone_cluster(cache, viewer, cluster, subsets));
    collector.add(ResourceType::Endpoint, endpoints(cache, service, viewer, cluster, &BTreeMap::new(), localities));
}

fn zone_cluster(cache: &Cache, viewer: Viewer, name: &str, subsets: &BTreeSet<Vec<String>>) -> Arc<Encoded> {
    let key = ZoneClusterKey { name: name.to_owned(), subsets: subsets.clone(), viewer };
    let build = || {
        let origin = if viewer == Viewer::Egress { Origin::Egress } else { Origin::Ingress };
        Ok::<_, Infallible>(encode_cluster(&Draft::new(origin, passthrough::cluster(name, subsets))))
    };
    cache.zone_clusters.get_or_build(key, build).unwrap_or_else(|never| match never {})
}

/// The encoded cluster on a zone proxy of something that is not split by tags.
pub(crate) fn plain_cluster(cache: &Cache, viewer: Viewer, name: &str) -> Arc<Encoded> {
    zone_cluster(cache, viewer, name, &BTreeSet::new())
}
