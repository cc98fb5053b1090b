//! Stores and resources for the tests.
#![allow(dead_code)] // each test binary uses its part

use std::sync::Arc;

use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{MemoryStore, SharedStore, SledStore, Store, Write};
use tempfile::TempDir;

/// A store and the directory it lives in, if any.
pub struct Backend {
    pub name: &'static str,
    pub store: SharedStore,
    /// Dropped after the store.
    pub directory: Option<TempDir>,
}

/// An empty store of each backend.
pub async fn backends() -> Vec<Backend> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sled = SledStore::open(directory.path()).await.expect("an empty store");
    vec![
        Backend { name: "memory", store: Arc::new(MemoryStore::new()), directory: None },
        Backend { name: "sled", store: Arc::new(sled), directory: Some(directory) },
    ]
}

pub fn mesh(name: &str) -> Resource {
    Resource::new(ResourceKey::global(Kind::Mesh, name), tandem_model::Spec::Proto(vec![].into()))
}

pub fn key(mesh: &str, name: &str) -> ResourceKey {
    ResourceKey::new(Kind::MeshTimeout, mesh, name)
}

/// A policy with a content that depends on `value`.
pub fn policy(mesh: &str, name: &str, value: u64) -> Resource {
    Resource::from_json(key(mesh, name), json!({ "value": value }))
}

/// The value a policy was made of.
pub fn value(resource: &Resource) -> u64 {
    resource.json::<serde_json::Value>().expect("a JSON resource")["value"].as_u64().expect("made by `policy`")
}

pub async fn create(store: &dyn Store, resource: Resource) -> Arc<Resource> {
    let key = resource.key.clone();
    let committed = store.commit(vec![Write::Create(resource)]).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    committed.resources[0].clone().expect("a create returns the resource")
}

/// All resources of a store, by way of a new feed.
pub async fn everything(store: &dyn Store) -> Vec<Arc<Resource>> {
    match store.changes(0).next().await {
        Some(tandem_store::ChangeBatch::Reset { resources, .. }) => resources,
        other => panic!("a feed from 0 starts with everything, not {other:?}"),
    }
}
