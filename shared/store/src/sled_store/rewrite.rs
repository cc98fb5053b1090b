//! Writing all of a database anew: with another key, with encryption or without, or to get rid of what sled left unused.
//!
//! Whatever was encrypted otherwise before, or not at all, is gone with the files of the earlier database.

use std::time::{Duration, Instant};

use super::envelope::Envelope;
use super::history::{ENTRIES_TREE, KEYS_TREE};
use super::opened::{Form, META_TREE, RESOURCES_TREE, SUMMARY_KEY, read_summary, seal_summary, text};
use super::record::Summary;

/// All trees.
pub(super) const TREES: [&str; 4] = [META_TREE, RESOURCES_TREE, ENTRIES_TREE, KEYS_TREE];
/// About so many bytes are written at once.
const BATCH_BYTES: usize = 1 << 20;
/// Files of a database that take less than this are never written anew to save space.
const SMALL: u64 = 128 << 20;
/// Files that take so many times as much as what is in them are.
const WASTE: u64 = 4;
/// How often a rewrite that takes long says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// Whether a database whose files take `size` bytes is worth being written anew: sled uses again what it has freed, but never
/// gives it back.
pub(super) fn saves_space(db: &sled::Db, size: u64) -> Result<bool, String> {
    if size < SMALL {
        return Ok(false);
    }
    let mut bytes = 0;
    for name in TREES {
        for entry in db.open_tree(name).map_err(text)?.iter() {
            let (key, value) = entry.map_err(text)?;
            bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(size > bytes.saturating_mul(WASTE))
}

/// Fills the empty database `target` with what is in `source`, or with nothing, and waits for the disk.
pub(super) fn fill(
    source: Option<(&sled::Db, &Envelope)>,
    target: &sled::Db,
    form: &Form,
    envelope: &Envelope,
) -> Result<(), String> {
    match source {
        Some((source, from)) => Copy { from, to: envelope, records: 0, started: Instant::now() }.all(source, target)?,
        None => {
            let resources = target.open_tree(RESOURCES_TREE).map_err(text)?;
            resources.insert(SUMMARY_KEY, seal_summary(envelope, &Summary::default())?).map_err(text)?;
        }
    }
    form.write(target)?;
    target.flush().map_err(text)?;
    Ok(())
}

/// A copy that is being made.
struct Copy<'a> {
    from: &'a Envelope,
    to: &'a Envelope,
    records: u64,
    started: Instant,
}

impl Copy<'_> {
    fn all(&mut self, source: &sled::Db, target: &sled::Db) -> Result<(), String> {
        let resources = source.open_tree(RESOURCES_TREE).map_err(text)?;
        let summary = read_summary(self.from, &resources)?;
        tracing::info!(resources = summary.resources, "writing the store anew");
        let sealed = seal_summary(self.to, &summary)?;
        target.open_tree(RESOURCES_TREE).map_err(text)?.insert(SUMMARY_KEY, sealed).map_err(text)?;
        let mut told = Instant::now();
        for name in [RESOURCES_TREE, ENTRIES_TREE, KEYS_TREE] {
            let (from, to) = (source.open_tree(name).map_err(text)?, target.open_tree(name).map_err(text)?);
            let (mut batch, mut bytes) = (sled::Batch::default(), 0);
            for entry in from.iter() {
                let (key, value) = entry.map_err(text)?;
                if key == SUMMARY_KEY {
                    continue;
                }
                let value = self.record(name, &key, &value).map_err(|reason| {
                    format!("record {:?} of {name}: {reason}", String::from_utf8_lossy(&key).replace('\0', "/"))
                })?;
                bytes += key.len() + value.len();
                batch.insert(key, value);
                self.records += 1;
                if bytes >= BATCH_BYTES {
                    to.apply_batch(std::mem::take(&mut batch)).map_err(text)?;
                    bytes = 0;
                }
                if told.elapsed() >= PROGRESS {
                    tracing::info!(records = self.records, of = name, "writing the store anew");
                    told = Instant::now();
                }
            }
            to.apply_batch(batch).map_err(text)?;
        }
        tracing::info!(
            records = self.records,
            seconds = self.started.elapsed().as_secs_f32(),
            "the store is written anew"
        );
        Ok(())
    }

    /// The value of a record in the other envelope. Sizes of entries are kept in none, and follow the envelope.
    fn record(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
        if tree == KEYS_TREE {
            let size = value.try_into().map(u64::from_le_bytes).map_err(|_| "it is no size".to_owned())?;
            return Ok(self.to.resized(self.from, size).to_le_bytes().to_vec());
        }
        self.to.seal_bytes(tree, key, &self.from.open_bytes(tree, key, value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_with_little_in_them_are_worth_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = sled::open(directory.path()).expect("an empty database");
        db.open_tree(RESOURCES_TREE).expect("a tree").insert("key", vec![0; 1 << 20]).expect("written");
        let saves_space = |size| saves_space(&db, size).expect("readable");
        assert!(!saves_space(SMALL - 1) && saves_space(SMALL));
        for index in 0..((SMALL / WASTE) >> 20) {
            db.open_tree(ENTRIES_TREE).expect("a tree").insert(index.to_be_bytes(), vec![0; 1 << 20]).expect("written");
        }
        assert!(!saves_space(SMALL) && saves_space(SMALL * 2));
    }
}
