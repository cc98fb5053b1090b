//! The sled database of a store: opening with its checks, and durable writes.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tandem_model::{Resource, ResourceKey};
use uuid::Uuid;

use sled::Transactional;
use sled::transaction::TransactionError;

use super::history::{Bytes, History};
use super::record::{self, Summary};
use super::witness::Witness;
use crate::history::Recorded;
use crate::stage::Staged;
use crate::state::State;
use crate::{Revision, StoreId};

/// Format of the database: which trees there are and what they hold.
const FORMAT: &str = "1";
/// Tree of what must be known before the records are read.
const META_TREE: &str = "meta";
/// Key of [`FORMAT`] in the meta tree.
const FORMAT_KEY: &str = "format";
/// Key of the id of the store in the meta tree.
const ID_KEY: &str = "id";
/// Tree of the resources.
const RESOURCES_TREE: &str = "resources";
/// Key of the [`Summary`] in the tree of the resources, so that one batch covers both. No kind has an empty name.
const SUMMARY_KEY: &[u8] = b"\0summary";
/// Everything is served from the memory of the store, so that sled needs little of its own.
const CACHE_BYTES: u64 = 2 << 20;
/// How long to wait for another holder of the lock: a process that is about to end, or sled's own threads.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// An open database.
///
/// sled reports some damage by panicking. Panics are caught here and the database is never touched again then, not even
/// to close it.
#[derive(Debug)]
pub(super) struct Database {
    id: StoreId,
    path: PathBuf,
    trees: Option<Trees>,
    witness: Witness,
    resources: u64,
    /// Size of the history.
    history: Bytes,
    /// Why no more writes are possible.
    failure: Option<String>,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    resources: sled::Tree,
    history: History,
}

impl Database {
    /// Opens the database in a directory, creating both if needed, and reads everything.
    ///
    /// # Errors
    /// A text that names the path and what to do about it.
    pub(super) fn open(path: &Path) -> Result<(Self, State), String> {
        std::fs::create_dir_all(path)
            .map_err(|error| format!("cannot create store directory {}: {error}", path.display()))?;
        let db = open_locked(path)?;
        let (loaded, db) = contained(db, |db| load(path, db));
        let damaged = |reason: String| {
            format!(
                "store at {} cannot be used: {reason}; restore the directory from a backup, \
                 or move it away to start with an empty store",
                path.display()
            )
        };
        let Loaded { id, trees, summary, resources, history, witness } = loaded.map_err(damaged)?;
        let db = db.ok_or_else(|| damaged("the database failed while it was read".to_owned()))?;
        let state = State::restored(summary.revision, resources);
        let database = Self {
            id,
            path: path.to_owned(),
            trees: Some(Trees { db, resources: trees.0, history: trees.1 }),
            witness,
            resources: summary.resources,
            history,
            failure: None,
        };
        Ok((database, state))
    }

    /// Which store this is.
    pub(super) fn id(&self) -> StoreId {
        self.id
    }

    /// Makes the changes of a group of commits durable, all or none, and their part of the history with them.
    ///
    /// # Errors
    /// When the disk or the database fails. What is on disk is not known then, therefore all further writes fail too;
    /// the next [`Database::open`] finds either all of the group or nothing of it.
    pub(super) fn write(&mut self, revision: Revision, commits: &[&Staged]) -> Result<(), String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut resources = self.resources;
        let mut last: BTreeMap<&ResourceKey, Option<&Arc<Resource>>> = BTreeMap::new();
        for change in commits.iter().flat_map(|staged| &staged.committed.changes) {
            match (&change.old, &change.new) {
                (None, Some(_)) => resources += 1,
                (Some(_), None) => resources = resources.saturating_sub(1),
                _ => {}
            }
            last.insert(&change.key, change.new.as_ref());
        }
        let mut batch = sled::Batch::default();
        for (key, resource) in last {
            match resource {
                Some(resource) => {
                    let value = record::encode(resource).map_err(|error| format!("{key}: {error}"))?;
                    batch.insert(record::encode_key(key), value);
                }
                None => batch.remove(record::encode_key(key)),
            }
        }
        batch.insert(SUMMARY_KEY, Summary { revision, resources }.encode_to_vec());

