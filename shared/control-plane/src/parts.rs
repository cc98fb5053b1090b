//! The parts that everything else stands on.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tandem_admission::Admission;
use tandem_auth::server_cert;
use tandem_auth::token::{Settings as TokenSettings, Tokens};
use tandem_instances::Instances;
use tandem_runtime::cli::Start;
use tandem_runtime::config::{StoreEncryption, StoreType};
use tandem_store::{Encryption, KeySource, Keys, MemoryStore, SharedStore, SledStore};
use tracing::info;

use crate::settings;

/// The parts that everything else stands on.
#[derive(Clone)]
pub struct Parts {
    /// Where resources are.
    pub store: SharedStore,
    /// The gate for what is written.
    pub admission: Arc<Admission>,
    /// Issues and checks tokens.
    pub tokens: Arc<Tokens>,
    /// This instance, and the others over its store.
    pub instances: Instances,
}

impl Parts {
    /// Opens the store and makes the server certificate if there is none.
    ///
    /// # Errors
    /// When the store cannot be opened, a certificate not be made, or a public key not be read; the text names the file.
    pub async fn open(start: &Start) -> Result<Self> {
        let config = &start.loaded.config;
        server_cert::ensure(&config.general, start.instance.hostname())?;
        let store: SharedStore = match config.store.r#type {
            StoreType::Memory => Arc::new(MemoryStore::new()),
            StoreType::Sled => {
                let path = &config.store.sled.path;
                let store = SledStore::open(path, &encryption(&config.store.encryption)?).await?;
                info!(path = %path.display(), revision = tandem_store::Store::revision(&store), "store opened");
                Arc::new(store)
            }
        };
        let admission = Arc::new(Admission::new(store.clone(), settings::admission(config)));
        let tokens = Arc::new(Tokens::new(&store, TokenSettings::of(config)?));
        // Neither kind of store can be shared between processes.
        let instances = Instances::alone(start.instance.as_str());
        Ok(Self { store, admission, tokens, instances })
    }

    /// Creates what a control plane of this role needs and does not find in its store. That can take a while: keys.
    ///
    /// # Errors
    /// When the store or the generation of a key fails.
    pub async fn complete(&self) -> Result<()> {
        self.admission.ensure_defaults().await.context("cannot create the default resources")
    }
}

/// How the store is to be encrypted.
fn encryption(settings: &StoreEncryption) -> Result<Encryption> {
    let keys = if settings.generated_key_file {
        KeySource::FileOrNew(settings.key_file.clone())
    } else if settings.key.is_empty() {
        KeySource::File(settings.key_file.clone())
    } else {
        let keys = Keys::parse(&settings.key, "store.encryption.key");
        KeySource::Given(keys.map_err(anyhow::Error::msg)?)
    };
    Ok(Encryption { enabled: settings.enabled, keys })
}
