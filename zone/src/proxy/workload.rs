//! The certificate that a connected proxy has from its MeshIdentity.
//!
//! A certificate that is good is replaced by another one only when others can be expected to accept that: its authority is
//! trusted in the mesh, and for a while, so that all proxies, also those of other zones, have heard of it. So neither the move
//! from mutual TLS of the mesh to a MeshIdentity nor a new authority breaks a connection.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::{Snapshot, TrustBundle, WorkloadIdentity};

use crate::workload_identity::{IssuedWorkload, Offer, WorkloadError, WorkloadIdentities};

/// How long others may take to hear whom to trust: across zones some seconds at most.
const SPREAD: Duration = Duration::from_secs(5);

/// The certificate that a proxy has, and the one it is to get.
#[derive(Debug, Default)]
pub struct Workload {
    issued: Option<IssuedWorkload>,
    next: Option<(Offer, Timestamp)>,
}

/// What a proxy is without a certificate from its MeshIdentity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It has no configuration yet, so nothing breaks.
    New,
    /// It has a certificate of its mesh.
    Secured,
    /// It has none.
    Plain,
}

impl Workload {
    /// The certificate.
    pub fn issued(&self) -> Option<&IssuedWorkload> {
        self.issued.as_ref()
    }

    /// The certificate as the configuration carries it.
    pub fn identity(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.issued.as_ref().map(|issued| &issued.identity)
    }

    /// When it has to be looked at again although nothing changes.
    pub fn due(&self) -> Option<Timestamp> {
        let renewal = self.issued.as_ref().map(|issued| issued.renew_at);
        let next = self.next.as_ref().map(|(_, at)| *at);
        renewal.into_iter().chain(next).min()
    }

    /// Brings the certificate in line with what the state asks for.
    ///
    /// # Errors
    /// When there is to be one but none can be issued. The earlier one stays as long as it is valid.
    pub async fn refresh(
        &mut self,
        issuer: &WorkloadIdentities,
        snapshot: &Snapshot,
        proxy: &ResourceKey,
        otherwise: Otherwise,
    ) -> Result<(), WorkloadError> {
        let now = Timestamp::now();
        self.issued.take_if(|issued| issued.not_after <= now);
        let request = (proxy.kind == Kind::Dataplane).then(|| tandem_xds::workload_request(snapshot, proxy)).flatten();
        let Some(request) = request else {
            *self = Self::default();
            return Ok(());
        };
        if !request.identity.ready {
            // What is wrong with it is told by its status, and takes no certificate away.
            self.next = None;
            return Ok(());
        }
        let offer = issuer.offer(&request).await?;
        let none = TrustBundle::default();
        let trust = snapshot.trust(&proxy.mesh).map_or(&none, |trust| trust);
        if self.is_time_for(&offer, trust, otherwise, now) {
            self.issued = Some(offer.issue()?);
            self.next = None;
        }
        Ok(())
    }

    /// True when a certificate is to be issued as offered; when it is to be issued later, that is noted.
    fn is_time_for(&mut self, offer: &Offer, trust: &TrustBundle, otherwise: Otherwise, now: Timestamp) -> bool {
        if let Some(issued) = &self.issued {
            if issued.is(offer) && now < issued.renew_at {
                self.next = None;
                return false;
            }
            if issued.offer().is_like(offer) {
                return true;
            }
        } else if otherwise != Otherwise::Secured {
            return true;
        }
        if !offer.is_trusted(trust) {
            self.next = None;
            return false;
        }
        match &self.next {
            Some((next, at)) if next.is_like(offer) => *at <= now,
            _ => {
                self.next = Some((offer.clone(), now.saturating_add(SPREAD).unwrap_or(now)));
                false
            }
        }
    }
}
