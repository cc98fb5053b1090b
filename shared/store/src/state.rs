//! The committed state of a store in memory, shared by all backends.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, VecDeque, btree_set};
use std::ops::Bound;
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey, Spec};

use crate::{Change, ChangeBatch, Revision, Window};

/// Most changes kept for readers of the feed that are behind.
const RING_CHANGES: usize = 16_384;
/// Most bytes of superseded content that the kept changes may hold on to, roughly.
const RING_BYTES: usize = 8 << 20;

/// A stored resource, ordered and found by its key, so that the set below holds each key once.
#[derive(Debug, Clone)]
struct Entry(Arc<Resource>);

impl Borrow<ResourceKey> for Entry {
    fn borrow(&self) -> &ResourceKey {
        &self.0.key
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// All resources as of one revision, and the changes that led there.
#[derive(Debug, Default)]
pub(crate) struct State {
    revision: Revision,
    /// Sorted by kind, mesh and name: the resources of a kind, or of a kind in a mesh, are a range.
    resources: BTreeSet<Entry>,
    /// Keys of the resources that an owner owns; no empty sets.
    owned: HashMap<ResourceKey, BTreeSet<ResourceKey>>,
    /// The last changes, in order.
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
    /// The ring holds every change after this revision.
    ring_base: Revision,
}

impl State {
    /// The state that a backend found at start.
    pub(crate) fn restored(revision: Revision, resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut state = Self { revision, ring_base: revision, ..Self::default() };
        for resource in resources {
            state.insert(resource);
        }
        state
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        self.resources.get(key).map(|entry| &entry.0)
    }

    /// Keys of what `owner` owns.
    pub(crate) fn owned_by(&self, owner: &ResourceKey) -> impl Iterator<Item = &ResourceKey> {
        self.owned.get(owner).into_iter().flatten()
    }

    /// The resources of a kind, in one mesh or in all, as a range with both ends known: walking it looks at no resource.
    fn range(&self, kind: Kind, mesh: Option<&str>) -> btree_set::Range<'_, Entry> {
        let first = ResourceKey::new(kind, mesh.unwrap_or_default(), "");
        // No string is between a string and the same with a NUL behind it, and no mesh has one.
        let behind = match mesh {
            Some(mesh) => Some(ResourceKey::new(kind, format!("{mesh}\0"), "")),
            None => Kind::all().nth(kind as usize + 1).map(|next| ResourceKey::new(next, "", "")),
        };
        let end = behind.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.resources.range::<ResourceKey, _>((Bound::Included(&first), end))
    }

    /// The part of [`State::list`] without the first `offset`, at most `limit` long.
    pub(crate) fn window(&self, kind: Kind, mesh: Option<&str>, offset: usize, limit: usize) -> Window {
        let range = self.range(kind, mesh);
        let total = range.clone().count();
        Window { total, resources: range.skip(offset).take(limit).map(|entry| entry.0.clone()).collect() }
    }

    /// Resources of a kind, in one mesh or in all, sorted by mesh and name. Costs as much as the result is long.
    pub(crate) fn list(&self, kind: Kind, mesh: Option<&str>) -> Vec<Arc<Resource>> {
        self.page(kind, mesh, None, usize::MAX)
    }

    /// The part of [`State::list`] that follows `after`, at most `limit` long. Costs as much as the result is long.
    pub(crate) fn page(
        &self,
        kind: Kind,
        mesh: Option<&str>,
        after: Option<&ResourceKey>,
        limit: usize,
    ) -> Vec<Arc<Resource>> {
        let first = ResourceKey::new(kind, mesh.unwrap_or_default(), "");
        let start = match after {
            Some(after) if *after >= first => Bound::Excluded(after),
            _ => Bound::Included(&first),
        };
        self.resources
            .range::<ResourceKey, _>((start, Bound::Unbounded))
            .map(|entry| &entry.0)
            .take_while(|resource| resource.key.kind == kind && mesh.is_none_or(|mesh| resource.key.mesh == mesh))
            .take(limit)
            .cloned()
            .collect()
    }

    /// Makes a commit visible to readers; `changes` must be those of one revision after the present one.
    pub(crate) fn publish(&mut self, revision: Revision, changes: &[Arc<Change>]) {
        debug_assert!(revision > self.revision, "revisions only grow");
        self.revision = revision;
        for change in changes {
            match &change.new {
                Some(new) => self.insert(new.clone()),
                None => self.remove(&change.key),
            }
            self.ring_bytes += held_bytes(change);
            self.ring.push_back(change.clone());
        }
        while self.ring.len() > RING_CHANGES || self.ring_bytes > RING_BYTES {
            let Some(dropped) = self.ring.pop_front() else { break };
            self.ring_bytes -= held_bytes(&dropped);
            self.ring_base = dropped.revision;
        }
    }

    fn insert(&mut self, resource: Arc<Resource>) {
        let owner = resource.owner.clone();
        let key = resource.key.clone();
        let replaced = self.resources.replace(Entry(resource));
        let previous_owner = replaced.and_then(|entry| entry.0.owner.clone());
        if previous_owner != owner {
            if let Some(previous) = previous_owner {
                self.disown(&previous, &key);
            }
            if let Some(owner) = owner {
                self.owned.entry(owner).or_default().insert(key);
            }
        }
    }

    fn remove(&mut self, key: &ResourceKey) {
        if let Some(Entry(removed)) = self.resources.take(key)
            && let Some(owner) = &removed.owner
        {
            self.disown(owner, key);
        }
    }

    fn disown(&mut self, owner: &ResourceKey, key: &ResourceKey) {
        if let Some(keys) = self.owned.get_mut(owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    /// What a reader that knows everything up to `position` has to be told; `None` when it is up to date.
    pub(crate) fn since(&self, position: Revision) -> Option<ChangeBatch> {
        if position == self.revision {
            return None;
        }
        if position < self.ring_base || position > self.revision {
            return Some(self.reset());
        }
        let first = self.ring.partition_point(|change| change.revision <= position);
        let changes = self.ring.range(first..).cloned().collect();
        Some(ChangeBatch::Changes { revision: self.revision, changes })
    }

    /// Everything.
    pub(crate) fn reset(&self) -> ChangeBatch {
        let resources = self.resources.iter().map(|entry| entry.0.clone()).collect();
        ChangeBatch::Reset { revision: self.revision, resources }
    }
}

/// Roughly how much memory lives on only because a change is kept.
fn held_bytes(change: &Change) -> usize {
    const FIXED: usize = 512;
    FIXED + change.old.as_deref().map_or(0, content_bytes)
}

/// Roughly how much memory the content of a resource takes.
pub(crate) fn content_bytes(resource: &Resource) -> usize {
    let spec = match &resource.spec {
        Spec::Proto(bytes) => bytes.len(),
        Spec::Json(value) => json_bytes(value),
    };
    let labels: usize = resource.labels.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
    spec + labels + resource.status.as_ref().map_or(0, json_bytes)
}

fn json_bytes(value: &serde_json::Value) -> usize {
    const NODE: usize = size_of::<serde_json::Value>();
    match value {
        serde_json::Value::String(text) => NODE + text.len(),
        serde_json::Value::Array(items) => NODE + items.iter().map(json_bytes).sum::<usize>(),
        serde_json::Value::Object(members) => {
            NODE + members.iter().map(|(name, value)| NODE + name.len() + json_bytes(value)).sum::<usize>()
        }
        _ => NODE,
    }
}
