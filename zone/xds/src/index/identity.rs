//! MeshIdentities as generation and the issuing of certificates need them.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshidentity/{api,providers}`.

use std::sync::Arc;

use tandem_model::core::mesh_identity::{
    Bundled, MeshIdentity, ProviderType, SecureDataSource, Status, generated_certificate_secret, generated_key_secret,
};
use tandem_model::{DecodeError, Kri, Resource};

/// A MeshIdentity, decoded.
#[derive(Debug)]
pub struct MeshIdentityView {
    /// Identifier; also the name of the secret with the certificate.
    pub kri: Kri,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: MeshIdentity,
    /// Proxies get certificates: its status says so.
    pub ready: bool,
}

impl MeshIdentityView {
    /// Decodes a MeshIdentity; `None` when it has no identifier.
    pub(crate) fn decode(resource: &Arc<Resource>) -> Result<Option<Self>, DecodeError> {
        let Some(kri) = Kri::of(resource) else { return Ok(None) };
        // The status is written by control planes; one that does not decode counts as not there yet.
        let status = resource.status.clone().and_then(|status| serde_json::from_value::<Status>(status).ok());
        let ready = status.is_some_and(|status| status.is_initialized());
        Ok(Some(Self { kri, resource: resource.clone(), spec: resource.json()?, ready }))
    }

    /// True when nobody can tell two versions apart.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { kri, resource, spec, ready } = self;
        *kri == other.kri && *spec == other.spec && *ready == other.ready && resource.labels == other.resource.labels
    }

    /// Settings of the bundled provider, if that is the one.
    pub fn bundled(&self) -> Option<&Bundled> {
        let provider = self.spec.provider.as_ref()?;
        (provider.kind == ProviderType::Bundled).then_some(provider.bundled.as_ref()).flatten()
    }

    /// True when a Secret of the mesh is part of its authority.
    pub(crate) fn refers_to(&self, secret: &str) -> bool {
        let Some(bundled) = self.bundled() else { return false };
        if bundled.is_generated() {
            let name = self.resource.display_name();
            return generated_certificate_secret(name) == secret || generated_key_secret(name) == secret;
        }
        let refers =
            |source: &SecureDataSource| source.secret_ref.as_ref().is_some_and(|reference| reference.name == secret);
        let ca = bundled.ca.as_ref();
        ca.is_some_and(|ca| ca.certificate.iter().chain(&ca.private_key).any(refers))
    }
}
