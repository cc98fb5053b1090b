//! What combinations of policies amount to, computed once for as long as the policies stay the same.

use std::collections::{BTreeMap, HashMap};

use tandem_model::kind::Kind;

use crate::by_address::ByAddress;
use crate::destinations::Destinations;
use crate::policy::Policy;

/// Policies of a mesh that were chosen for something, and what else their meaning depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// By kind, weakest first. Kinds without any are absent.
    pub policies: BTreeMap<Kind, Vec<ByAddress<Policy>>>,
    /// What the policies refer to; `None` when they refer to nothing but the mesh.
    pub destinations: Option<ByAddress<Destinations>>,
}

/// Results by key. Successive states of a mesh share a table, so that a change of one policy costs what it changes.
#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashMap<Key, V>,
    /// Number of entries at which those of policies that are no more are looked for.
    sweep_at: usize,
}

/// Below this number of entries nothing is looked for.
const SMALL: usize = 64;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: SMALL }
    }
}

impl<V: Clone> Table<V> {
    /// The result for a key, built when it is not known. Entries for which `is_current` is false may be dropped.
    pub(super) fn get_or_build(
        &mut self,
        key: Key,
        is_current: impl Fn(&Key) -> bool,
        build: impl FnOnce(&Key) -> V,
    ) -> V {
        if let Some(known) = self.entries.get(&key) {
            return known.clone();
        }
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|key, _| is_current(key));
            self.sweep_at = (self.entries.len() * 2).max(SMALL);
        }
        let built = build(&key);
        self.entries.insert(key, built.clone());
        built
    }
}
