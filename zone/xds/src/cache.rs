//! What was computed for one proxy and serves others too.
//!
//! The cache holds weak references: an entry lives as long as the configuration of some proxy uses it. Keys name the revision
//! of everything that went into a value, so nothing has to be invalidated, and what nobody uses takes no memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Values of one type, shared by key.
pub(crate) struct Shared<K, V: ?Sized> {
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V: ?Sized> {
    map: HashMap<K, Weak<V>>,
    /// Number of entries at which those that died are looked for.
    sweep_at: usize,
}

impl<K, V: ?Sized> Default for Shared<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::new(Entries { map: HashMap::new(), sweep_at: 64 }) }
    }
}

impl<K: Eq + Hash, V: ?Sized> Shared<K, V> {
    /// The value of a key, built when nobody has it. Two threads that miss at once both build; one result is kept.
    ///
    /// # Errors
    /// Those of `build`.
    pub(crate) fn get_or_build<E>(&self, key: K, build: impl FnOnce() -> Result<Arc<V>, E>) -> Result<Arc<V>, E> {
        if let Some(value) = self.entries.lock().map.get(&key).and_then(Weak::upgrade) {
            return Ok(value);
        }
        let built = build()?;
        let mut entries = self.entries.lock();
        if let Some(value) = entries.map.get(&key).and_then(Weak::upgrade) {
            return Ok(value);
        }
        entries.map.insert(key, Arc::downgrade(&built));
        if entries.map.len() >= entries.sweep_at {
            entries.map.retain(|_, value| value.strong_count() > 0);
            entries.sweep_at = (entries.map.len() * 2).max(64);
        }
        Ok(built)
    }

    fn len(&self) -> usize {
        self.entries.lock().map.len()
    }
}

impl<K: Eq + Hash, V: ?Sized> fmt::Debug for Shared<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} entries)", self.len())
    }
}

/// Makes fingerprints of what own resources are built from. Keyed at random, so that nobody can prepare collisions.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(RandomState);

impl Fingerprints {
    pub(crate) fn of(&self, input: impl Hash) -> u64 {
        self.0.hash_one(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn get(shared: &Shared<u32, String>, key: u32, value: &str) -> Arc<String> {
        shared
            .get_or_build(key, || Ok::<_, Infallible>(Arc::new(value.to_owned())))
            .unwrap_or_else(|never| match never {})
    }

    #[test]
    fn a_value_is_built_once_while_somebody_has_it() {
        let shared = Shared::default();
        let first = get(&shared, 1, "first");
        assert!(Arc::ptr_eq(&first, &get(&shared, 1, "second")));
        drop(first);
        assert_eq!(*get(&shared, 1, "third"), "third");
    }

    #[test]
    fn dead_entries_are_swept() {
        let shared = Shared::default();
        let kept = get(&shared, 0, "kept");
        for key in 1..1000 {
            get(&shared, key, "dropped");
        }
        assert!(shared.len() <= 64, "{} entries", shared.len());
        assert!(Arc::ptr_eq(&kept, &get(&shared, 0, "other")));
    }

    #[test]
    fn failures_are_not_kept() {
        let shared: Shared<u32, String> = Shared::default();
        assert_eq!(shared.get_or_build(1, || Err("no")), Err("no"));
        assert_eq!(*get(&shared, 1, "yes"), "yes");
    }
}
