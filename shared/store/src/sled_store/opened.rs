//! Opening and reading a database, and calling sled so that its panics stay contained.
//!
//! The tree `meta` tells format, id of the store and, if it is encrypted, the name of its key; the other trees hold what
//! [`super::envelope`] is around.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use tandem_model::Resource;
use uuid::Uuid;

use super::envelope::Envelope;
use super::folder::{LOCK_PATIENCE, in_use};
use super::history::{Bytes, History};
use super::record::{self, Record, Summary};
use crate::Revision;
use crate::encryption::{Key, Keys};

/// Format of a database that is not encrypted.
const PLAIN_FORMAT: &str = "1";
/// Format of one that is.
const ENCRYPTED_FORMAT: &str = "2";
/// Tree of what must be known before the records are read.
pub(super) const META_TREE: &str = "meta";
const FORMAT_KEY: &str = "format";
const ID_KEY: &str = "id";
const NAME_OF_KEY: &str = "key";
/// Tree of the resources.
pub(super) const RESOURCES_TREE: &str = "resources";
/// Key of the [`Summary`] in the tree of the resources, so that one batch covers both. No kind has an empty name.
pub(super) const SUMMARY_KEY: &[u8] = b"\0summary";
/// Everything is served from the memory of the store, so that sled needs little of its own.
const CACHE_BYTES: u64 = 2 << 20;

/// What a database says of itself before anything in it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    /// Which store it is; `None` for one of an earlier version.
    pub(super) id: Option<Uuid>,
    /// Name of the key with which it is encrypted.
    pub(super) key: Option<String>,
}

impl Form {
    /// What a database says; `None` when nothing was ever stored in it.
    pub(super) fn read(db: &sled::Db) -> Result<Option<Self>, String> {
        let meta = db.open_tree(META_TREE).map_err(text)?;
        let value = |key: &str| -> Result<Option<String>, String> {
            let value = meta.get(key).map_err(text)?;
            Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        };
        let id = value(ID_KEY)?.map(|id| Uuid::try_parse(&id)).transpose();
        let id = id.map_err(|error| format!("its id is damaged: {error}"))?;
        match value(FORMAT_KEY)?.as_deref() {
            Some(PLAIN_FORMAT) => Ok(Some(Self { id, key: None })),
            Some(ENCRYPTED_FORMAT) if id.is_none() => Err("its id is missing".to_owned()),
            Some(ENCRYPTED_FORMAT) => {
                let key = value(NAME_OF_KEY)?.ok_or("the name of its key is missing")?;
                Ok(Some(Self { id, key: Some(key) }))
            }
            Some(other) => {
                Err(format!("its format is {other:?} and this version reads {PLAIN_FORMAT:?} and {ENCRYPTED_FORMAT:?}"))
            }
            None if is_blank(db)? => Ok(None),
            None => Err("its format is not recorded".to_owned()),
        }
    }

    /// The form of a store that is encrypted with a key, or not encrypted.
    pub(super) fn of(store: Uuid, key: Option<&Key>) -> Self {
        Self { id: Some(store), key: key.map(|key| key.id().to_owned()) }
    }

    /// Notes the form in a new database.
    pub(super) fn write(&self, db: &sled::Db) -> Result<(), String> {
        let meta = db.open_tree(META_TREE).map_err(text)?;
        let mut batch = sled::Batch::default();
        if let Some(id) = self.id {
            batch.insert(ID_KEY, id.to_string().as_bytes());
        }
        if let Some(key) = &self.key {
            batch.insert(NAME_OF_KEY, key.as_bytes());
        }
        batch.insert(FORMAT_KEY, if self.key.is_some() { ENCRYPTED_FORMAT } else { PLAIN_FORMAT });
        meta.apply_batch(batch).map_err(text)
    }

    /// How the values of the database are kept. The keys hold the one it names.
    pub(super) fn envelope(&self, keys: &Keys) -> Result<Envelope, String> {
        match (&self.key, self.id) {
            (None, _) => Ok(Envelope::Plain),
            (Some(name), Some(store)) => {
                let key = keys.by_id(name).ok_or_else(|| format!("the key {name} is not there"))?;
                Ok(Envelope::Encrypted { key: key.clone(), store })
            }
            (Some(_), None) => Err("its id is missing".to_owned()),
        }
    }
}

