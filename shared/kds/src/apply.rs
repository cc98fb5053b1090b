//! Applies a response to the store, as one transaction.
//!
//! What cannot be applied (undecodable, invalid, in conflict with a local resource) is left out and reported; what the
//! store has of it stays. Everything else of the response is applied.
//!
//! Source of the rules: Kuma `pkg/kds/v2/client/kds_client.go` and `pkg/kds/v2/store/sync.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tandem_model::{Kind, Resource, ResourceKey, Violations};
use tandem_store::{SharedStore, StoreError, Write};

use crate::codec;
use crate::inlet::Inlet;
use crate::wire;

/// How often a transaction is tried again because the store changed meanwhile.
const ATTEMPTS: usize = 8;

/// Checks a received resource; a plain function so that tests and both control planes can bring their own.
pub type Validate = Arc<dyn Fn(&Resource) -> Violations + Send + Sync>;

/// A resource that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which one, as far as it could be read.
    pub key: Option<ResourceKey>,
    /// Why, as text for people and for the peer.
    pub reason: String,
}

/// What became of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Resources that were new.
    pub created: usize,
    /// Resources that changed.
    pub updated: usize,
    /// Resources that went.
    pub deleted: usize,
    /// Resources that the peer manages here now.
    pub accepted: Vec<ResourceKey>,
    /// Keys that the peer says are gone, or that are not part of a full state.
    pub gone: Vec<ResourceKey>,
    /// Resources that were left out.
    pub rejected: Vec<Rejection>,
}

impl Applied {
    /// Text that tells the peer what was left out; `None` when nothing was.
    pub fn complaint(&self) -> Option<String> {
        if self.rejected.is_empty() {
            return None;
        }
        let lines: Vec<_> = self.rejected.iter().map(|rejection| rejection.reason.as_str()).collect();
        Some(lines.join("\n"))
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, deleted, rejected, .. } = self;
        write!(f, "{created} created, {updated} updated, {deleted} deleted, {} left out", rejected.len())
    }
}

/// Applies responses of one stream.
pub(crate) struct Applier {
    pub(crate) store: SharedStore,
    pub(crate) inlet: Inlet,
    pub(crate) validate: Validate,
}

/// What a response says, decoded.
struct Announced {
    resources: BTreeMap<ResourceKey, Resource>,
    removed: BTreeSet<ResourceKey>,
    rejected: Vec<Rejection>,
    /// Keys whose stored content must stay.
    untouchable: BTreeSet<ResourceKey>,
    /// A resource could not even be told by name, so nothing may be deleted for not being listed.
    incomplete: bool,
}

