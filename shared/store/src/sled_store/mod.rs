//! The backend that keeps everything in a sled database.
//!
//! One thread owns the database and is the only writer. It takes all transactions that wait, validates them in order,
//! writes what they change as one batch, waits once for the disk, and only then makes them visible and acknowledges
//! them. Reads are answered from memory.

mod database;
mod record;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tandem_model::{Kind, Resource, ResourceKey};
use tokio::sync::{mpsc, oneshot};

use crate::publisher::{Core, Publisher};
use crate::stage::Staged;
use crate::{ChangeFeed, Committed, Revision, Store, StoreError, Write};
use database::Database;

/// Most transactions that wait for the writer; more callers wait for room.
const QUEUE: usize = 1024;
/// Most transactions made durable at once.
const GROUP: usize = 512;

/// A durable store in a directory of its own, for one process at a time.
///
/// Dropping the store waits until what was accepted is durable and the directory is released.
#[derive(Debug)]
pub struct SledStore {
    core: Core,
    path: PathBuf,
    /// `None` only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// A transaction on its way to the writer.
struct Request {
    writes: Vec<Write>,
    done: oneshot::Sender<Result<Committed, StoreError>>,
}

impl SledStore {
    /// Opens the store in `directory`; a directory that does not exist becomes an empty store.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with the path and the remedy, when the directory cannot be used, another process uses
    /// it, its format is unknown, or anything in it is damaged or missing. Nothing is dropped to make it open.
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = directory.as_ref().to_owned();
        let (requests, queue) = mpsc::channel(QUEUE);
        let (opened, opening) = oneshot::channel();
        let directory = path.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || match Database::open(&directory) {
                Ok((database, state)) => {
                    let (core, publisher) = Publisher::new(state);
                    if opened.send(Ok(core)).is_ok() {
                        run(queue, &publisher, database);
                    }
                }
                // Nobody listens when the caller gave up.
                Err(error) => drop(opened.send(Err(StoreError::Backend(error)))),
            })
            .map_err(|error| {
                StoreError::Backend(format!("cannot start the writer of store {}: {error}", path.display()))
            })?;
        let core = opening.await.map_err(|_| stopped(&path))??;
        Ok(Self { core, path, requests: Some(requests), writer: Some(writer) })
    }
}

fn stopped(path: &Path) -> StoreError {
    StoreError::Backend(format!("the writer of store {} has stopped", path.display()))
}

impl Drop for SledStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(store = %self.path.display(), "the writer panicked");
        }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        Ok(self.core.state.read().get(key).cloned())
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        Ok(self.core.state.read().list(kind, mesh))
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        let (done, result) = oneshot::channel();
        let requests = self.requests.as_ref().expect("present until the store is dropped");
        requests.send(Request { writes, done }).await.map_err(|_| stopped(&self.path))?;
        result.await.map_err(|_| stopped(&self.path))?
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.core.changes(revision)
    }

    fn revision(&self) -> Revision {
        self.core.state.read().revision()
    }
}

/// Serves transactions until the store is dropped.
fn run(mut queue: mpsc::Receiver<Request>, publisher: &Publisher, mut database: Database) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(request) = queue.try_recv()
        {
            group.push(request);
        }
        let (transactions, callers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|Request { writes, done }| (writes, done)).unzip();
        let results = commit(transactions, publisher, &mut database);
        for (caller, result) in callers.into_iter().zip(results) {
            // A caller that went away gave up waiting, not the transaction.
            drop(caller.send(result));
        }
    }
}

/// Validates a group, makes it durable, then visible. One result for each transaction.
fn commit(
    transactions: Vec<Vec<Write>>,
    publisher: &Publisher,
    database: &mut Database,
) -> Vec<Result<Committed, StoreError>> {
    let staged = publisher.stage(transactions);
    let passed = || staged.iter().flatten();
    let revision = passed().filter(|staged| !staged.changes.is_empty()).map(|staged| staged.committed.revision).max();
    if let Some(revision) = revision {
        if let Err(error) = database.write(revision, passed().flat_map(|staged| &staged.changes)) {
            // What passed validation may rest on what is now lost, and is refused with it.
            let refused = |result: Result<Staged, _>| result.and_then(|_| Err(StoreError::Backend(error.clone())));
            return staged.into_iter().map(refused).collect();
        }
        publisher.publish(passed().map(|staged| (staged.committed.revision, staged.changes.as_slice())));
    }
    staged.into_iter().map(|result| result.map(|staged| staged.committed)).collect()
}
