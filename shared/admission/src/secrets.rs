//! Secrets as resources.

use tandem_model::{DecodeError, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;

/// A Secret or GlobalSecret with this content.
pub(crate) fn resource(key: ResourceKey, data: Vec<u8>) -> Resource {
    Resource::from_proto(key, &Secret { data: Some(data) })
}

/// The content of a Secret or GlobalSecret.
pub(crate) fn data(secret: &Resource) -> Result<Vec<u8>, DecodeError> {
    Ok(secret.proto::<Secret>()?.data.unwrap_or_default())
}
