//! Ports of MeshServices and their like as destinations, built once for all proxies that use them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use tandem_policy::destinations::DestinationPort;
use tandem_policy::load_balancing::Localities;

use super::Cache;
use super::assignment::assignment;
use super::credential::Credentials;
use super::external::http_version;
use super::names::{Naming, resource_sni};
use super::outbound::{Destination, DestinationTls, Reference};
use super::services::{AssignmentKey, DestinationKey, Viewer, Wanted};
use super::shape::HttpVersion;
use super::tls::{PeerName, ZONE_EGRESS};
use crate::encoded::{Encoded, ResourceType};
use crate::index::{DestinationView, MeshState, MeshView, ServiceKey, Snapshot};

/// A port of a destination in a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortRef<'a> {
    pub snapshot: &'a Snapshot,
    pub state: &'a MeshState,
    pub mesh: &'a MeshView,
    pub view: &'a DestinationView,
    pub port: &'a DestinationPort,
}

impl PortRef<'_> {
    /// Name that TLS connections to the port ask for.
    pub fn sni(&self) -> String {
        resource_sni(&self.view.sni_name(), self.port.number, &self.mesh.name, self.view.kri.kind)
    }

    /// Name of the cluster and of its endpoints.
    pub fn cluster(&self, naming: Naming) -> String {
        match naming {
            Naming::Legacy => self.view.port_name(self.port),
            Naming::Unified => self.kri().to_string(),
        }
    }

    /// Identifier of the port.
    pub fn kri(&self) -> tandem_model::Kri {
        self.view.kri.clone().with_section(self.port.section.clone())
    }

    /// The services whose changes concern it, and revisions of everything it follows from.
    fn sources(&self) -> (impl Iterator<Item = ServiceKey> + use<>, Vec<u64>) {
        let (services, mut revisions) = self.view.sources(self.state);
        revisions.extend([self.state.config_revision, self.snapshot.topology_revision]);
        (services.into_iter(), revisions)
    }

    /// The services whose changes concern it.
    pub fn services(&self) -> impl Iterator<Item = ServiceKey> + use<> {
        self.sources().0
    }

    /// The port as sidecars are to reach it.
    pub fn destination(&self, cache: &Cache, naming: Naming, credentials: &Credentials) -> Arc<Destination> {
        let key = DestinationKey {
            mesh: self.mesh.name.clone(),
            what: Wanted::Port(self.kri()),
            revisions: self.sources().1,
            naming,
            tls_ready: None,
            workload: credentials.workload.as_ref().map(|credential| credential.identity.clone()),
        };
        let build = || Ok::<_, Infallible>(Arc::new(self.build(naming, credentials)));
        cache.destinations.get_or_build(key, build).unwrap_or_else(|never| match never {})
    }

    fn build(&self, naming: Naming, credentials: &Credentials) -> Destination {
        let kri = self.kri();
        let identifier = kri.to_string();
        let cluster = self.cluster(naming);
        let external = self.view.is_external();
        let is_ready = !self.mesh.permissive() || self.view.is_tls_ready();
        let credential = match external {
            // The egress stands for it.
            true => credentials.egress.as_ref(),
            // Whoever has an identity of its own shows it to everybody.
            false => credentials.workload.as_ref().or(credentials.mesh.as_ref().filter(|_| is_ready)),
        };
        let tls = |credential| {
            if external {
                let peers = vec![PeerName::service(&self.mesh.name, ZONE_EGRESS)];
                return DestinationTls { sni: self.sni(), peers, credential };
            }
            let peers: Vec<_> = self.view.identities(self.state).into_iter().map(PeerName::Exact).collect();
            // Without a known identity any proxy of the mesh is accepted: better than none.
            let any = || if credentials.workload.is_some() { vec![] } else { vec![PeerName::any_of(&self.mesh.name)] };
            let peers = if peers.is_empty() { any() } else { peers };
            DestinationTls { sni: self.sni(), peers, credential }
        };
        Destination {
            mesh: self.mesh.name.clone(),
            reference: Reference::Port(Arc::new(kri)),
            alias: Some(self.view.port_name(self.port).into()),
            routes: identifier.clone(),
            host: cluster.clone(),
            listener: (naming == Naming::Unified).then(|| identifier.clone()),
            tags: [("kuma.io/unified-name".to_owned(), identifier)].into(),
            protocol: self.port.protocol,
            http: if external { http_version(self.port.protocol) } else { Some(HttpVersion::Two) },
            rewrite_host: external,
            direct: false,
            tls: credential.cloned().map(tls),
            cluster,
            naming,
        }
    }

    /// The encoded endpoints; `localities` are what policies make of them.
    pub fn endpoints(
        &self,
        cache: &Cache,
        viewer: Viewer,
        cluster: &str,
        localities: Option<Arc<Localities>>,
    ) -> Arc<Encoded> {
        let key = AssignmentKey {
            viewer,
            mesh: self.mesh.name.clone(),
            cluster: cluster.to_owned(),
            tags: BTreeMap::new(),
            localities: localities.clone(),
            revisions: self.sources().1,
        };
        let build = || {
            let view = self.snapshot.viewpoint(self.mesh);
            let endpoints = self.view.endpoints(self.port, self.state, view, viewer != Viewer::Sidecar);
            let message = assignment(cluster, &endpoints, localities.as_deref()).encode();
            Ok::<_, Infallible>(Arc::new(Encoded::new(ResourceType::Endpoint, cluster, &message)))
        };
        cache.assignments.get_or_build(key, build).unwrap_or_else(|never| match never {})
    }
}