impl Applier {
    /// Applies a response of type `kind`. With `full`, what it does not list is deleted.
    ///
    /// # Errors
    /// When the store fails; nothing was applied then.
    pub(crate) async fn apply(
        &self,
        kind: Kind,
        resources: &[Bytes],
        removed: &[String],
        full: bool,
    ) -> Result<Applied, StoreError> {
        let announced = self.read(kind, resources, removed);
        for _ in 1..ATTEMPTS {
            let (writes, applied) = self.plan(kind, &announced, full).await?;
            match self.commit(writes).await {
                Ok(()) => return Ok(applied),
                // Someone else wrote in between; plan again from what is there now.
                Err(StoreError::Conflict(_) | StoreError::AlreadyExists(_) | StoreError::NotFound(_)) => {}
                Err(StoreError::OwnerNotFound { owner, .. }) if owner.kind == Kind::Zone => {
                    ensure_zone(&self.store, &owner.name).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let (writes, applied) = self.plan(kind, &announced, full).await?;
        self.commit(writes).await.map(|()| applied)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit_as(self.inlet.author(), writes).await.map(|_| ())
    }

    fn read(&self, kind: Kind, resources: &[Bytes], removed: &[String]) -> Announced {
        let mut announced = Announced {
            resources: BTreeMap::new(),
            removed: BTreeSet::new(),
            rejected: Vec::new(),
            untouchable: BTreeSet::new(),
            incomplete: false,
        };
        for body in resources {
            match self.read_one(kind, body) {
                Ok(resource) => {
                    announced.resources.insert(resource.key.clone(), resource);
                }
                Err(rejection) => {
                    announced.incomplete |= rejection.key.is_none();
                    announced.untouchable.extend(rejection.key.clone());
                    announced.rejected.push(rejection);
                }
            }
        }
        for name in removed {
            let (name, mesh) = wire::split_resource_name(name);
            let key = ResourceKey::new(kind, mesh, name);
            if !announced.resources.contains_key(&key) && !announced.untouchable.contains(&key) {
                announced.removed.insert(key);
            }
        }
        announced
    }

    fn read_one(&self, kind: Kind, body: &Bytes) -> Result<Resource, Rejection> {
        let mut resource = codec::decode(kind, body).map_err(|failure| {
            let reason = match &failure.key {
                Some(key) => format!("could not decode {key}: {}", failure.reason),
                None => format!("could not decode a resource of type {:?}: {}", kind.name(), failure.reason),
            };
            Rejection { key: failure.key, reason }
        })?;
        let violations = (self.validate)(&resource);
        if !violations.is_empty() {
            let reason = format!("{}: {violations}", resource.key);
            return Err(Rejection { key: Some(resource.key), reason });
        }
        if let Err(error) = self.inlet.adapt(&mut resource) {
            return Err(Rejection { key: Some(resource.key), reason: format!("could not decode {error}") });
        }
        Ok(resource)
    }

    /// The writes that lead from what is stored now to what was announced.
    async fn plan(&self, kind: Kind, announced: &Announced, full: bool) -> Result<(Vec<Write>, Applied), StoreError> {
        let stored = self.stored(kind, announced, full).await?;
        let mut applied = Applied { rejected: announced.rejected.clone(), ..Applied::default() };
        let (mut creates, mut deletes, mut updates) = (Vec::new(), Vec::new(), Vec::new());

        for resource in announced.resources.values().filter(|resource| self.inlet.owns(resource)) {
            match stored.get(&resource.key) {
                None => {
                    let mut resource = resource.clone();
                    resource.owner = self.inlet.owner();
                    if !self.inlet.takes_status() && resource.status.is_some() {
                        resource.status = Some(serde_json::Value::Object(serde_json::Map::new()));
                    }
                    creates.push(Write::Create(resource));
                }
                Some(present) if !self.inlet.owns(present) => {
                    let reason = format!("user error\nresource already exists: {}", resource.key);
                    applied.rejected.push(Rejection { key: Some(resource.key.clone()), reason });
                    continue;
                }
                Some(present) => updates.extend(self.update(present, resource)),
            }
            applied.accepted.push(resource.key.clone());
        }
        for (key, present) in &stored {
            let unlisted = full
                && !announced.incomplete
                && !announced.resources.contains_key(key)
                && !announced.untouchable.contains(key);
            if (unlisted || announced.removed.contains(key)) && self.inlet.owns(present) {
                deletes.push(Write::Delete { key: key.clone(), expected: Some(present.version) });
                applied.gone.push(key.clone());
            }
        }
        applied.gone.extend(announced.removed.iter().filter(|key| !stored.contains_key(key)).cloned());
        (applied.created, applied.updated, applied.deleted) = (creates.len(), updates.len(), deletes.len());
        creates.append(&mut deletes);
        creates.append(&mut updates);
        Ok((creates, applied))
    }

    async fn stored(
        &self,
        kind: Kind,
        announced: &Announced,
        full: bool,
    ) -> Result<BTreeMap<ResourceKey, Arc<Resource>>, StoreError> {
        let mut stored = BTreeMap::new();
        if full {
            let all = self.store.list(kind, None).await?;
            stored.extend(all.into_iter().map(|resource| (resource.key.clone(), resource)));
        } else {
            for key in announced.resources.keys().chain(&announced.removed) {
                if let Some(resource) = self.store.get(key).await? {
                    stored.insert(key.clone(), resource);
                }
            }
        }
        Ok(stored)
    }

    fn update(&self, present: &Resource, announced: &Resource) -> Option<Write> {
        let mut resource = announced.clone();
        if !self.inlet.takes_status() {
            resource.status.clone_from(&present.status);
        }
        resource.owner = self.inlet.owner().or_else(|| present.owner.clone());
        let same = present.spec == resource.spec
            && present.labels == resource.labels
            && present.status == resource.status
            && present.owner == resource.owner;
        (!same).then(|| Write::Update { resource, expected: Some(present.version) })
    }
}

/// Creates the Zone of a zone that introduced itself, enabled, unless it exists.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure_zone(store: &SharedStore, name: &str) -> Result<(), StoreError> {
    let key = ResourceKey::global(Kind::Zone, name);
    if store.get(&key).await?.is_some() {
        return Ok(());
    }
    let zone = tandem_proto::system::v1alpha1::Zone { enabled: Some(true) };
    match store.commit(vec![Write::Create(Resource::from_proto(key, &zone))]).await {
        Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
