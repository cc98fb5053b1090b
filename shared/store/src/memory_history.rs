//! The history of a store that persists nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};

use crate::HISTORY_LENGTH;
use crate::history::{Class, Position, Recorded, position};
use crate::stage::Staged;
use crate::state::content_bytes;

/// Most bytes of entries of a class, roughly.
const LIMIT: usize = 8 << 20;
/// What an entry takes without content, roughly.
const FIXED: usize = 512;

/// Entries by resource, and all of them by age.
#[derive(Debug, Default)]
pub(crate) struct MemoryHistory {
    by_key: HashMap<ResourceKey, VecDeque<Recorded>>,
    by_age: BTreeMap<Position, ResourceKey>,
    bytes: [usize; Class::ALL.len()],
}

impl MemoryHistory {
    /// Adds what a transaction changes.
    pub(crate) fn record(&mut self, staged: &Staged) {
        for (index, change) in staged.committed.changes.iter().enumerate() {
            let Some(position) = position(&staged.author, index, change) else { continue };
            let before = change.old.as_ref().map(|old| Arc::new(Resource { status: None, ..Resource::clone(old) }));
            let recorded = Recorded { position, time: staged.time, author: staged.author.to_string(), before };
            self.bytes[position.class as usize] += bytes(&recorded);
            self.by_age.insert(position, change.key.clone());
            let entries = self.by_key.entry(change.key.clone()).or_default();
            entries.push_back(recorded);
            if entries.len() > HISTORY_LENGTH {
                self.drop_oldest(&change.key);
            }
            while self.bytes[position.class as usize] > LIMIT {
                let oldest = Position { revision: 0, index: 0, ..position };
                let Some((_, key)) = self.by_age.range(oldest..).next() else { break };
                self.drop_oldest(&key.clone());
            }
        }
    }

    /// The entries of a resource, oldest first.
    pub(crate) fn of(&self, key: &ResourceKey) -> Vec<Recorded> {
        self.by_key.get(key).into_iter().flatten().cloned().collect()
    }

    fn drop_oldest(&mut self, key: &ResourceKey) {
        let Some(entries) = self.by_key.get_mut(key) else { return };
        if let Some(oldest) = entries.pop_front() {
            self.bytes[oldest.position.class as usize] -= bytes(&oldest);
            self.by_age.remove(&oldest.position);
        }
        if entries.is_empty() {
            self.by_key.remove(key);
        }
    }
}

fn bytes(recorded: &Recorded) -> usize {
    FIXED + recorded.before.as_deref().map_or(0, content_bytes)
}
