//! The sled database of a store: opening with its checks, and durable writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Transactional;
use sled::transaction::TransactionError;
use tandem_model::{Resource, ResourceKey};
use uuid::Uuid;

use super::envelope::Envelope;
use super::folder::Folder;
use super::history::{Bytes, History};
use super::opened::{
    Form, Loaded, RESOURCES_TREE, SUMMARY_KEY, contained, load, open_locked, seal_summary, text, unusable,
};
use super::record::{self, Record, Summary};
use super::rewrite;
use super::witness::Witness;
use crate::encryption::{Encryption, Keys};
use crate::history::Recorded;
use crate::stage::Staged;
use crate::state::State;
use crate::{Revision, StoreId};

/// An open database.
///
/// sled reports some damage by panicking. Panics are caught here and the database is never touched again then, not even
/// to close it.
#[derive(Debug)]
pub(super) struct Database {
    id: StoreId,
    path: PathBuf,
    trees: Option<Trees>,
    envelope: Envelope,
    witness: Witness,
    resources: u64,
    /// Size of the history.
    history: Bytes,
    /// Why no more writes are possible.
    failure: Option<String>,
    _folder: Folder,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    resources: sled::Tree,
    history: History,
}

impl Database {
    /// Opens the database in a directory, creating both if needed, and reads everything. A database that is not encrypted as
    /// it should be is written anew before.
    ///
    /// # Errors
    /// A text that names the path and what to do about it.
    pub(super) fn open(path: &Path, encryption: &Encryption) -> Result<(Self, State), String> {
        let damaged = |reason: String| unusable(path, &reason);
        let mut folder = Folder::take(path)?;
        let (witness, acknowledged) = Witness::open(path).map_err(damaged)?;
        let mut opened = match folder.database() {
            Some(database) => read_form(open_locked(&database, path)?, acknowledged).map_err(damaged)?,
            None => None,
        };
        if let (None, Some(acknowledged)) = (&opened, acknowledged) {
            let witness = witness.path().display();
            return Err(damaged(format!(
                "commits are missing: revision {acknowledged} was acknowledged according to {witness}, and there is no database"
            )));
        }
        let form = opened.as_ref().map(|(_, form)| form.clone());
        let keys = encryption.keys(form.as_ref().and_then(|form| form.key.as_deref())).map_err(|reason| {
            format!(
                "cannot open store at {}: {reason}, or move the directory away to start with an empty store",
                path.display()
            )
        })?;
        let id = form.as_ref().and_then(|form| form.id).unwrap_or_else(Uuid::new_v4);
        let wanted = Form::of(id, keys.first().filter(|_| encryption.enabled));
        let is_otherwise = form.as_ref() != Some(&wanted);
        if is_otherwise || folder.is_of_earlier_version() || is_wasteful(&folder, &mut opened).map_err(damaged)? {
            if let Some(form) = form.as_ref().filter(|_| is_otherwise) {
                let name = |form: &Form| form.key.clone().unwrap_or_else(|| "none".to_owned());
                tracing::info!(store = %path.display(), key = name(&wanted), before = name(form), "the key of the store changes");
            }
            let made = make_next(path, &folder, opened.take(), &wanted, &keys, acknowledged, witness.path());
            if let Err(reason) = made {
                // What is unfinished is removed at the next start at the latest.
                let _ = std::fs::remove_dir_all(folder.next());
                return Err(format!(
                    "store at {} cannot be written anew: {reason}; nothing was changed: mend the cause, or restore the directory from a backup",
                    path.display()
                ));
            }
            folder.advance().map_err(|error| format!("store at {} cannot be written anew: {error}", path.display()))?;
        }
        let db = match (opened, folder.database()) {
            (Some((db, _)), _) => db,
            (None, Some(database)) => open_locked(&database, path)?,
            (None, None) => return Err(damaged("there is no database".to_owned())),
        };
        let envelope = wanted.envelope(&keys).map_err(damaged)?;
        match &wanted.key {
            Some(key) => tracing::info!(store = %path.display(), key, "the store is encrypted"),
            None => tracing::warn!(store = %path.display(), "the store is not encrypted (store.encryption.enabled)"),
        }
        let (loaded, db) = contained(db, |db| load(db, &envelope, acknowledged, witness.path()));
        let Loaded { tree, history, summary, bytes, resources } = loaded.map_err(damaged)?;
        let db = db.ok_or_else(|| damaged("the database failed while it was read".to_owned()))?;
        let state = State::restored(summary.revision, resources);
        let database = Self {
            id: StoreId::opened(id),
            path: path.to_owned(),
            trees: Some(Trees { db, resources: tree, history }),
            envelope,
            witness,
            resources: summary.resources,
            history: bytes,
            failure: None,
            _folder: folder,
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
                    let at = record::encode_key(key);
                    let sealed = Record::of(resource)
                        .and_then(|record| self.envelope.seal(RESOURCES_TREE, &at, &record))
                        .map_err(|error| format!("{key}: {error}"))?;
                    batch.insert(at, sealed);
                }
                None => batch.remove(record::encode_key(key)),
            }
        }
        batch.insert(SUMMARY_KEY, seal_summary(&self.envelope, &Summary { revision, resources })?);

        let outcome = self.with_trees(|trees, history| {
            let addition = trees.history.plan(commits, history)?;
            if addition.is_empty() {
                trees.resources.apply_batch(batch).map_err(text)?;
            } else {
                let History { entries, keys, .. } = &trees.history;
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

/// Whether the files of a database take much more space than what is in them.
fn is_wasteful(folder: &Folder, opened: &mut Option<(sled::Db, Form)>) -> Result<bool, String> {
    let Some(database) = opened.take() else { return Ok(false) };
    let size = folder.size().map_err(|error| error.to_string())?;
    let (saves_space, database) = contained(database, |(db, _)| rewrite::saves_space(db, size));
    *opened = database;
    if saves_space? {
        tracing::info!(bytes = size, "the files of the store take more than four times the space that is needed");
        return Ok(true);
    }
    Ok(false)
}

/// What an open database says of itself; `None` when nothing was ever stored in it.
fn read_form(db: sled::Db, acknowledged: Option<Revision>) -> Result<Option<(sled::Db, Form)>, String> {
    let (form, db) = contained(db, Form::read);
    match (form?, db) {
        (Some(form), Some(db)) => Ok(Some((db, form))),
        (None, _) if acknowledged.is_some() => Err("its format is not recorded".to_owned()),
        _ => Ok(None),
    }
}

/// Makes the next database in the folder: with everything that is in the one before, or empty. Both are closed afterwards.
fn make_next(
    store: &Path,
    folder: &Folder,
    before: Option<(sled::Db, Form)>,
    form: &Form,
    keys: &Keys,
    acknowledged: Option<Revision>,
    witness: &Path,
) -> Result<(), String> {
    let envelope = form.envelope(keys)?;
    let before = before.map(|(db, form)| form.envelope(keys).map(|envelope| (db, envelope))).transpose()?;
    let target = open_locked(&folder.next(), store)?;
    let (made, _) = contained((before, target), |(before, target)| {
        rewrite::fill(before.as_ref().map(|(db, envelope)| (db, envelope)), target, form, &envelope)?;
        // Nothing takes the place of the earlier one unless it can be read.
        load(target, &envelope, acknowledged, witness).map(drop)
    });
    made
}
