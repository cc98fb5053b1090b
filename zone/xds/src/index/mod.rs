//! The mesh index: what the store holds, arranged for generation and kept current change by change.
//!
//! Every resource is decoded once. A change costs what it changes: a Dataplane that joins touches its own services and
//! nothing else of its mesh. [`MeshIndex::snapshot`] hands out an immutable view that shares structure with the next one.

mod apply;
mod dataplane;
mod destination;
mod external;
mod hostnames;
mod identity;
mod mesh;
mod outside_tls;
mod pem;
mod service;
mod snapshot;
mod supposition;
#[cfg(test)]
mod tests;
mod touched;
mod trust;
mod vips;
mod zone_proxy;

use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};

pub use dataplane::DataplaneView;
pub(crate) use dataplane::direct_access_to;
pub use destination::DestinationView;
pub(crate) use external::ExternalView;
pub use identity::MeshIdentityView;
pub use mesh::{MeshView, Mtls};
pub(crate) use outside_tls::OutsideTls;
#[cfg(test)]
pub(crate) use service::Locality;
pub(crate) use service::{Endpoint, Service, Viewpoint};
pub(crate) use snapshot::{Authority, MeshState};
pub use snapshot::{Snapshot, ZoneSettings};
pub use touched::{Problem, Touched};
pub use trust::TrustBundle;
pub use vips::VipsView;
pub(crate) use vips::{ALL_VIPS, vips_of};
pub use zone_proxy::{AvailableService, EgressView, IngressView, ServiceKey, Topology};

/// The index. One task owns it and feeds it; everybody else reads snapshots.
#[derive(Debug)]
pub struct MeshIndex {
    state: Arc<Snapshot>,
    /// Source of revisions; a revision is never used twice.
    revision: u64,
    /// Those of `Snapshot::problems` that nobody took yet.
    news: Vec<Problem>,
    hostnames: hostnames::Hostnames,
}

impl MeshIndex {
    /// An index of an empty store.
    pub fn new(settings: ZoneSettings) -> Self {
        Self {
            state: Arc::new(Snapshot::empty(settings)),
            revision: 0,
            news: Vec::new(),
            hostnames: Default::default(),
        }
    }

    /// An index that goes on from a state, with revisions that the index of the state does not come to.
    fn continuing(state: Snapshot) -> Self {
        const FAR_AWAY: u64 = u64::MAX / 2;
        Self { state: Arc::new(state), revision: FAR_AWAY, news: Vec::new(), hostnames: Default::default() }
    }

    /// Takes in changes in order: a key with the new resource, or without one when it was deleted. Kinds that generation does
    /// not read are passed over. Returns what they mean for proxies.
    ///
    /// A resource that cannot be read is left out, as if it did not exist, and reported by [`MeshIndex::take_problems`].
    pub fn apply<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a ResourceKey, Option<&'a Arc<Resource>>)>,
    ) -> Touched {
        apply::apply(self, changes, Touched::default())
    }

    /// Starts over with these resources.
    pub fn reset<'a>(&mut self, resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> Touched {
        self.state = Arc::new(Snapshot::empty(self.state.settings().clone()));
        self.hostnames = Default::default();
        let changes = resources.into_iter().map(|resource| (&resource.key, Some(resource)));
        apply::apply(self, changes, Touched { everything: true, ..Touched::default() });
        Touched { everything: true, ..Touched::default() }
    }

    /// The current state. Cheap.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.clone()
    }

    /// The resources that turned out to be left out since the last call. All that are left out now are in [`Snapshot::problems`].
    pub fn take_problems(&mut self) -> Vec<Problem> {
        let mut news = std::mem::take(&mut self.news);
        news.retain(|problem| self.state.problems_of(&problem.key).contains(&problem.reason));
        news
    }

    /// The host names that resources use in place of addresses. Whoever feeds the index looks them up, now and then, and tells
    /// with [`MeshIndex::resolve`]; a resource with an unknown name is left out until then.
    pub fn hostnames(&self) -> impl Iterator<Item = &str> {
        self.hostnames.names()
    }

    /// Notes the address of a host name: of several the one whose text sorts first, `None` when it cannot be found. Returns what
    /// that means for proxies.
    pub fn resolve(&mut self, hostname: &str, address: Option<IpAddr>) -> Touched {
        let users = self.hostnames.set(hostname, address);
        self.apply(users.iter().map(|resource| (&resource.key, Some(resource))))
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }
}
