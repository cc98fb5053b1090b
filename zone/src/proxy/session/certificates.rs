//! The certificates of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::{Kind, ResourceKey};
use tandem_xds::{DataplaneView, Snapshot, Warning};
use tracing::warn;

use super::{RefreshError, Session};
use crate::proxy::insight::IssuedCertificate;
use crate::proxy::workload::Otherwise;
use crate::workload_identity::WorkloadError;

impl Session {
    /// Brings the certificates in line with what the state asks for.
    pub(super) async fn renew_identities(&mut self, snapshot: &Snapshot) -> Result<(), RefreshError> {
        let basis = IdentityBasis::of(snapshot, self.key());
        let now = jiff::Timestamp::now();
        let due = self.identities.values().map(|identity| identity.renew_at).chain(self.workload.due());
        let is_fresh = due.min().is_none_or(|due| now < due);
        if is_fresh && basis.is_some() && basis == self.identity_basis {
            return Ok(());
        }
        let requests = tandem_xds::identity_requests(snapshot, self.connection.key());
        let mut identities = BTreeMap::new();
        for request in &requests {
            let current = self.identities.get(&request.mesh);
            let issued = match self.context.identities.issue(request, current).await {
                Ok(issued) => issued,
                // A zone proxy goes on with the other meshes; generation tells what this one lacks.
                Err(error) if self.key().kind != Kind::Dataplane => {
                    warn!(proxy = %self.key(), %error, "no certificate for a zone proxy in a mesh");
                    match current {
                        Some(current) => current.clone(),
                        None => continue,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            identities.insert(request.mesh.clone(), issued);
        }
        self.renew_workload(snapshot, !identities.is_empty()).await?;
        if self.key().kind == Kind::Dataplane {
            let mesh = &self.connection.key().mesh;
            let of_mesh = || {
                identities.get(mesh).map(|issued| IssuedCertificate {
                    not_after: issued.not_after,
                    backend: issued.request.backend.clone(),
                    supported_backends: snapshot.trusted_backends(mesh),
                })
            };
            let of_workload = self.workload.issued().map(|issued| IssuedCertificate {
                not_after: issued.not_after,
                backend: issued.identity.name.to_string(),
                // The authority of the mesh is trusted beside them.
                supported_backends: [snapshot.trust_identifiers(mesh), snapshot.trusted_backends(mesh)].concat(),
            });
            let certificate = of_workload.or_else(of_mesh);
            if certificate != self.certificate {
                self.certificate = certificate;
                self.certificate_unconfirmed = true;
            }
        }
        self.identities = identities;
        self.identity_basis = basis;
        Ok(())
    }

    /// Brings the certificate from the MeshIdentity in line with what the state asks for. A proxy that has another one goes on with
    /// it when that fails.
    async fn renew_workload(&mut self, snapshot: &Snapshot, has_certificate: bool) -> Result<(), WorkloadError> {
        let otherwise = match (&self.generated, has_certificate) {
            (None, _) => Otherwise::New,
            (Some(_), true) => Otherwise::Secured,
            (Some(_), false) => Otherwise::Plain,
        };
        let issuer = &self.context.workload_identities;
        let renewed = self.workload.refresh(issuer, snapshot, self.connection.key(), otherwise).await;
        self.workload_problem = match renewed {
            Ok(()) => None,
            Err(error) if has_certificate || self.workload.issued().is_some() => {
                Some(Warning { resource: error.identity().cloned(), reason: error.to_string() })
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// All that the certificate of a Dataplane depends on, so that most changes need no second look at it.
#[derive(Debug)]
pub(super) struct IdentityBasis {
    mesh_revision: u64,
    dataplane: Arc<DataplaneView>,
}

impl IdentityBasis {
    /// `None` for zone proxies, which have certificates of several meshes.
    fn of(snapshot: &Snapshot, proxy: &ResourceKey) -> Option<Self> {
        if proxy.kind != Kind::Dataplane {
            return None;
        }
        Some(Self {
            mesh_revision: snapshot.mesh_revision(&proxy.mesh)?,
            dataplane: snapshot.dataplane(&proxy.mesh, &proxy.name)?.clone(),
        })
    }
}

impl PartialEq for IdentityBasis {
    fn eq(&self, other: &Self) -> bool {
        self.mesh_revision == other.mesh_revision && Arc::ptr_eq(&self.dataplane, &other.dataplane)
    }
}
