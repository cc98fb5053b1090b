//! The certificates of a session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::{DataplaneView, Identity, IdentityRequest, Snapshot, Warning, WorkloadIdentity};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::RefreshError;
use crate::identity::{IdentityError, IdentityOffer, IssuedIdentity};
use crate::issuing::Issue;
use crate::proxy::context::ProxyContext;
use crate::proxy::insight::IssuedCertificate;
use crate::proxy::workload::{Issuer, Otherwise, Workload};
use crate::workload_identity::WorkloadError;

/// When a certificate that could not be made is tried again, should nothing change before.
const RETRY: Duration = Duration::from_secs(10);

/// What a proxy has, and what is being made for it.
#[derive(Debug, Default)]
pub struct Certificates {
    /// From the authorities of meshes, by mesh.
    of_meshes: BTreeMap<String, IssuedIdentity>,
    coming: BTreeMap<String, Coming>,
    workload: Workload,
    /// What there is in the way of a new certificate, although the proxy can go on without.
    problems: Vec<Warning>,
    /// What the certificates were last compared with.
    basis: Option<IdentityBasis>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Coming {
    offer: IdentityOffer,
    issue: Issue<Result<IssuedIdentity, IdentityError>>,
}

/// Whom certificates are for.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub context: &'a ProxyContext,
    pub proxy: &'a ResourceKey,
    /// Notified when something that is being made is there.
    pub done: &'a Arc<Notify>,
    /// It has no configuration yet.
    pub is_new: bool,
}

/// Whether there is all that a configuration needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    /// A certificate without which there can be no configuration is being made.
    Awaited,
}

impl Certificates {
    /// Those of meshes, as a configuration carries them.
    pub(super) fn identities(&self) -> BTreeMap<String, Arc<Identity>> {
        self.of_meshes.iter().map(|(mesh, issued)| (mesh.clone(), issued.identity.clone())).collect()
    }

    /// The one from the MeshIdentity, as a configuration carries it.
    pub(super) fn workload(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.workload.identity()
    }

    /// What there is in the way of a new certificate.
    pub(super) fn problems(&self) -> &[Warning] {
        &self.problems
    }

