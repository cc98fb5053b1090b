//! The backend that keeps everything in a sled database.
//!
//! One thread owns the database and is the only writer. It takes all transactions that wait, validates them in order,
//! writes what they change as one batch, waits once for the disk, and only then makes them visible and acknowledges
//! them. Reads are answered from memory.

mod database;
mod envelope;
mod folder;
mod history;
mod opened;
mod record;
mod rewrite;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tandem_model::{Kind, Resource, ResourceKey};
use tokio::sync::{mpsc, oneshot};

use crate::encryption::Encryption;
use crate::history::entries;
use crate::publisher::{Core, Publisher};
use crate::stage::Staged;
use crate::{Author, ChangeFeed, Committed, HistoryEntry, Page, Revision, Store, StoreError, StoreId, Window, Write};
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
    id: StoreId,
    core: Core,
    path: PathBuf,
    /// `None` only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer is asked to do.
enum Request {
    /// A transaction.
    Commit { author: Author, writes: Vec<Write>, done: oneshot::Sender<Result<Committed, StoreError>> },
    /// Reads the history of a resource, which is on disk only.
    History { key: ResourceKey, done: oneshot::Sender<Result<Vec<HistoryEntry>, StoreError>> },
}

impl SledStore {
    /// Opens the store in `directory`; a directory that does not exist becomes an empty store. One that is encrypted with another
    /// key than the first one, or not as `encryption` says, or that takes much more space than it needs, is written anew, which
    /// takes as long as it is large.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with the path and the remedy, when the directory cannot be used, another process uses
    /// it, its format is unknown, its key is missing, or anything in it is damaged or missing. Nothing is dropped to make it open.
    pub async fn open(directory: impl AsRef<Path>, encryption: &Encryption) -> Result<Self, StoreError> {
        let path = directory.as_ref().to_owned();
        let (requests, queue) = mpsc::channel(QUEUE);
        let (opened, opening) = oneshot::channel();
        let (directory, encryption) = (path.clone(), encryption.clone());
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || match Database::open(&directory, &encryption) {
                Ok((database, state)) => {
                    let (core, publisher) = Publisher::new(state);
                    if opened.send(Ok((database.id(), core))).is_ok() {
                        run(queue, &publisher, database);
                    }
                }
                // Nobody listens when the caller gave up.
                Err(error) => drop(opened.send(Err(StoreError::Backend(error)))),
            })
            .map_err(|error| {
                StoreError::Backend(format!("cannot start the writer of store {}: {error}", path.display()))
            })?;
        let (id, core) = opening.await.map_err(|_| stopped(&path))??;
        Ok(Self { id, core, path, requests: Some(requests), writer: Some(writer) })
    }
}

impl SledStore {
    /// Sends a request to the writer and waits for its answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (done, result) = oneshot::channel();
        let requests = self.requests.as_ref().expect("present until the store is dropped");
        requests.send(request(done)).await.map_err(|_| stopped(&self.path))?;
        result.await.map_err(|_| stopped(&self.path))?
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

    async fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        Ok(self.core.page(kind, mesh, after, limit))
    }

    async fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Result<Window, StoreError> {
        Ok(self.core.state.read().window(kind, mesh, offset, limit))
    }

    async fn commit_as(&self, author: Author, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.ask(|done| Request::Commit { author, writes, done }).await
    }

    fn preview(&self, writes: Vec<Write>) -> Result<Committed, StoreError> {
        self.core.preview(writes)
    }

    async fn history(&self, key: &ResourceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        self.ask(|done| Request::History { key: key.clone(), done }).await
    }

    fn changes(&self, revision: Revision) -> ChangeFeed {
        self.core.changes(revision)
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn revision(&self) -> Revision {
        self.core.state.read().revision()
    }
}

/// Serves requests until the store is dropped.
fn run(mut queue: mpsc::Receiver<Request>, publisher: &Publisher, mut database: Database) {
    while let Some(first) = queue.blocking_recv() {
        let (mut transactions, mut callers, mut readers) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit { author, writes, done } => {
                    transactions.push((author, writes));
                    callers.push(done);
                }
                Request::History { key, done } => readers.push((key, done)),
            }
            next = if callers.len() + readers.len() < GROUP { queue.try_recv().ok() } else { None };
        }
        let results = commit(transactions, publisher, &mut database);
        for (caller, result) in callers.into_iter().zip(results) {
            // A caller that went away gave up waiting, not the transaction.
            drop(caller.send(result));
        }
        for (key, reader) in readers {
            let recorded = database.history(&key).map_err(StoreError::Backend);
            drop(reader.send(recorded.map(|recorded| entries(recorded, publisher.get(&key)))));
        }
    }
}

/// Validates a group, makes it durable, then visible. One result for each transaction.
fn commit(
    transactions: Vec<(Author, Vec<Write>)>,
    publisher: &Publisher,
    database: &mut Database,
) -> Vec<Result<Committed, StoreError>> {
    let staged = publisher.stage(transactions);
    let passed: Vec<&Staged> = staged.iter().flatten().filter(|staged| !staged.committed.changes.is_empty()).collect();
    if let Some(last) = passed.last() {
        if let Err(error) = database.write(last.committed.revision, &passed) {
            // What passed validation may rest on what is now lost, and is refused with it.
            let refused = |result: Result<Staged, _>| result.and_then(|_| Err(StoreError::Backend(error.clone())));
            return staged.into_iter().map(refused).collect();
        }
        publisher.publish(passed.iter().map(|staged| &staged.committed));
    }
    staged.into_iter().map(|result| result.map(|staged| staged.committed)).collect()
}
