//! A control plane's admission over a store in memory, and shorthand to use it.
#![allow(dead_code)] // each test file uses its part

use std::sync::Arc;

use serde_json::Value;
use tandem_admission::{Admission, AdmissionError, AdmissionSettings, PutOutcome, WriteOptions};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Mode, Resource, ResourceKey};
use tandem_store::{Author, MemoryStore, SharedStore};

pub const ALONE: Mode = Mode::Zone { federated: false };
pub const FEDERATED: Mode = Mode::Zone { federated: true };

/// Unconditional writes of a user.
pub fn options() -> WriteOptions {
    WriteOptions::by(Author::User("anna".to_owned()))
}

pub struct Plane {
    pub store: SharedStore,
    pub admission: Admission,
}

impl Plane {
    pub fn new(mode: Mode) -> Self {
        Self::with(AdmissionSettings::new(mode, if mode.is_global() { "" } else { "east" }))
    }

    pub fn with(settings: AdmissionSettings) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        Self { admission: Admission::new(store.clone(), settings), store }
    }

    /// Puts a body under the key that it names itself.
    pub async fn put(&self, body: Value) -> Result<PutOutcome, AdmissionError> {
        let document = from_json(body, None, Unknown::Refuse).expect("a well-formed body");
        let key = document.resource.key.clone();
        self.admission.put(&key, document, &options()).await
    }

    pub async fn register(&self, body: Value) -> Result<Arc<Resource>, AdmissionError> {
        let document = from_json(body, None, Unknown::Ignore).expect("a well-formed body");
        self.admission.register(document.resource, |_| Ok(())).await
    }

    pub async fn get(&self, kind: Kind, mesh: &str, name: &str) -> Option<Arc<Resource>> {
        self.store.get(&ResourceKey::new(kind, mesh, name)).await.expect("the memory store answers")
    }

    pub async fn names(&self, kind: Kind) -> Vec<String> {
        let all = self.store.list(kind, None).await.expect("the memory store answers");
        all.iter().map(|resource| resource.key.name.clone()).collect()
    }

    pub async fn delete(&self, kind: Kind, mesh: &str, name: &str) -> Result<(), AdmissionError> {
        self.admission.delete(&ResourceKey::new(kind, mesh, name), &options()).await.map(drop)
    }
}
