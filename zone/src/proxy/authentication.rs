//! Whether a proxy is who it says.

use std::sync::Arc;

use tandem_auth::proxy::{DataplaneIdentity, Mismatch, Scope, check_dataplane, check_zone_proxy};
use tandem_auth::token::{TokenError, Tokens};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{DecodeError, Kind, Resource, label};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_runtime::config::ProxyAuthn;

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
    /// The resource of the proxy does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Authentication {
    /// Checks the token of the proxy that `resource` describes.
    ///
    /// # Errors
    /// When the proxy may not be that.
    pub fn check(&self, resource: &Resource, token: &str) -> Result<(), AuthenticationError> {
        let scope = match resource.kind() {
            Kind::ZoneIngress => Scope::Ingress,
            Kind::ZoneEgress => Scope::Egress,
            _ => return self.check_dataplane(resource, token),
        };
        match self.zone_proxies {
            ProxyAuthn::None => Ok(()),
            ProxyAuthn::Token => Ok(check_zone_proxy(&self.tokens.check_zone(token)?, scope, &self.zone)?),
        }
    }

    fn check_dataplane(&self, resource: &Resource, token: &str) -> Result<(), AuthenticationError> {
        if self.dataplanes == ProxyAuthn::None {
            return Ok(());
        }
        let claims = self.tokens.check_dataplane(token, &resource.key.mesh)?;
        let dataplane: pb::Dataplane = resource.proto()?;
        let tags = dataplane.all_tags();
        let identity = DataplaneIdentity {
            name: &resource.key.name,
            mesh: &resource.key.mesh,
            tags: &tags,
            workload: resource.label(label::WORKLOAD),
            // Identities come from the authority of the mesh, which names services and tags only.
            identity_has_workload: false,
        };
        Ok(check_dataplane(&claims, &identity)?)
    }
}
