//! Whether a proxy is who it says.
//!
//! First the credential is looked at alone, as soon as it is known which proxy it is for: [`Authentication::prove`]. Then the
//! resource of the proxy is held against what was proved, [`Authentication::admit`], and so is the one that it would replace,
//! [`Authentication::may_replace`]. Nothing here reads the store.

use std::sync::Arc;

use tandem_auth::proxy::{DataplaneIdentity, Mismatch, Scope, check_dataplane, check_subject, check_zone_proxy};
use tandem_auth::token::{DataplaneClaims, Fault, TokenError, Tokens};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{DecodeError, Kind, LabelContext, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_runtime::config::ProxyAuthn;
use tandem_xds::MeshIdentityView;

use crate::mesh_state::CurrentSnapshot;
use crate::refusals::Reason;
use crate::service_accounts::{ServiceAccountError, ServiceAccounts};

/// Rules for the tokens of proxies.
pub struct Authentication {
    /// What data plane proxies must show.
    pub dataplanes: ProxyAuthn,
    /// What zone proxies must show.
    pub zone_proxies: ProxyAuthn,
    /// Name of this zone.
    pub zone: String,
    /// Keys that tokens are checked with.
    pub tokens: Arc<Tokens>,
    /// Who knows service accounts, where proxies show their tokens.
    pub service_accounts: Option<ServiceAccounts>,
    /// The MeshIdentities.
    pub snapshot: CurrentSnapshot,
    /// What a Dataplane's labels are completed with when it is stored.
    pub labels: LabelContext,
    /// Whether the resource that a proxy replaces must be covered by its credential, too.
    pub takeover_protection: bool,
}

/// What a credential proved about a proxy; it counts for the proxy that it was given for only.
#[derive(Debug, Clone)]
pub enum Proof {
    /// That it may be anything: nothing has to be shown, or the name was proved and nothing else matters.
    Whole,
    /// What the claims of its dataplane token say.
    Dataplane(DataplaneClaims),
}

/// Why a proxy is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is for another proxy.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The token is not that of the service account of the proxy.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountError),
    /// The resource of the proxy does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl From<&AuthenticationError> for Reason {
    fn from(error: &AuthenticationError) -> Self {
        match error {
            AuthenticationError::Token(TokenError::UnknownKey(_)) => Self::TokenUnknownKey,
            AuthenticationError::Token(TokenError::Invalid { fault, .. }) => match fault {
                Fault::Missing => Self::TokenMissing,
                Fault::Malformed => Self::TokenMalformed,
                Fault::Algorithm => Self::TokenAlgorithm,
                Fault::Key => Self::TokenUnknownKey,
                Fault::Signature => Self::TokenSignature,
            },
            AuthenticationError::Token(TokenError::OutOfTime { .. }) => Self::TokenExpired,
            AuthenticationError::Token(TokenError::Revoked) => Self::TokenRevoked,
            AuthenticationError::Mismatch(_) => Self::TokenMismatch,
            AuthenticationError::ServiceAccount(error) => error.into(),
            AuthenticationError::Decode(_) => Self::ResourceInvalid,
        }
    }
}

/// A Dataplane whose identity would name its workload, and that has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "missing required label '{}' - dataplane is selected by MeshIdentity '{identity}' with path template '{path}'",
    label::WORKLOAD
)]
pub struct WorkloadMissing {
    identity: String,
    path: String,
}

