//! Certificates for proxies from MeshIdentities, signed by the bundled provider.
//!
//! Authorities are read where the MeshIdentity says and parsed once; a changed one is noticed by its content. Source of the
//! contents: Kuma `pkg/core/resources/apis/meshidentity/providers/bundled`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tandem_auth::ca::{self, CaError, KeyType, Signer};
use tandem_model::ResourceKey;
use tandem_store::{SharedStore, StoreError};
use tandem_xds::{Identity, SpiffeId, TrustBundle, WorkloadIdentity, WorkloadRequest};

use crate::issuing;
use crate::mesh_identities::authority;

/// Why a MeshIdentity gives a proxy no certificate.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority is not there, or unusable, or there is nothing to certify.
    #[error("{identity} gives no certificate: {reason}")]
    Unusable {
        /// The MeshIdentity.
        identity: ResourceKey,
        /// What is wrong.
        reason: String,
    },
    /// Making it failed in a way that nobody expected.
    #[error("making a certificate failed: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

impl WorkloadError {
    /// The MeshIdentity that it is about.
    pub fn identity(&self) -> Option<&ResourceKey> {
        match self {
            Self::Store(_) | Self::Lost(_) => None,
            Self::Unusable { identity, .. } => Some(identity),
        }
    }
}

/// Shortest life of a certificate: a shorter one would be renewed without end.
const SHORTEST: Duration = Duration::from_secs(1);

/// Certificate and key of an authority, PEM.
type Pair = (String, String);

/// Issues certificates; shared by all streams.
pub struct WorkloadIdentities {
    store: SharedStore,
    key_type: KeyType,
    signers: Mutex<HashMap<ResourceKey, (Pair, Arc<Signer>)>>,
}

impl WorkloadIdentities {
    /// An issuer that reads authorities by way of `store` and makes keys of this type.
    pub fn new(store: SharedStore, key_type: KeyType) -> Self {
        Self { store, key_type, signers: Mutex::default() }
    }

    /// What a certificate as requested would be.
    ///
    /// # Errors
    /// When there is no usable authority, or nothing to certify.
    pub async fn offer(&self, request: &WorkloadRequest) -> Result<Offer, WorkloadError> {
        let identity = &request.identity;
        let key = &identity.resource.key;
        let unusable = |reason: String| WorkloadError::Unusable { identity: key.clone(), reason };
        let bundled = identity.bundled().ok_or_else(|| unusable("its provider is not Bundled".to_owned()))?;
        let spiffe_id = request.spiffe_id.clone().map_err(&unusable)?;
        let pair = authority::pair(&self.store, &identity.resource, bundled).await?.map_err(&unusable)?;
        let signer = self.signer(key, pair).map_err(|error| unusable(error.to_string()))?;
        let parameters = bundled.certificate_parameters.as_ref();
        let expiry = parameters.and_then(|parameters| u64::try_from(parameters.expiry?.0).ok());
        let validity = expiry.map_or(ca::DEFAULT_VALIDITY, |nanos| Duration::from_nanos(nanos).max(SHORTEST));
        Ok(Offer {
            name: identity.kri.to_string().into(),
            identity: key.clone(),
            spiffe_id,
            validity,
            key_type: self.key_type,
            signer,
        })
    }

    /// The parsed authority. The same `Arc` as long as nothing about it changed.
    fn signer(&self, identity: &ResourceKey, pair: Pair) -> Result<Arc<Signer>, CaError> {
        let mut signers = self.signers.lock();
        if let Some((known, signer)) = signers.get(identity)
            && *known == pair
        {
            return Ok(signer.clone());
        }
        let signer = Arc::new(Signer::from_pem(pair.0.as_bytes(), pair.1.as_bytes())?);
        signers.insert(identity.clone(), (pair, signer.clone()));
        Ok(signer)
    }
}

/// A certificate that could be issued.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Identifier of the MeshIdentity.
    name: Arc<str>,
    identity: ResourceKey,
    spiffe_id: SpiffeId,
    validity: Duration,
    key_type: KeyType,
    signer: Arc<Signer>,
}

impl Offer {
    /// True when both say the same about the proxy and are signed by the same authority.
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { name, identity, spiffe_id, validity: _, key_type: _, signer } = self;
        *name == other.name
            && *identity == other.identity
            && *spiffe_id == other.spiffe_id
            && Arc::ptr_eq(signer, &other.signer)
    }

    /// True when both are alike and valid for as long.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_like(other) && self.validity == other.validity
    }

    /// True when those who trust `bundle` would accept the certificate.
    pub fn is_trusted(&self, bundle: &TrustBundle) -> bool {
        bundle.trusts(&self.spiffe_id.trust_domain, self.signer.root_pem().as_bytes())
    }

    /// Issues the certificate. That takes a while; see [`Issuing`](crate::issuing::Issuing).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(self) -> Result<IssuedWorkload, WorkloadError> {
        let unusable =
            |error: CaError| WorkloadError::Unusable { identity: self.identity.clone(), reason: error.to_string() };
        let certificate =
            ca::issue_identity(&self.signer, &self.spiffe_id.uri, self.validity, self.key_type).map_err(unusable)?;
        let identity = Identity {
            certificate_chain: certificate.cert_pem.clone().into_bytes(),
            private_key: certificate.key_pem.clone().into_bytes(),
        };
        Ok(IssuedWorkload {
            renew_at: issuing::renew_at(&certificate),
            not_after: certificate.not_after,
            identity: Arc::new(WorkloadIdentity { name: self.name.clone(), certificate: Arc::new(identity) }),
            offer: self,
        })
    }
}

/// A certificate, and what it was made from.
#[derive(Debug, Clone)]
pub struct IssuedWorkload {
    /// The certificate as the configuration of the proxy carries it.
    pub identity: Arc<WorkloadIdentity>,
    /// When it ends.
    pub not_after: Timestamp,
    /// When it is to be replaced.
    pub renew_at: Timestamp,
    offer: Offer,
}

impl IssuedWorkload {
    /// What it was made from.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// True when another certificate, valid for as long, would say the same.
    pub fn is(&self, offer: &Offer) -> bool {
        self.offer.is_same(offer)
    }
}