        let outcome = self.with_trees(|trees, history| {
            let addition = trees.history.plan(commits, history)?;
            if addition.is_empty() {
                trees.resources.apply_batch(batch).map_err(text)?;
            } else {
                let History { entries, keys } = &trees.history;
                (&trees.resources, entries, keys)
                    .transaction(|(resources, entries, keys)| {
                        resources.apply_batch(&batch)?;
                        entries.apply_batch(&addition.entries)?;
                        keys.apply_batch(&addition.keys)?;
                        Ok(())
                    })
                    .map_err(|error: TransactionError<()>| match error {
                        TransactionError::Storage(error) => text(error),
                        TransactionError::Abort(()) => "the transaction was aborted".to_owned(),
                    })?;
            }
            trees.db.flush().map_err(text)?;
            Ok(addition.bytes)
        });
        match outcome {
            Ok(history) => {
                self.resources = resources;
                self.history = history;
                if let Err(error) = self.witness.write(revision) {
                    tracing::warn!(file = %self.witness.path().display(), %error, "cannot be written");
                }
                Ok(())
            }
            Err(error) => {
                let failure = format!(
                    "store at {} failed to write: {error}; it serves reads only until the control plane is restarted",
                    self.path.display()
                );
                tracing::error!("{failure}");
                self.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// The history of a resource, oldest first.
    ///
    /// # Errors
    /// When it cannot be read; the text names the store.
    pub(super) fn history(&mut self, key: &ResourceKey) -> Result<Vec<Recorded>, String> {
        let read = self.with_trees(|trees, _| trees.history.of(key));
        read.map_err(|error| format!("store at {}: the history of {key}: {error}", self.path.display()))
    }

    /// Works with the trees, which are gone when that panics.
    fn with_trees<T>(&mut self, work: impl FnOnce(&Trees, Bytes) -> Result<T, String>) -> Result<T, String> {
        let Some(trees) = self.trees.take() else { return Err("closed".to_owned()) };
        let history = self.history;
        let (result, trees) = contained(trees, |trees| work(trees, history));
        self.trees = trees;
        result
    }
}

/// Runs `work` on `subject` and gives it back, unless `work` panicked: it is leaked then, because its destructor could
/// panic as well.
fn contained<S, T>(subject: S, work: impl FnOnce(&S) -> Result<T, String>) -> (Result<T, String>, Option<S>) {
    match catch_unwind(AssertUnwindSafe(|| work(&subject))) {
        Ok(result) => (result, Some(subject)),
        Err(panic) => {
            std::mem::forget(subject);
            (Err(panic_text(panic)), None)
        }
    }
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the database is damaged ({})", text.unwrap_or("no details"))
}

/// Opens sled, waiting a little for a lock that another holder is about to release.
fn open_locked(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let error = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => error,
            Err(panic) => {
                return Err(format!(
                    "cannot open store at {}: {}; restore the directory from a backup, \
                     or move it away to start with an empty store",
                    path.display(),
                    panic_text(panic)
                ));
            }
        };
        // sled wraps the failed lock into an I/O error of kind `Other` with this text.
        let locked = matches!(&error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"));
        if !locked {
            return Err(match error {
                sled::Error::Io(io) => format!("cannot open store at {}: {io}", path.display()),
                other => format!(
                    "cannot open store at {}: {}; restore the directory from a backup, \
                     or move it away to start with an empty store",
                    path.display(),
                    text(other)
                ),
            });
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "cannot open store at {}: another process uses this directory; stop it or configure another directory",
                path.display()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn text(error: sled::Error) -> String {
    match error {
        sled::Error::Corruption { at: Some(at), .. } => format!("the database is damaged at {at:?}"),
        sled::Error::Corruption { at: None, .. } => "the files of the database are damaged".to_owned(),
        other => other.to_string(),
    }
}

struct Loaded {
    id: StoreId,
    /// Of the resources, and of the history.
    trees: (sled::Tree, History),
    summary: Summary,
    history: Bytes,
    resources: Vec<Arc<Resource>>,
    witness: Witness,
}

/// Checks the database and reads all resources; a new one gets its format, and one without id gets that.
fn load(path: &Path, db: &sled::Db) -> Result<Loaded, String> {
    let (witness, acknowledged) = Witness::open(path)?;
    let meta = db.open_tree(META_TREE).map_err(text)?;
    let tree = db.open_tree(RESOURCES_TREE).map_err(text)?;
    let history = History::open(db).map_err(text)?;
    let format = meta.get(FORMAT_KEY).map_err(text)?;
    let summary = tree.get(SUMMARY_KEY).map_err(text)?;

    match format {
        Some(format) if format == FORMAT => {}
        Some(format) => {
            return Err(format!(
                "its format is {:?} and this version reads {FORMAT:?}",
                String::from_utf8_lossy(&format)
            ));
        }
        None if acknowledged.is_none() && summary.is_none() && is_blank(db, &meta, &tree, &history) => {
            tree.insert(SUMMARY_KEY, Summary::default().encode_to_vec()).map_err(text)?;
            meta.insert(FORMAT_KEY, FORMAT).map_err(text)?;
            return Ok(Loaded {
                id: identify(db, &meta)?,
                trees: (tree, history),
                summary: Summary::default(),
                history: Bytes::default(),
                resources: Vec::new(),
                witness,
            });
        }
        None => return Err("its format is not recorded".to_owned()),
    }

    let summary = summary.ok_or("the record of the last revision is missing")?;
    let summary = Summary::decode(&summary[..]).map_err(|error| format!("the record of the last revision: {error}"))?;
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > summary.revision) {
        return Err(format!(
            "commits are missing: revision {acknowledged} was acknowledged according to {}, \
             the database ends at revision {}",
            witness.path().display(),
            summary.revision
        ));
    }
    let mut resources = Vec::new();
    for entry in tree.iter() {
        let (key, value) = entry.map_err(text)?;
        if key == SUMMARY_KEY {
            continue;
        }
        let name = || String::from_utf8_lossy(&key).replace('\0', "/");
        let key = record::decode_key(&key).map_err(|error| format!("record {:?}: {error}", name()))?;
        let resource = record::decode(key.clone(), &value).map_err(|error| format!("record of {key}: {error}"))?;
        resources.push(Arc::new(resource));
    }
    if resources.len() as u64 != summary.resources {
        return Err(format!("it holds {} resources of {}", resources.len(), summary.resources));
    }
    let bytes = history.check().map_err(|error| format!("history: {error}"))?;
    Ok(Loaded { id: identify(db, &meta)?, trees: (tree, history), summary, history: bytes, resources, witness })
}

/// The id of the store, which is made, and durable, the first time.
fn identify(db: &sled::Db, meta: &sled::Tree) -> Result<StoreId, String> {
    let store = match meta.get(ID_KEY).map_err(text)? {
        Some(id) => Uuid::try_parse_ascii(&id).map_err(|error| format!("its id is damaged: {error}"))?,
        None => {
            let id = Uuid::new_v4();
            meta.insert(ID_KEY, id.to_string().as_bytes()).map_err(text)?;
            db.flush().map_err(text)?;
            id
        }
    };
    Ok(StoreId::opened(store))
}

/// True for a database in which nothing was ever stored; one that another program made is not blank.
fn is_blank(db: &sled::Db, meta: &sled::Tree, resources: &sled::Tree, history: &History) -> bool {
    let trees = [db, meta, resources, &history.entries, &history.keys];
    // Every database has a tree of its own, which is the first of these.
    trees.iter().all(|tree| tree.is_empty()) && db.tree_names().len() <= trees.len()
}