impl Authentication {
    /// Checks a credential for the proxy with a key, before anything else is known of the proxy.
    ///
    /// # Errors
    /// When it is not valid, or not for a proxy of this name, mesh or kind.
    pub async fn prove(&self, proxy: &ResourceKey, credential: &str) -> Result<Proof, AuthenticationError> {
        let scope = match proxy.kind {
            Kind::ZoneIngress => Some(Scope::Ingress),
            Kind::ZoneEgress => Some(Scope::Egress),
            _ => None,
        };
        let required = if scope.is_some() { self.zone_proxies } else { self.dataplanes };
        match (required, scope) {
            (ProxyAuthn::None, _) => Ok(Proof::Whole),
            (ProxyAuthn::Token, Some(scope)) => {
                check_zone_proxy(&self.tokens.check_zone(credential)?, scope, &self.zone)?;
                Ok(Proof::Whole)
            }
            (ProxyAuthn::Token, None) => {
                let claims = self.tokens.check_dataplane(credential, &proxy.mesh)?;
                check_subject(&claims, &proxy.name, &proxy.mesh)?;
                Ok(Proof::Dataplane(claims))
            }
            (ProxyAuthn::ServiceAccountToken, _) => {
                let accounts = self.service_accounts.as_ref().ok_or(ServiceAccountError::NotConfigured)?;
                accounts.check(&proxy.name, credential).await?;
                Ok(Proof::Whole)
            }
        }
    }

    /// Holds the resource of a proxy, as it brought it or else as it is stored, against what was proved.
    ///
    /// # Errors
    /// When the proxy may not be that.
    pub fn admit(&self, proof: &Proof, resource: &Resource) -> Result<(), AuthenticationError> {
        match proof {
            Proof::Whole => Ok(()),
            Proof::Dataplane(claims) => self.covers(claims, resource),
        }
    }

    /// Whether a proxy may take the place of what is stored under its name.
    ///
    /// # Errors
    /// The text for the proxy when its credential would not admit the stored resource.
    pub fn may_replace(&self, proof: &Proof, stored: &Resource) -> Result<(), String> {
        let Proof::Dataplane(claims) = proof else { return Ok(()) };
        if !self.takeover_protection {
            return Ok(());
        }
        // Whatever the proxy said of its zone, what is stored says what this control plane made of it.
        let mut claims = claims.clone();
        claims.tags.remove(label::ZONE);
        self.covers(&claims, stored).map_err(|error| {
            format!(
                "a {} {:?} is there already, and the token does not cover it: {error}. Use a token that covers both, delete \
                 that {}, or wait until its proxy has left for xdsServer.dataplaneDeregistrationDelay",
                stored.kind(),
                stored.key.name,
                stored.kind(),
            )
        })
    }

    /// Checks that a Dataplane that is brought names its workload, if its identity will.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_workload(&self, brought: &Resource) -> Result<(), WorkloadMissing> {
        if brought.kind() != Kind::Dataplane || brought.label(label::WORKLOAD).is_some() {
            return Ok(());
        }
        match self.identity_from_workload(brought) {
            None => Ok(()),
            Some(identity) => Err(WorkloadMissing {
                identity: identity.resource.key.name.clone(),
                path: identity.spec.path().to_owned(),
            }),
        }
    }

    fn covers(&self, claims: &DataplaneClaims, resource: &Resource) -> Result<(), AuthenticationError> {
        let dataplane: pb::Dataplane = resource.proto()?;
        let tags = dataplane.all_tags();
        let workload = resource.label(label::WORKLOAD);
        let is_unbound = claims.workload.is_empty() && workload.is_some();
        let identity = DataplaneIdentity {
            name: &resource.key.name,
            mesh: &resource.key.mesh,
            tags: &tags,
            workload,
            identity_has_workload: is_unbound && self.identity_from_workload(resource).is_some(),
        };
        Ok(check_dataplane(claims, &identity)?)
    }

    /// The MeshIdentity that a Dataplane belongs to, if it makes its workload part of its identity. Kuma looks at the labels as they
    /// were brought; here they are those that the certificate will be made from, so that no selector escapes the check.
    fn identity_from_workload(&self, dataplane: &Resource) -> Option<Arc<MeshIdentityView>> {
        let snapshot = self.snapshot.load();
        let labels = label::compute(dataplane, &self.labels).ok()?;
        let identity = tandem_xds::mesh_identity(&snapshot, &dataplane.key.mesh, &labels)?;
        identity.spec.uses_workload().then(|| identity.clone())
    }
}

#[cfg(test)]
mod tests;
