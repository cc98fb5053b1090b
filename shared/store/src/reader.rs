//! Reading alone, for those who do not care whether it is a store that they read.

use std::sync::Arc;

use async_trait::async_trait;
use tandem_model::{Kind, Resource, ResourceKey};

use crate::{SharedStore, Store, StoreError};

/// Where resources are read: a store, or one with changes in front of it that nobody else sees yet.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The resource under `key`, or `None`.
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError>;

    /// All resources of a kind, in one mesh or (with `None`) in all, sorted by mesh and name.
    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError>;
}

#[async_trait]
impl<S: Store> Reader for S {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        Store::get(self, key).await
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        Store::list(self, kind, mesh).await
    }
}

#[async_trait]
impl Reader for SharedStore {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        Store::get(self.as_ref(), key).await
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        Store::list(self.as_ref(), kind, mesh).await
    }
}
