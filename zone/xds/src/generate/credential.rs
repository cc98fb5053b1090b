//! With which certificate a proxy takes part in TLS, and how it judges that of the other side.
//!
//! Source of the rules: Kuma `pkg/xds/envoy/tls/v3`, `pkg/plugins/policies/meshtls`,
//! `pkg/plugins/policies/core/xds/meshroute/clusters.go`.

use std::sync::Arc;

use super::names::{Naming, TRUST_BUNDLE};
use super::tls::PeerName;
use crate::index::TrustBundle;

/// Names of the secrets that a TLS context refers to, and how the names of a peer are judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credential {
    /// Secret with the certificate to show.
    pub identity: Arc<str>,
    /// Secret that says whom to trust.
    pub authority: Arc<str>,
    judged: Judged,
}

/// How the names of a peer are judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Judged {
    /// Clients are of the mesh, servers are who they are expected to be.
    InMesh(Arc<str>),
    /// Whoever is of a trusted domain will do.
    Trusted,
    /// Clients are of one of these trust domains, servers are who they are expected to be.
    InDomains(Arc<[Arc<str>]>),
}

impl Credential {
    /// The certificate signed by the authority of the mesh, which is the only one trusted.
    pub fn of_mesh(naming: Naming, mesh: &str) -> Self {
        Self {
            identity: naming.identity_secret(mesh).into(),
            authority: naming.authority_secret(mesh).into(),
            judged: Judged::InMesh(mesh.into()),
        }
    }

    /// The certificate signed by the authority of the mesh, where MeshTrusts say whom to trust.
    pub fn of_mesh_with_trust(naming: Naming, mesh: &str) -> Self {
        let identity = naming.identity_secret(mesh).into();
        Self { identity, authority: TRUST_BUNDLE.into(), judged: Judged::Trusted }
    }

    /// The certificate of a MeshIdentity, which the secret is named after.
    pub fn of_workload(secret: Arc<str>, trust: &TrustBundle) -> Self {
        let domains = trust.domains().map(|(domain, _)| domain.clone()).collect();
        Self { identity: secret, authority: TRUST_BUNDLE.into(), judged: Judged::InDomains(domains) }
    }

    /// Names one of which a client must have; empty when its certificate says enough.
    pub fn clients(&self) -> Vec<PeerName> {
        match &self.judged {
            Judged::InMesh(mesh) => vec![PeerName::any_of(mesh)],
            Judged::Trusted => Vec::new(),
            Judged::InDomains(domains) => domains.iter().map(|domain| PeerName::in_domain(domain)).collect(),
        }
    }

    /// Names one of which a server must have, given those it is expected to have.
    pub fn servers(&self, expected: Vec<PeerName>) -> Vec<PeerName> {
        match &self.judged {
            Judged::InMesh(_) | Judged::InDomains(_) => expected,
            Judged::Trusted => Vec::new(),
        }
    }
}

/// The credentials of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    /// From mutual TLS of the mesh; `None` when it is off.
    pub mesh: Option<Arc<Credential>>,
    /// The same towards the ZoneEgress, which has certificates from the authority of the mesh only.
    pub egress: Option<Arc<Credential>>,
    /// From its MeshIdentity; `None` when it has none.
    pub workload: Option<Arc<Credential>>,
}

impl Credentials {
    /// Those of a sidecar in a mesh; `mtls` tells whether mutual TLS of the mesh is on, `workload` is the secret of its
    /// MeshIdentity.
    pub fn new(naming: Naming, mesh: &str, mtls: bool, workload: Option<&Arc<str>>, trust: &TrustBundle) -> Self {
        let egress = mtls.then(|| Arc::new(Credential::of_mesh(naming, mesh)));
        let mesh = match &egress {
            Some(_) if !trust.is_empty() => Some(Arc::new(Credential::of_mesh_with_trust(naming, mesh))),
            same => same.clone(),
        };
        let workload = workload.map(|secret| Arc::new(Credential::of_workload(secret.clone(), trust)));
        Self { mesh, egress, workload }
    }

    /// The one for connections to the workload; `None` when they are not secured.
    pub fn inbound(&self) -> Option<&Arc<Credential>> {
        self.workload.as_ref().or(self.mesh.as_ref())
    }
}
