//! What tests of tasks share.

use std::path::Path;
use std::sync::Arc;

use tandem_model::Resource;
use tandem_store::{SharedStore, SledStore, Write};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A task over a store.
pub(crate) struct Running {
    /// The store.
    pub store: SharedStore,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Opens the store in a folder and starts a task over it.
    pub async fn open<F>(folder: &Path, task: impl FnOnce(SharedStore, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::over(Arc::new(SledStore::open(folder).await.expect("a store")), task)
    }

    /// Starts a task over a store.
    pub fn over<F>(store: SharedStore, task: impl FnOnce(SharedStore, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(task(store.clone(), cancel.clone()));
        Self { store, cancel, task }
    }

    /// Writes a resource.
    pub async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }

    /// Ends the task; the store closes with the last who knows it.
    pub async fn close(self) {
        self.cancel.cancel();
        self.task.await.expect("the task ends");
    }
}