/// True for a database in which nothing was ever stored; one that another program made is not blank.
fn is_blank(db: &sled::Db) -> Result<bool, String> {
    for name in db.tree_names() {
        if !db.open_tree(&name).map_err(text)?.is_empty() {
            return Ok(false);
        }
        let is_known = name == b"__sled__default" || super::rewrite::TREES.iter().any(|tree| name == tree.as_bytes());
        if !is_known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value that holds a summary. A plain one has no checksum.
pub(super) fn seal_summary(envelope: &Envelope, summary: &Summary) -> Result<Vec<u8>, String> {
    match envelope {
        Envelope::Plain => Ok(summary.encode_to_vec()),
        Envelope::Encrypted { .. } => envelope.seal(RESOURCES_TREE, SUMMARY_KEY, summary),
    }
}

/// The summary of a database.
pub(super) fn read_summary(envelope: &Envelope, resources: &sled::Tree) -> Result<Summary, String> {
    let value = resources.get(SUMMARY_KEY).map_err(text)?.ok_or("the record of the last revision is missing")?;
    let summary = match envelope {
        Envelope::Plain => Summary::decode(&value[..]).map_err(|error| error.to_string()),
        Envelope::Encrypted { .. } => envelope.open(RESOURCES_TREE, SUMMARY_KEY, &value),
    };
    summary.map_err(|error| format!("the record of the last revision: {error}"))
}

/// Everything in a database.
pub(super) struct Loaded {
    pub(super) tree: sled::Tree,
    pub(super) history: History,
    pub(super) summary: Summary,
    /// Size of the history.
    pub(super) bytes: Bytes,
    pub(super) resources: Vec<Arc<Resource>>,
}

/// Reads and checks everything. The last acknowledged revision, if it is known, has to be there.
pub(super) fn load(
    db: &sled::Db,
    envelope: &Envelope,
    acknowledged: Option<Revision>,
    witness: &Path,
) -> Result<Loaded, String> {
    let tree = db.open_tree(RESOURCES_TREE).map_err(text)?;
    let history = History::open(db, envelope.clone()).map_err(text)?;
    let summary = read_summary(envelope, &tree)?;
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > summary.revision) {
        return Err(format!(
            "commits are missing: revision {acknowledged} was acknowledged according to {}, \
             the database ends at revision {}",
            witness.display(),
            summary.revision
        ));
    }
    let mut resources = Vec::new();
    for entry in tree.iter() {
        let (at, value) = entry.map_err(text)?;
        if at == SUMMARY_KEY {
            continue;
        }
        let name = || String::from_utf8_lossy(&at).replace('\0', "/");
        let key = record::decode_key(&at).map_err(|error| format!("record {:?}: {error}", name()))?;
        let record: Result<Record, String> = envelope.open(RESOURCES_TREE, &at, &value);
        let resource = record.and_then(|record| record.into_resource(key.clone()));
        resources.push(Arc::new(resource.map_err(|error| format!("record of {key}: {error}"))?));
    }
    if resources.len() as u64 != summary.resources {
        return Err(format!("it holds {} resources of {}", resources.len(), summary.resources));
    }
    let bytes = history.check().map_err(|error| format!("history: {error}"))?;
    Ok(Loaded { tree, history, summary, bytes, resources })
}

/// Opens sled, waiting a little for a lock that another holder is about to release. `store` is the directory to tell of.
pub(super) fn open_locked(database: &Path, store: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new().path(database).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let error = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => error,
            Err(panic) => return Err(unusable(store, &panic_text(panic))),
        };
        // sled wraps the failed lock into an I/O error of kind `Other` with this text.
        let locked = matches!(&error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"));
        if !locked {
            return Err(match error {
                sled::Error::Io(io) => format!("cannot open store at {}: {io}", store.display()),
                other => unusable(store, &text(other)),
            });
        }
        if Instant::now() >= deadline {
            return Err(in_use(store));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What to say of a store that is damaged.
pub(super) fn unusable(store: &Path, reason: &str) -> String {
    format!(
        "store at {} cannot be used: {reason}; restore the directory from a backup, or move it away to start with an empty \
         store",
        store.display()
    )
}

/// Runs `work` on `subject` and gives it back, unless `work` panicked: it is leaked then, because its destructor could
/// panic as well.
pub(super) fn contained<S, T>(
    subject: S,
    work: impl FnOnce(&S) -> Result<T, String>,
) -> (Result<T, String>, Option<S>) {
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

pub(super) fn text(error: sled::Error) -> String {
    match error {
        sled::Error::Corruption { at: Some(at), .. } => format!("the database is damaged at {at:?}"),
        sled::Error::Corruption { at: None, .. } => "the files of the database are damaged".to_owned(),
        other => other.to_string(),
    }
}
