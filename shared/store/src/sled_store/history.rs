//! The history of resources on disk.
//!
//! Two trees. `history` holds the entries by class and age: class (one byte), revision and place in its commit (big
//! endian), and as value an [`Entry`], in the envelope of the store. `history-keys` finds those of a resource:
//! its key as in the tree of resources, NUL, and the same position; the value is the size of the entry.

use std::collections::HashSet;
use std::sync::Arc;

use sled::{Batch, IVec, Tree};
use tandem_model::ResourceKey;

use super::envelope::Envelope;
use super::opened::text;
use super::record::{self, Key, Record, Time};
use crate::HISTORY_LENGTH;
use crate::history::{Class, Position, Recorded, position};
use crate::stage::Staged;

/// Tree of the entries.
pub(super) const ENTRIES_TREE: &str = "history";
/// Tree in which those of a resource are found.
pub(super) const KEYS_TREE: &str = "history-keys";
/// Most bytes that the entries of each class may take.
const LIMITS: Bytes = [32 << 20, 16 << 20];
/// Most entries that a group of commits drops to get below a limit.
const MOST_DROPPED: usize = 4096;
/// One in so many entries looks whether its resource has too many of them.
const TRIM_INTERVAL: u64 = 8;
/// Length of an encoded [`Position`].
const POSITION: usize = 13;

/// Size of the entries of each class.
pub(super) type Bytes = [u64; Class::ALL.len()];

/// The trees.
#[derive(Debug)]
pub(super) struct History {
    pub(super) entries: Tree,
    pub(super) keys: Tree,
    envelope: Envelope,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(message, required, tag = "1")]
    key: Key,
    #[prost(string, tag = "2")]
    author: String,
    #[prost(message, required, tag = "3")]
    time: Time,
    /// Content before, without status.
    #[prost(message, optional, tag = "4")]
    before: Option<Record>,
}

/// What a group of commits adds to and drops from the history.
#[derive(Default)]
pub(super) struct Addition {
    pub(super) entries: Batch,
    pub(super) keys: Batch,
    /// Size afterwards.
    pub(super) bytes: Bytes,
    touched: bool,
    dropped: HashSet<Position>,
}

impl Addition {
    /// Whether nothing is added or dropped.
    pub(super) fn is_empty(&self) -> bool {
        !self.touched
    }

    fn add(&mut self, key: &ResourceKey, position: Position, value: Vec<u8>) {
        let size = value.len() as u64;
        self.keys.insert(key_of(key, position), &size.to_le_bytes());
        self.entries.insert(&encode(position), value);
        self.bytes[position.class as usize] += size;
        self.touched = true;
    }

    fn remove(&mut self, key: Vec<u8>, position: Position, size: u64) {
        if self.dropped.insert(position) {
            self.keys.remove(key);
            self.entries.remove(&encode(position));
            let bytes = &mut self.bytes[position.class as usize];
            *bytes = bytes.saturating_sub(size);
            self.touched = true;
        }
    }
}

impl History {
    pub(super) fn open(db: &sled::Db, envelope: Envelope) -> Result<Self, sled::Error> {
        Ok(Self { entries: db.open_tree(ENTRIES_TREE)?, keys: db.open_tree(KEYS_TREE)?, envelope })
    }

    fn entry(&self, at: &[u8], value: &[u8]) -> Result<Entry, String> {
        self.envelope.open(ENTRIES_TREE, at, value)
    }

    /// Reads everything once, so that damage is noticed now, and returns how much it is.
    pub(super) fn check(&self) -> Result<Bytes, String> {
        let mut bytes = Bytes::default();
        for entry in self.entries.iter() {
            let (at, value) = entry.map_err(text)?;
            let position = decode(&at).ok_or("an entry without position")?;
            self.entry(&at, &value).map_err(|error| format!("revision {}: {error}", position.revision))?;
            bytes[position.class as usize] += value.len() as u64;
        }
        for entry in self.keys.iter() {
            entry.map_err(text)?;
        }
        Ok(bytes)
    }

    /// What has to be written so that the history, `bytes` large now, covers these commits and stays within its limits.
    pub(super) fn plan(&self, commits: &[&Staged], bytes: Bytes) -> Result<Addition, String> {
        let mut addition = Addition { bytes, ..Addition::default() };
        for staged in commits {
            for (index, change) in staged.committed.changes.iter().enumerate() {
                let Some(position) = position(&staged.author, index, change) else { continue };
                let before =
                    change.old.as_deref().map(|old| Record::of(old).map(Record::without_status)).transpose()?;
                let entry = Entry {
                    key: Key::from(&change.key),
                    author: staged.author.to_string(),
                    time: staged.time.into(),
                    before,
                };
                addition.add(&change.key, position, self.envelope.seal(ENTRIES_TREE, &encode(position), &entry)?);
                if is_trimmed(position) {
                    self.trim(&change.key, &mut addition)?;
                }
            }
        }
        for class in Class::ALL {
            self.evict(class, &mut addition)?;
        }
        Ok(addition)
    }

