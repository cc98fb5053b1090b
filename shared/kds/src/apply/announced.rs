//! What a response says, decoded and checked, one resource at a time.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tandem_model::{Kind, Resource, ResourceKey, label};

use super::{Applier, Rejection};
use crate::codec;
use crate::wire;

/// After so many resources, other tasks get their turn.
pub(super) const TURN: usize = 32;
/// Resources that are read one after the other; more are several parts.
const PART: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) resources: BTreeMap<ResourceKey, Resource>,
    pub(super) removed: BTreeSet<ResourceKey>,
    pub(super) rejected: Vec<Rejection>,
    /// Keys whose stored content must stay.
    pub(super) untouchable: BTreeSet<ResourceKey>,
    /// A resource could not even be told by name, so nothing may be deleted for not being listed.
    pub(super) incomplete: bool,
    /// Resources that claimed to be of somebody else, with what they claimed; made the peer's own.
    pub(super) relabelled: Vec<(ResourceKey, Vec<String>)>,
    /// How many resources are not the peer's to send.
    pub(super) refused: u64,
}

impl Announced {
    /// Says nothing but that these are gone.
    pub(super) fn removal(removed: BTreeSet<ResourceKey>) -> Self {
        Self { removed, ..Self::default() }
    }

    /// What this says about one resource that it wants to be stored or deleted.
    pub(super) fn part(&self, key: &ResourceKey) -> Self {
        match self.resources.get(key) {
            Some(resource) => Self { resources: BTreeMap::from([(key.clone(), resource.clone())]), ..Self::default() },
            None => Self::removal(BTreeSet::from([key.clone()])),
        }
    }

    /// True when the peer has a resource of this name, be it a bad one.
    pub(super) fn lists(&self, key: &ResourceKey) -> bool {
        self.resources.contains_key(key) || self.untouchable.contains(key)
    }

    /// A resource that belongs to the receiving side.
    fn refuse(&mut self, resource: Resource) {
        let origin = resource.label(label::ORIGIN).unwrap_or_default();
        let reason = format!("{}: label {}={origin:?} makes it one of the receiver", resource.key, label::ORIGIN);
        self.refused += 1;
        self.reject(Rejection { key: Some(resource.key), reason, conflict: false });
    }

    fn take(&mut self, resource: Resource) {
        if self.untouchable.contains(&resource.key) {
            return;
        }
        match self.resources.entry(resource.key.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(resource);
            }
            Entry::Occupied(entry) if *entry.get() == resource => {}
            // There is no order among the resources of a response, so neither is the newer one.
            Entry::Occupied(_) => {
                let reason = format!("{}: is in the response twice, with different content", resource.key);
                self.reject(Rejection { key: Some(resource.key), reason, conflict: false });
            }
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        match &rejection.key {
            Some(key) => {
                self.resources.remove(key);
                self.untouchable.insert(key.clone());
            }
            None => self.incomplete = true,
        }
        self.rejected.push(rejection);
    }
}

impl Applier {
    /// Reads a response of type `kind`: in parts at the same time if it is large. Gives way to other tasks in between.
    pub(super) async fn read(self: &Arc<Self>, kind: Kind, resources: &[Bytes], removed: &[String]) -> Announced {
        let mut announced = Announced::default();
        let parts: Vec<_> = resources
            .chunks(PART)
            .map(|part| {
                let (applier, part) = (self.clone(), part.to_vec());
                async move { applier.read_part(kind, &part).await }
            })
            .collect();
        let mut read = Vec::with_capacity(parts.len());
        if parts.len() == 1 {
            read.extend(futures::future::join_all(parts).await);
        } else {
            for part in parts.into_iter().map(tokio::spawn).collect::<Vec<_>>() {
                match part.await {
                    Ok(part) => read.push(part),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime is stopping, and with it whoever waits for this.
                    Err(_) => std::future::pending().await,
                }
            }
        }
        for resource in read.into_iter().flatten() {
            match resource {
                Ok((resource, _)) if !self.inlet.owns(&resource) => announced.refuse(resource),
                Ok((resource, claims)) => {
                    if !claims.is_empty() {
                        announced.relabelled.push((resource.key.clone(), claims));
                    }
                    announced.take(resource);
                }
                Err(rejection) => announced.reject(rejection),
            }
        }
        for name in removed {
            let (name, mesh) = wire::split_resource_name(name);
            let key = ResourceKey::new(kind, mesh, name);
            if !announced.lists(&key) {
                announced.removed.insert(key);
            }
        }
        announced
    }

    async fn read_part(&self, kind: Kind, resources: &[Bytes]) -> Vec<Result<(Resource, Vec<String>), Rejection>> {
        let mut read = Vec::with_capacity(resources.len());
        for (index, body) in resources.iter().enumerate() {
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            read.push(self.read_one(kind, body));
        }
        read
    }

    /// A resource that may be stored, and what it claimed to be without being it.
    fn read_one(&self, kind: Kind, body: &Bytes) -> Result<(Resource, Vec<String>), Rejection> {
        let mut resource = codec::decode(kind, body).map_err(|failure| {
            let reason = match &failure.key {
                Some(key) => format!("could not decode {key}: {}", failure.reason),
                None => format!("could not decode a resource of type {:?}: {}", kind.name(), failure.reason),
            };
            Rejection { key: failure.key, reason, conflict: false }
        })?;
        let violations = (self.validate)(&resource);
        if !violations.is_empty() {
            let reason = format!("{}: {violations}", resource.key);
            return Err(Rejection { key: Some(resource.key), reason, conflict: false });
        }
        match self.inlet.adapt(&mut resource) {
            Ok(claims) => Ok((resource, claims)),
            Err(error) => {
                let reason = format!("could not decode {error}");
                Err(Rejection { key: Some(resource.key), reason, conflict: false })
            }
        }
    }
}
