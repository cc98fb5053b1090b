//! Stores and resources for the tests.
#![allow(dead_code)] // each test binary uses its part

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Encryption, Keys, MemoryStore, SharedStore, SledStore, Store, StoreError, Write};
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
    let sled = open(directory.path()).await.expect("an empty store");
    vec![
        Backend { name: "memory", store: Arc::new(MemoryStore::new()), directory: None },
        Backend { name: "sled", store: Arc::new(sled), directory: Some(directory) },
    ]
}

/// A store on disk, encrypted as all are unless a test is about that.
pub async fn open(directory: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(directory, &encryption(1)).await
}

/// Encryption with a key that is made of one byte.
pub fn encryption(byte: u8) -> Encryption {
    Encryption::with(keys(&[byte]))
}

/// Keys that are made of one byte each.
pub fn keys(bytes: &[u8]) -> Keys {
    let text: Vec<String> = bytes.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
    Keys::parse(&text.join(" "), "the test").expect("valid")
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

/// All files in a directory and below.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
