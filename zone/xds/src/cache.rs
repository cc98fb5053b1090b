//! What was computed for one proxy and serves others too.
//!
//! The cache holds weak references: an entry lives as long as the configuration of some proxy uses it. Keys name the revision
//! of everything that went into a value, so nothing has to be invalidated, and what nobody uses takes no memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
pub(crate) use tandem_policy::ByAddress;

/// Values of one type, shared by key.
pub(crate) struct Shared<K, V: ?Sized> {
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V: ?Sized> {
    map: HashMap<K, Weak<V>, RandomState>,
    /// Number of entries at which those that died are looked for.
    sweep_at: usize,
}

impl<K, V: ?Sized> Default for Shared<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::new(Entries { map: HashMap::default(), sweep_at: 64 }) }
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

/// Equal values brought down to one: what is derived from a value can be found again by its address although an equal one came
/// in its place.
pub(crate) struct Canonical<V> {
    state: Mutex<CanonicalState<V>>,
}

struct CanonicalState<V> {
    /// Those that stand for their equals, by a digest of how they print. Equal values that print differently are just not found.
    values: HashMap<u64, Vec<Weak<V>>, RandomState>,
    /// Number of digests at which values that died are looked for.
    sweep_values_at: usize,
    /// What was found before: the value asked for, by its address, and the one that stands for it. An allocation lives as long
    /// as a weak reference to it, so no other value can come to the address.
    found: HashMap<usize, (Weak<V>, Weak<V>), RandomState>,
    /// Number of found values at which those that died are looked for.
    sweep_at: usize,
}

impl<V> Default for Canonical<V> {
    fn default() -> Self {
        let state =
            CanonicalState { values: HashMap::default(), sweep_values_at: 64, found: HashMap::default(), sweep_at: 64 };
        Self { state: Mutex::new(state) }
    }
}

impl<V> fmt::Debug for Canonical<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({} values)", self.state.lock().values.len())
    }
}

/// Takes in text for a digest.
struct Digest<H>(H);

impl<H: Hasher> fmt::Write for Digest<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl<V: PartialEq + fmt::Debug> Canonical<V> {
    /// The first value equal to this one that is still in use.
    pub(crate) fn of(&self, value: &Arc<V>) -> Arc<V> {
        let address = Arc::as_ptr(value).addr();
        let mut state = self.state.lock();
        if let Some(known) = state.found.get(&address).and_then(|(_, known)| known.upgrade()) {
            return known;
        }
        let mut digest = Digest(state.values.hasher().build_hasher());
        // A digest takes everything.
        let _ = fmt::write(&mut digest, format_args!("{value:?}"));
        let alike = state.values.entry(digest.0.finish()).or_default();
        alike.retain(|known| known.strong_count() > 0);
        let known = alike.iter().filter_map(Weak::upgrade).find(|known| known == value);
        let known = known.unwrap_or_else(|| {
            alike.push(Arc::downgrade(value));
            value.clone()
        });
        if state.values.len() >= state.sweep_values_at {
            state.values.retain(|_, alike| alike.iter().any(|known| known.strong_count() > 0));
            state.sweep_values_at = (state.values.len() * 2).max(64);
        }
        state.found.insert(address, (Arc::downgrade(value), Arc::downgrade(&known)));
        if state.found.len() >= state.sweep_at {
            state.found.retain(|_, (of, known)| of.strong_count() > 0 && known.strong_count() > 0);
            state.sweep_at = (state.found.len() * 2).max(64);
        }
        known
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
    fn equal_values_become_one() {
        let canonical = Canonical::default();
        let first = canonical.of(&Arc::new("a".to_owned()));
        assert!(Arc::ptr_eq(&first, &canonical.of(&Arc::new("a".to_owned()))));
        assert_eq!(*canonical.of(&Arc::new("b".to_owned())), "b");
    }

    #[test]
    fn values_that_are_not_used_are_forgotten() {
        let canonical = Canonical::default();
        let watched = Arc::new(0);
        let weak = Arc::downgrade(&canonical.of(&watched));
        drop(watched);
        assert!(weak.upgrade().is_none());
        for number in 0..1000 {
            assert_eq!(*canonical.of(&Arc::new(number)), number);
        }
        let state = canonical.state.lock();
        assert!(state.values.len() <= 64 && state.found.len() <= 64, "{} found", state.found.len());
    }

    #[test]
    fn failures_are_not_kept() {
        let shared: Shared<u32, String> = Shared::default();
        assert_eq!(shared.get_or_build(1, || Err("no")), Err("no"));
        assert_eq!(*get(&shared, 1, "yes"), "yes");
    }
}
