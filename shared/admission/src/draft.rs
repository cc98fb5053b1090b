//! Writes in front of a store that nobody else sees, so that the documents of a batch can build on each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Reader, SharedStore, StoreError, Write};

use crate::outcome::Effect;

/// A store with writes that are not committed yet.
pub(crate) struct Draft {
    store: SharedStore,
    content: BTreeMap<ResourceKey, Drafted>,
}

struct Drafted {
    /// What the store had.
    base: Option<Arc<Resource>>,
    resource: Arc<Resource>,
    /// Announced, but not written (yet).
    provisional: bool,
}

impl Draft {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, content: BTreeMap::new() }
    }

    /// Makes a resource that is going to be written visible to those that are checked before it, unless it exists.
    pub(crate) async fn announce(&mut self, resource: Resource) -> Result<(), StoreError> {
        if self.get(&resource.key).await?.is_none() {
            let key = resource.key.clone();
            self.content.insert(key, Drafted { base: None, resource: Arc::new(resource), provisional: true });
        }
        Ok(())
    }

    /// What was written or is stored; what is only announced does not count.
    pub(crate) async fn written(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        match self.content.get(key) {
            Some(drafted) if drafted.provisional => Ok(None),
            _ => self.get(key).await,
        }
    }

    /// Adds the resources of a transaction, which deletes nothing, over what is there.
    pub(crate) async fn add(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        for write in writes {
            let (Write::Create(resource) | Write::Update { resource, .. } | Write::Put(resource)) = write else {
                continue;
            };
            let key = resource.key.clone();
            let base = match self.content.remove(&key) {
                Some(drafted) => drafted.base,
                None => self.store.get(&key).await?,
            };
            self.content.insert(key, Drafted { base, resource: Arc::new(resource), provisional: false });
        }
        Ok(())
    }

    /// Every resource that was written, and what that does to the store.
    pub(crate) fn effects(&self) -> impl Iterator<Item = (Effect, &Arc<Resource>)> {
        self.content.values().filter(|drafted| !drafted.provisional).map(|Drafted { base, resource, .. }| {
            let effect = match base {
                None => Effect::Created,
                Some(base) if is_same(base, resource) => Effect::Unchanged,
                Some(_) => Effect::Updated,
            };
            (effect, resource)
        })
    }

    /// One write for each resource, over exactly what the store had, in the order of their kinds.
    pub(crate) fn into_writes(self, rank: impl Fn(Kind) -> usize) -> Vec<Write> {
        let mut drafted: Vec<_> = self.content.into_values().filter(|drafted| !drafted.provisional).collect();
        drafted.sort_by_key(|drafted| rank(drafted.resource.kind()));
        let write = |Drafted { base, resource, .. }: Drafted| {
            let resource = Arc::unwrap_or_clone(resource);
            match base {
                None => Write::Create(resource),
                Some(base) => Write::Update { resource, expected: Some(base.version) },
            }
        };
        drafted.into_iter().map(write).collect()
    }
}

/// Whether a store would skip the write of `new` over `stored`.
fn is_same(stored: &Resource, new: &Resource) -> bool {
    (&stored.labels, &stored.owner, &stored.spec, &stored.status) == (&new.labels, &new.owner, &new.spec, &new.status)
}

#[async_trait]
impl Reader for Draft {
    async fn get(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        match self.content.get(key) {
            Some(drafted) => Ok(Some(drafted.resource.clone())),
            None => self.store.get(key).await,
        }
    }

    async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Arc<Resource>>, StoreError> {
        let mut listed: BTreeMap<_, _> = BTreeMap::new();
        for resource in self.store.list(kind, mesh).await? {
            listed.insert(resource.key.clone(), resource);
        }
        let drafted = self.content.iter().filter(|(key, _)| key.kind == kind && mesh.is_none_or(|m| key.mesh == m));
        listed.extend(drafted.map(|(key, drafted)| (key.clone(), drafted.resource.clone())));
        Ok(listed.into_values().collect())
    }
}