    /// What tells two states of the certificates apart.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            identities: self.of_meshes.values().map(|issued| issued.identity.clone()).collect(),
            workload: self.workload.identity().cloned(),
            problems: self.problems.clone(),
        }
    }

    /// Keeps only the certificates themselves, for a stream that comes later.
    pub(super) fn settle(&mut self) {
        if !self.is_settled() {
            self.basis = None;
        }
        self.coming.clear();
        self.workload.settle();
        self.retry_at = None;
    }

    fn is_settled(&self) -> bool {
        self.coming.is_empty() && !self.workload.is_underway() && self.retry_at.is_none()
    }

    /// Resolves when a certificate has to be looked at again although nothing changed.
    pub(super) async fn grown_old(&self) {
        if let Some(at) = self.retry_at {
            return tokio::time::sleep_until(at).await;
        }
        match self.due() {
            Some(due) => {
                let wait = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
                tokio::time::sleep(wait).await;
            }
            None => std::future::pending().await,
        }
    }

    fn due(&self) -> Option<Timestamp> {
        // What is being made tells when it is there.
        let settled = self.of_meshes.iter().filter(|(mesh, _)| !self.coming.contains_key(*mesh));
        settled.map(|(_, issued)| issued.renew_at).chain(self.workload.due()).min()
    }

    /// Brings the certificates in line with what the state asks for. New ones are only begun: `holder.done` is notified when one is
    /// there, and the next call takes it over. Until then the earlier one serves as long as it is valid.
    ///
    /// # Errors
    /// When a certificate without which there can be no configuration cannot be had.
    pub(super) async fn refresh(&mut self, snapshot: &Snapshot, holder: Holder<'_>) -> Result<Outcome, RefreshError> {
        let basis = IdentityBasis::of(snapshot, holder.proxy);
        let is_fresh = self.due().is_none_or(|due| Timestamp::now() < due);
        if self.is_settled() && is_fresh && basis.is_some() && basis == self.basis {
            return Ok(Outcome::Complete);
        }
        self.basis = None;
        self.retry_at = None;
        self.problems.clear();
        let refreshed = self.refresh_all(snapshot, holder).await;
        if refreshed.is_err() || !self.problems.is_empty() {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        if refreshed.is_ok() {
            self.basis = basis;
        }
        refreshed
    }

    async fn refresh_all(&mut self, snapshot: &Snapshot, holder: Holder<'_>) -> Result<Outcome, RefreshError> {
        let requests = tandem_xds::identity_requests(snapshot, holder.proxy);
        let is_asked_for = |mesh: &String| requests.iter().any(|request| request.mesh == *mesh);
        self.of_meshes.retain(|mesh, issued| is_asked_for(mesh) && Timestamp::now() < issued.not_after);
        self.coming.retain(|mesh, _| is_asked_for(mesh));
        let mut outcome = Outcome::Complete;
        for request in &requests {
            let mesh = &request.mesh;
            match self.refresh_mesh(request, holder).await {
                Ok(()) if self.of_meshes.contains_key(mesh) => {}
                Ok(()) => outcome = Outcome::Awaited,
                Err(error) if self.of_meshes.contains_key(mesh) => {
                    self.problem(None, format!("no new certificate: {error}"));
                }
                // A zone proxy goes on with the other meshes; generation tells what this one lacks.
                Err(error) if holder.proxy.kind != Kind::Dataplane => {
                    warn!(proxy = %holder.proxy, %error, "no certificate for a zone proxy in a mesh");
                    self.retry_at = Some(Instant::now() + RETRY);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.refresh_workload(snapshot, holder).await?;
        if holder.is_new && self.workload.is_coming() && self.workload.issued().is_none() {
            outcome = Outcome::Awaited;
        }
        Ok(outcome)
    }

    fn problem(&mut self, resource: Option<ResourceKey>, reason: String) {
        self.problems.push(Warning { resource, reason });
    }

    async fn refresh_mesh(&mut self, request: &IdentityRequest, holder: Holder<'_>) -> Result<(), IdentityError> {
        let mesh = &request.mesh;
        let offer = holder.context.identities.offer(request).await?;
        if let Some(coming) = self.coming.remove(mesh)
            && coming.offer.is_like(&offer)
        {
            let Some(made) = coming.issue.take() else {
                self.coming.insert(mesh.clone(), coming);
                return Ok(());
            };
            self.of_meshes.insert(mesh.clone(), made??);
        }
        let is_good = |issued: &IssuedIdentity| issued.is(&offer) && Timestamp::now() < issued.renew_at;
        if !self.of_meshes.get(mesh).is_some_and(is_good) {
            let wanted = offer.clone();
            let issue = holder.context.issuing.begin(holder.done, move || wanted.issue());
            self.coming.insert(mesh.clone(), Coming { offer, issue });
        }
        Ok(())
    }

    /// A proxy that has another certificate goes on with it when that fails.
    async fn refresh_workload(&mut self, snapshot: &Snapshot, holder: Holder<'_>) -> Result<(), WorkloadError> {
        let has_certificate = !self.of_meshes.is_empty() || !self.coming.is_empty();
        let otherwise = match (holder.is_new, has_certificate) {
            (true, _) => Otherwise::New,
            (false, true) => Otherwise::Secured,
            (false, false) => Otherwise::Plain,
        };
        let context = holder.context;
        let issuer = Issuer { identities: &context.workload_identities, issuing: &context.issuing, done: holder.done };
        match self.workload.refresh(issuer, snapshot, holder.proxy, otherwise).await {
            Err(error) if has_certificate || self.workload.issued().is_some() => {
                self.problem(error.identity().cloned(), error.to_string());
                Ok(())
            }
            result => result,
        }
    }

    /// The certificate that a Dataplane shows to others, as its insight tells it.
    pub(super) fn shown(&self, snapshot: &Snapshot, proxy: &ResourceKey) -> Option<IssuedCertificate> {
        if proxy.kind != Kind::Dataplane {
            return None;
        }
        let mesh = &proxy.mesh;
        let of_mesh = || {
            self.of_meshes.get(mesh).map(|issued| IssuedCertificate {
                not_after: issued.not_after,
                backend: issued.backend().to_owned(),
                supported_backends: snapshot.trusted_backends(mesh),
            })
        };
        let of_workload = self.workload.issued().map(|issued| IssuedCertificate {
            not_after: issued.not_after,
            backend: issued.identity.name.to_string(),
            // The authority of the mesh is trusted beside them.
            supported_backends: [snapshot.trust_identifiers(mesh), snapshot.trusted_backends(mesh)].concat(),
        });
        of_workload.or_else(of_mesh)
    }
}

/// A state of the certificates.
#[derive(Debug, Clone)]
pub struct Mark {
    identities: Vec<Arc<Identity>>,
    workload: Option<Arc<WorkloadIdentity>>,
    problems: Vec<Warning>,
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Arc<Identity>, &Arc<Identity>)| Arc::ptr_eq(one, other);
        self.identities.len() == other.identities.len()
            && self.identities.iter().zip(&other.identities).all(is_same)
            && self.workload.as_ref().map(Arc::as_ptr) == other.workload.as_ref().map(Arc::as_ptr)
            && self.problems == other.problems
    }
}

/// All that the certificate of a Dataplane depends on, so that most changes need no second look at it.
#[derive(Debug)]
struct IdentityBasis {
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