    /// The last entries of a resource, oldest first.
    pub(super) fn of(&self, key: &ResourceKey) -> Result<Vec<Recorded>, String> {
        let positions = self.positions(key)?;
        let last = positions.len().saturating_sub(HISTORY_LENGTH);
        let mut recorded = Vec::new();
        for (_, position, _) in positions.into_iter().skip(last) {
            let at = encode(position);
            let Some(value) = self.entries.get(at).map_err(text)? else { continue };
            let Entry { key: of, author, time, before } = self.entry(&at, &value)?;
            if of != Key::from(key) {
                return Err(format!("revision {} is about another resource", position.revision));
            }
            let time = time.try_into().map_err(|error: jiff::Error| error.to_string())?;
            let before = before.map(|before| before.into_resource(key.clone()).map(Arc::new)).transpose()?;
            recorded.push(Recorded { position, time, author, before });
        }
        Ok(recorded)
    }

    /// Key, position and size of all entries of a resource, oldest first.
    fn positions(&self, key: &ResourceKey) -> Result<Vec<(IVec, Position, u64)>, String> {
        let mut positions = Vec::new();
        for entry in self.keys.scan_prefix(prefix(key)) {
            let (at, size) = entry.map_err(text)?;
            let position = at.len().checked_sub(POSITION).and_then(|start| decode(&at[start..]));
            let size = size[..].try_into().map(u64::from_le_bytes);
            let (Some(position), Ok(size)) = (position, size) else { return Err("a key without position".to_owned()) };
            positions.push((at, position, size));
        }
        Ok(positions)
    }

    /// Drops all but the last entries of a resource.
    fn trim(&self, key: &ResourceKey, addition: &mut Addition) -> Result<(), String> {
        let positions = self.positions(key)?;
        let surplus = (positions.len() + 1).saturating_sub(HISTORY_LENGTH);
        for (at, position, size) in positions.into_iter().take(surplus) {
            addition.remove(at.to_vec(), position, size);
        }
        Ok(())
    }

    /// Drops the oldest entries of a class until it is within its limit.
    fn evict(&self, class: Class, addition: &mut Addition) -> Result<(), String> {
        if addition.bytes[class as usize] <= LIMITS[class as usize] {
            return Ok(());
        }
        for entry in self.entries.scan_prefix([class as u8]).take(MOST_DROPPED) {
            let (at, value) = entry.map_err(text)?;
            let position = decode(&at).ok_or("an entry without position")?;
            let key = ResourceKey::try_from(self.entry(&at, &value)?.key)?;
            addition.remove(key_of(&key, position), position, value.len() as u64);
            if addition.bytes[class as usize] <= LIMITS[class as usize] {
                break;
            }
        }
        Ok(())
    }
}

/// Whether the entry at a position looks after its resource: on average one in [`TRIM_INTERVAL`], without any pattern
/// that writers could follow.
fn is_trimmed(position: Position) -> bool {
    let mixed = (position.revision ^ u64::from(position.index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32).is_multiple_of(TRIM_INTERVAL)
}

fn encode(position: Position) -> [u8; POSITION] {
    let mut bytes = [0; POSITION];
    bytes[0] = position.class as u8;
    bytes[1..9].copy_from_slice(&position.revision.to_be_bytes());
    bytes[9..].copy_from_slice(&position.index.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let bytes: &[u8; POSITION] = bytes.try_into().ok()?;
    let (class, rest) = bytes.split_first()?;
    let (revision, index) = rest.split_first_chunk::<8>()?;
    Some(Position {
        class: Class::ALL.into_iter().find(|known| *known as u8 == *class)?,
        revision: u64::from_be_bytes(*revision),
        index: u32::from_be_bytes(index.try_into().ok()?),
    })
}

/// Names hold no NUL, so the prefix of one resource is not that of another.
fn prefix(key: &ResourceKey) -> Vec<u8> {
    let mut bytes = record::encode_key(key);
    bytes.push(0);
    bytes
}

fn key_of(key: &ResourceKey, position: Position) -> Vec<u8> {
    let mut bytes = prefix(key);
    bytes.extend_from_slice(&encode(position));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_sort_by_age_and_are_read_back() {
        let at = |class, revision, index| Position { class, revision, index };
        let ordered = [
            at(Class::Configuration, 1, 0),
            at(Class::Configuration, 1, 256),
            at(Class::Configuration, 300, 0),
            at(Class::Inventory, 2, 0),
        ];
        assert!(ordered.windows(2).all(|pair| encode(pair[0]) < encode(pair[1])));
        for position in ordered {
            assert_eq!(decode(&encode(position)), Some(position));
        }
        assert_eq!(decode(&[9; POSITION]), None);
        assert_eq!(decode(&[0; POSITION - 1]), None);
    }

    #[test]
    fn about_one_in_eight_looks_after_its_resource() {
        for step in [1, 2, 8, 64] {
            let trimmed = (0..8000_u64)
                .filter(|n| is_trimmed(Position { class: Class::Configuration, revision: n * step, index: 0 }))
                .count();
            assert!((700..1300).contains(&trimmed), "{trimmed} of 8000, every {step}");
        }
    }
}
