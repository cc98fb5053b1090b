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
        self.store.commit(writes).await.map(|_| ())
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
mod tests {
    use serde_json::json;
    use tandem_model::{Path, label};
    use tandem_store::MemoryStore;

    use super::*;
    use crate::mapper;

    fn applier(inlet: Inlet) -> Applier {
        let validate: Validate = Arc::new(|resource| {
            if resource.label("invalid").is_some() {
                Violations::one(&Path::new("spec.to[0].default"), "at least one timeout should be configured")
            } else {
                Violations::none()
            }
        });
        Applier { store: Arc::new(MemoryStore::new()), inlet, validate }
    }

    fn east() -> Inlet {
        Inlet::Global { zone: "east".into() }
    }

    fn timeout(name: &str, value: u32, labels: &[(&str, &str)]) -> Resource {
        Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), json!({"value": value}))
            .with_labels(labels.iter().copied())
    }

    fn from_global(resource: &Resource) -> Bytes {
        mapper::encode_for_zones(resource, false, &[]).expect("encodable").body
    }

    async fn stored(applier: &Applier) -> Vec<(String, serde_json::Value)> {
        let all = applier.store.list(Kind::MeshTimeout, None).await.expect("readable");
        all.iter()
            .map(|r| (r.key.name.clone(), r.json::<serde_json::Value>().expect("JSON")["value"].clone()))
            .collect()
    }

    async fn seed(applier: &Applier, resource: Resource) {
        applier.store.commit(vec![Write::Put(resource)]).await.expect("a valid write");
    }

    #[tokio::test]
    async fn a_full_state_replaces_what_the_peer_manages() {
        let zone = applier(Inlet::Zone);
        seed(&zone, timeout("local", 1, &[(label::ORIGIN, "zone")])).await;
        seed(&zone, timeout("old", 1, &[(label::ORIGIN, "global")])).await;
        seed(&zone, timeout("kept", 1, &[(label::ORIGIN, "global")])).await;
        let bodies = [from_global(&timeout("kept", 2, &[])), from_global(&timeout("new", 3, &[]))];
        let applied = zone.apply(Kind::MeshTimeout, &bodies, &[], true).await.expect("the store works");
        assert_eq!((applied.created, applied.updated, applied.deleted), (1, 1, 1));
        assert_eq!(applied.complaint(), None);
        let expected = [("kept", 2), ("local", 1), ("new", 3)].map(|(name, value)| (name.to_owned(), json!(value)));
        assert_eq!(stored(&zone).await, expected);

        let revision = zone.store.revision();
        let again = zone.apply(Kind::MeshTimeout, &bodies, &[], true).await.expect("the store works");
        assert_eq!((again.created, again.updated, again.deleted), (0, 0, 0));
        assert_eq!(zone.store.revision(), revision, "nothing changed");
    }

    #[tokio::test]
    async fn later_responses_change_only_what_they_name() {
        let zone = applier(Inlet::Zone);
        for name in ["a", "b"] {
            seed(&zone, timeout(name, 1, &[(label::ORIGIN, "global")])).await;
        }
        seed(&zone, timeout("local", 1, &[(label::ORIGIN, "zone")])).await;
        let removed = ["b.default", "local.default", "never-seen.default"].map(str::to_owned);
        let bodies = [from_global(&timeout("a", 2, &[]))];
        let applied = zone.apply(Kind::MeshTimeout, &bodies, &removed, false).await.expect("the store works");
        assert_eq!((applied.created, applied.updated, applied.deleted), (0, 1, 1));
        assert_eq!(stored(&zone).await, [("a".to_owned(), json!(2)), ("local".to_owned(), json!(1))]);
    }

    #[tokio::test]
    async fn what_is_wrong_stays_alone_and_keeps_its_last_good_state() {
        let zone = applier(Inlet::Zone);
        for name in ["invalid", "undecodable"] {
            seed(&zone, timeout(name, 1, &[(label::ORIGIN, "global")])).await;
        }
        let broken: Bytes = prost::Message::encode_to_vec(&wire::DeltaResource {
            name: "undecodable.default".into(),
            ..wire::DeltaResource::default()
        })
        .into();
        let bodies =
            [from_global(&timeout("invalid", 2, &[("invalid", "")])), broken, from_global(&timeout("good", 1, &[]))];
        let applied = zone.apply(Kind::MeshTimeout, &bodies, &[], true).await.expect("the store works");
        let expected =
            [("good", 1), ("invalid", 1), ("undecodable", 1)].map(|(name, value)| (name.to_owned(), json!(value)));
        assert_eq!(stored(&zone).await, expected);
        let complaint = applied.complaint().expect("two were left out");
        assert_eq!(
            complaint.lines().collect::<Vec<_>>(),
            [
                "type=\"MeshTimeout\" name=\"invalid\" mesh=\"default\": spec.to[0].default: at least one timeout \
                 should be configured",
                "could not decode type=\"MeshTimeout\" name=\"undecodable\" mesh=\"default\": no content",
            ]
        );
    }

    #[tokio::test]
    async fn garbage_without_a_name_deletes_nothing() {
        let zone = applier(Inlet::Zone);
        seed(&zone, timeout("a", 1, &[(label::ORIGIN, "global")])).await;
        let bodies = [Bytes::from_static(&[0xff])];
        let applied = zone.apply(Kind::MeshTimeout, &bodies, &[], true).await.expect("the store works");
        assert_eq!(applied.rejected.len(), 1);
        assert_eq!(stored(&zone).await.len(), 1);
    }

    #[tokio::test]
    async fn a_local_secret_wins_over_one_of_global() {
        let zone = applier(Inlet::Zone);
        let secret = |value: &str, labels: &[(&str, &str)]| {
            let spec = tandem_proto::system::v1alpha1::Secret { data: Some(value.into()) };
            Resource::from_proto(ResourceKey::new(Kind::Secret, "default", "zs1"), &spec)
                .with_labels(labels.iter().copied())
        };
        seed(&zone, secret("local", &[])).await;
        let bodies = [from_global(&secret("global", &[]))];
        let applied = zone.apply(Kind::Secret, &bodies, &[], true).await.expect("the store works");
        assert_eq!(
            applied.complaint().as_deref(),
            Some("user error\nresource already exists: type=\"Secret\" name=\"zs1\" mesh=\"default\"")
        );
        let kept = zone.store.get(&secret("", &[]).key).await.expect("readable").expect("still there");
        assert_eq!(kept.spec, secret("local", &[]).spec);
    }

    #[tokio::test]
    async fn a_zone_keeps_the_status_it_computed() {
        let zone = applier(Inlet::Zone);
        let mut service =
            Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "s"), json!({"state": "a"}))
                .with_labels([(label::ORIGIN, "zone"), (label::ZONE, "west")]);
        service.status = Some(json!({"vips": [{"ip": "10.0.0.1"}]}));
        let body = |service: &Resource| vec![from_global(service)];
        zone.apply(Kind::MeshService, &body(&service), &[], true).await.expect("the store works");
        let key = service.key.clone();
        let present = zone.store.get(&key).await.expect("readable").expect("created");
        assert_eq!(present.status, Some(json!({})));
        let mut local = (*present).clone();
        local.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
        seed(&zone, local).await;
        service.spec = tandem_model::Spec::Json(json!({"state": "b"}));
        zone.apply(Kind::MeshService, &body(&service), &[], false).await.expect("the store works");
        let present = zone.store.get(&key).await.expect("readable").expect("created");
        assert_eq!(present.status, Some(json!({"vips": [{"ip": "241.0.0.1"}]})));
        assert_eq!(present.spec, service.spec);
    }

    #[tokio::test]
    async fn global_ties_resources_to_their_zone() {
        let global = applier(east());
        seed(&global, timeout("of-global", 1, &[])).await;
        seed(&global, timeout("of-west", 1, &[(label::ZONE, "west"), (label::ORIGIN, "zone")])).await;
        let body = |value| mapper::encode_for_global(&timeout("t", value, &[]), "liar", &[]).expect("encodable").body;
        let applied = global.apply(Kind::MeshTimeout, &[body(1)], &[], true).await.expect("the store works");
        assert_eq!((applied.created, applied.deleted), (1, 0), "the Zone was created on the way");
        let name = tandem_model::name::hashed("default", "t", ["liar"]);
        let key = ResourceKey::new(Kind::MeshTimeout, "default", name);
        let present = global.store.get(&key).await.expect("readable").expect("created");
        assert_eq!(present.label(label::ZONE), Some("east"));
        assert_eq!(present.owner, Some(ResourceKey::global(Kind::Zone, "east")));

        let applied = global.apply(Kind::MeshTimeout, &[], &[], true).await.expect("the store works");
        assert_eq!(applied.deleted, 1);
        assert_eq!(stored(&global).await.len(), 2);
    }
}
