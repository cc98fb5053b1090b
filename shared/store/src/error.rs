//! What can go wrong in a store.

use tandem_model::ResourceKey;

/// Error of a store operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The resource does not exist.
    #[error("resource not found: {0}")]
    NotFound(ResourceKey),
    /// A resource with this key exists.
    #[error("resource already exists: {0}")]
    AlreadyExists(ResourceKey),
    /// The stored version is not the expected one.
    #[error("resource conflict: {0}")]
    Conflict(ResourceKey),
    /// The owner of a resource to create does not exist.
    #[error("owner of {key} not found: {owner}")]
    OwnerNotFound {
        /// The resource that was to be created.
        key: ResourceKey,
        /// The owner it names.
        owner: ResourceKey,
    },
    /// The name of a resource to create is empty, or name or mesh hold a NUL character.
    #[error("invalid resource key: {0}: the name must not be empty, name and mesh must not contain NUL")]
    InvalidKey(ResourceKey),
    /// The backend failed; the text names the file or server.
    #[error("{0}")]
    Backend(String),
}

impl StoreError {
    /// The resource that is the reason, when the transaction could succeed without it; `None` when the store failed.
    pub fn resource(&self) -> Option<&ResourceKey> {
        match self {
            Self::NotFound(key) | Self::AlreadyExists(key) | Self::Conflict(key) | Self::InvalidKey(key) => Some(key),
            Self::OwnerNotFound { key, .. } => Some(key),
            Self::Backend(_) => None,
        }
    }
}
