//! Validation of transactions against the committed state, before anything is durable or visible.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use tandem_model::{Resource, ResourceKey};

use crate::state::State;
use crate::{Author, Change, Committed, Revision, StoreError, Write};

/// A transaction that passed validation.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Who wrote it.
    pub(crate) author: Author,
    /// When; the `modified` of what it writes.
    pub(crate) time: Timestamp,
    /// What the caller is told once it is durable.
    pub(crate) committed: Committed,
}

/// Content of keys that differ from the layer below; `None` means deleted.
#[derive(Debug, Default)]
struct Overlay {
    content: HashMap<ResourceKey, Option<Arc<Resource>>>,
    /// Keys that got this owner at some time; what holds now is in `content`.
    owned: HashMap<ResourceKey, Vec<ResourceKey>>,
}

/// A group of transactions on top of the committed state; each sees those before it.
pub(crate) struct Group<'a> {
    state: &'a State,
    overlay: Overlay,
    revision: Revision,
}

impl<'a> Group<'a> {
    /// An empty group.
    pub(crate) fn new(state: &'a State) -> Self {
        Self { state, overlay: Overlay::default(), revision: state.revision() }
    }

    /// Validates a transaction and adds it to the group.
    ///
    /// # Errors
    /// When one of the writes is refused; the group is as before then.
    pub(crate) fn stage(&mut self, author: Author, writes: Vec<Write>) -> Result<Staged, StoreError> {
        let time = Timestamp::now();
        let mut transaction = Transaction { group: self, now: time, overlay: Overlay::default(), touched: Vec::new() };
        let resources = writes.into_iter().map(|write| transaction.apply(write)).collect::<Result<Vec<_>, _>>()?;
        let Transaction { overlay, touched, .. } = transaction;

        let revision = self.revision + 1;
        let mut changes = Vec::with_capacity(touched.len());
        for key in touched {
            let old = self.get(&key).cloned();
            let new = overlay.content.get(&key).and_then(Clone::clone);
            let unchanged = match (&old, &new) {
                (None, None) => true,
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
            if !unchanged {
                changes.push(Arc::new(Change { revision, key, old, new }));
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
            self.overlay.content.extend(overlay.content);
            for (owner, keys) in overlay.owned {
                self.overlay.owned.entry(owner).or_default().extend(keys);
            }
        }
        Ok(Staged { author, time, committed: Committed { revision: self.revision, resources, changes } })
    }

    fn get(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        match self.overlay.content.get(key) {
            Some(content) => content.as_ref(),
            None => self.state.get(key),
        }
    }
}

/// One transaction on top of its group.
struct Transaction<'g, 'a> {
    group: &'g Group<'a>,
    now: Timestamp,
    overlay: Overlay,
    /// Keys in the order in which they were first written.
    touched: Vec<ResourceKey>,
}

impl Transaction<'_, '_> {
    fn apply(&mut self, write: Write) -> Result<Option<Arc<Resource>>, StoreError> {
        match write {
            Write::Create(resource) => match self.get(&resource.key) {
                Some(_) => Err(StoreError::AlreadyExists(resource.key)),
                None => self.create(resource).map(Some),
            },
            Write::Update { resource, expected } => match self.get(&resource.key).cloned() {
                None => Err(StoreError::NotFound(resource.key)),
                Some(stored) if expected.is_some_and(|version| version != stored.version) => {
                    Err(StoreError::Conflict(resource.key))
                }
                Some(stored) => self.replace(&stored, resource).map(Some),
            },
            Write::Put(resource) => match self.get(&resource.key).cloned() {
                None => self.create(resource).map(Some),
                Some(stored) => self.replace(&stored, resource).map(Some),
            },
            Write::Delete { key, expected } => match self.get(&key) {
                None => Err(StoreError::NotFound(key)),
                Some(stored) if expected.is_some_and(|version| version != stored.version) => {
                    Err(StoreError::Conflict(key))
                }
                Some(_) => {
                    self.delete(key);
                    Ok(None)
                }
            },
        }
    }

    fn get(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        match self.overlay.content.get(key) {
            Some(content) => content.as_ref(),
            None => self.group.get(key),
        }
    }

    fn create(&mut self, mut resource: Resource) -> Result<Arc<Resource>, StoreError> {
        if resource.key.name.is_empty() || resource.key.name.contains('\0') || resource.key.mesh.contains('\0') {
            return Err(StoreError::InvalidKey(resource.key));
        }
        self.check_owner(&resource)?;
        resource.version = self.group.revision + 1;
        resource.modified = self.now;
        if resource.created == Timestamp::UNIX_EPOCH {
            resource.created = self.now;
        }
        Ok(self.put(resource))
    }

    fn replace(&mut self, stored: &Arc<Resource>, mut resource: Resource) -> Result<Arc<Resource>, StoreError> {
        if resource.owner != stored.owner {
            self.check_owner(&resource)?;
        } else if resource.labels == stored.labels && resource.spec == stored.spec && resource.status == stored.status {
            return Ok(stored.clone());
        }
        resource.version = self.group.revision + 1;
        resource.created = stored.created;
        resource.modified = self.now;
        Ok(self.put(resource))
    }

    fn check_owner(&self, resource: &Resource) -> Result<(), StoreError> {
        match &resource.owner {
            Some(owner) if self.get(owner).is_none() => {
                Err(StoreError::OwnerNotFound { key: resource.key.clone(), owner: owner.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Deletes a resource, then what it owned, then what those owned.
    fn delete(&mut self, key: ResourceKey) {
        let mut doomed = vec![key];
        while let Some(owner) = doomed.pop() {
            if self.get(&owner).is_none() {
                continue;
            }
            self.set(owner.clone(), None);
            let written = self.overlay.owned.get(&owner).into_iter().flatten();
            let grouped = self.group.overlay.owned.get(&owner).into_iter().flatten();
            let owned = written.chain(grouped).chain(self.group.state.owned_by(&owner));
            doomed.extend(owned.filter(|key| self.get(key).is_some_and(|r| r.owner.as_ref() == Some(&owner))).cloned());
        }
    }

    fn put(&mut self, resource: Resource) -> Arc<Resource> {
        if let Some(owner) = &resource.owner {
            self.overlay.owned.entry(owner.clone()).or_default().push(resource.key.clone());
        }
        let resource = Arc::new(resource);
        self.set(resource.key.clone(), Some(resource.clone()));
        resource
    }

    fn set(&mut self, key: ResourceKey, content: Option<Arc<Resource>>) {
        match self.overlay.content.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.insert(content);
            }
            Entry::Vacant(entry) => {
                self.touched.push(entry.key().clone());
                entry.insert(content);
            }
        }
    }
}
