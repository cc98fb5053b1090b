//! What a control plane may have to send, kept ready for all of its streams.
//!
//! One task reads the store's change feed and drops everything of types that do not travel. What remains is kept as
//! entries, shared by all streams, and each change is put into the mailbox of each stream. A mailbox holds at most one
//! entry for each resource: a slow stream finds the newest state when it is ready, however much happened meanwhile.
//! Locks are held for map operations only, never across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Zone;
use tandem_store::{ChangeBatch, ChangeFeed, Revision};
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::codec::Encoded;
use crate::filter;
use crate::pause::Disabled;

/// A resource that may travel, with its encoded forms once a stream has asked for them.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) resource: Arc<Resource>,
    /// Without and with a hash in the name.
    encoded: [OnceLock<Result<Arc<Encoded>, Arc<str>>>; 2],
}

impl Entry {
    pub(crate) fn new(resource: Arc<Resource>) -> Self {
        Self { resource, encoded: Default::default() }
    }

    /// The form that the first caller's `encode` made; `variant` tells forms that differ between streams apart.
    pub(crate) fn shared(
        &self,
        variant: bool,
        encode: impl FnOnce(&Resource) -> Result<Encoded, String>,
    ) -> Result<Arc<Encoded>, Arc<str>> {
        self.encoded[usize::from(variant)]
            .get_or_init(|| encode(&self.resource).map(Arc::new).map_err(Arc::from))
            .clone()
    }
}

/// Key of a resource, shared by all that remember it.
pub(crate) type Key = Arc<ResourceKey>;

/// Newest state of a resource; `None` when it is gone.
pub(crate) type Latest = Option<Arc<Entry>>;

/// What happened since a mailbox was last emptied.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The store was read at least once; before that an empty mailbox means nothing.
    pub(crate) loaded: bool,
    /// Revision of the store that this leads up to.
    pub(crate) revision: Revision,
    /// Resources that are new, changed or gone, or that have to be looked at again.
    pub(crate) resources: BTreeMap<Key, Latest>,
    /// Zones whose resources are withheld from others, by name.
    pub(crate) disabled_zones: Arc<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Mailbox {
    news: Mutex<News>,
    wake: Notify,
}

/// The end of a mailbox that a stream reads. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscription {
    mailbox: Arc<Mailbox>,
    catalogue: Arc<Catalogue>,
    id: u64,
}

impl Subscription {
    /// Waits until there is news since the last [`Self::take`]. Cancellation safe.
    pub(crate) async fn changed(&self) {
        self.mailbox.wake.notified().await;
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> News {
        let mut news = self.mailbox.news.lock();
        let next = News {
            loaded: news.loaded,
            revision: news.revision,
            resources: BTreeMap::new(),
            disabled_zones: news.disabled_zones.clone(),
        };
        std::mem::replace(&mut news, next)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.catalogue.state.lock().mailboxes.remove(&self.id);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Catalogue {
    travels: fn(Kind) -> bool,
    state: Mutex<State>,
    disabled: watch::Sender<Disabled>,
}

#[derive(Debug, Default)]
struct State {
    loaded: bool,
    revision: Revision,
    entries: BTreeMap<Key, Arc<Entry>>,
    disabled_zones: Arc<BTreeSet<String>>,
    mailboxes: BTreeMap<u64, Arc<Mailbox>>,
    next_id: u64,
}

impl State {
    /// The shared form of a key.
    fn key(&self, key: &ResourceKey) -> Key {
        self.entries.get_key_value(key).map_or_else(|| Arc::new(key.clone()), |(key, _)| key.clone())
    }
}

impl Catalogue {
    /// An empty catalogue of the kinds for which `travels` holds.
    pub(crate) fn new(travels: fn(Kind) -> bool) -> Arc<Self> {
        Arc::new(Self { travels, state: Mutex::default(), disabled: watch::Sender::new(None) })
    }

    /// Follows a feed that starts at revision 0, until the store is closed.
    pub(crate) async fn follow(&self, mut feed: ChangeFeed) {
        while let Some(batch) = feed.next().await {
            self.absorb(batch);
        }
    }

    /// Everything there is, and the disabled zones.
    pub(crate) fn entries(&self) -> (Vec<Arc<Entry>>, Arc<BTreeSet<String>>) {
        let state = self.state.lock();
        (state.entries.values().cloned().collect(), state.disabled_zones.clone())
    }

    /// The disabled zones, as they change.
    pub(crate) fn disabled_zones(&self) -> watch::Receiver<Disabled> {
        self.disabled.subscribe()
    }

    /// A mailbox that starts with everything there is.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscription {
        let mut state = self.state.lock();
        let news = News {
            loaded: state.loaded,
            revision: state.revision,
            resources: state.entries.iter().map(|(key, entry)| (key.clone(), Some(entry.clone()))).collect(),
            disabled_zones: state.disabled_zones.clone(),
        };
        let mailbox = Arc::new(Mailbox { news: Mutex::new(news), wake: Notify::new() });
        mailbox.wake.notify_one();
        let id = state.next_id;
        state.next_id += 1;
        state.mailboxes.insert(id, mailbox.clone());
        Subscription { mailbox, catalogue: self.clone(), id }
    }

    fn may_travel(&self, key: &ResourceKey) -> bool {
        (self.travels)(key.kind) && filter::may_travel(key)
    }

    fn absorb(&self, batch: ChangeBatch) {
        let mut state = self.state.lock();
        let mut changed: BTreeMap<Key, Latest> = BTreeMap::new();
        let mut disabled = (*state.disabled_zones).clone();
        state.revision = batch.revision();
        match batch {
            ChangeBatch::Changes { changes, .. } => {
                for change in changes {
                    note_zone(&mut disabled, &change.key, change.new.as_deref());
                    if self.may_travel(&change.key) {
                        let entry = change.new.clone().map(|resource| Arc::new(Entry::new(resource)));
                        changed.insert(state.key(&change.key), entry);
                    }
                }
            }
            ChangeBatch::Reset { resources, .. } => {
                disabled.clear();
                let mut gone: BTreeSet<Key> = state.entries.keys().cloned().collect();
                for resource in resources {
                    note_zone(&mut disabled, &resource.key, Some(&resource));
                    if !self.may_travel(&resource.key) {
                        continue;
                    }
                    gone.remove(&resource.key);
                    let known = state.entries.get(&resource.key);
                    if known.is_none_or(|entry| !Arc::ptr_eq(&entry.resource, &resource)) {
                        changed.insert(state.key(&resource.key), Some(Arc::new(Entry::new(resource))));
                    }
                }
                changed.extend(gone.into_iter().map(|key| (key, None)));
            }
        }
        for (key, latest) in &changed {
            match latest {
                Some(entry) => state.entries.insert(key.clone(), entry.clone()),
                None => state.entries.remove(key),
            };
        }
        let switched: BTreeSet<String> = disabled.symmetric_difference(&state.disabled_zones).cloned().collect();
        if !switched.is_empty() {
            state.disabled_zones = Arc::new(disabled);
            // What those zones offer has to be judged again by the streams of all other zones.
            for (key, entry) in &state.entries {
                let across = key.kind.descriptor().direction.across_zones();
                if across && switched.contains(&filter::source_zone(&entry.resource)) {
                    changed.entry(key.clone()).or_insert_with(|| Some(entry.clone()));
                }
            }
        }
        let first = !std::mem::replace(&mut state.loaded, true);
        if first || !switched.is_empty() {
            self.disabled.send_replace(Some(state.disabled_zones.clone()));
        }
        if changed.is_empty() && !first {
            return;
        }
        for mailbox in state.mailboxes.values() {
            let mut news = mailbox.news.lock();
            news.loaded = true;
            news.revision = state.revision;
            news.disabled_zones = state.disabled_zones.clone();
            news.resources.extend(changed.iter().map(|(key, latest)| (key.clone(), latest.clone())));
            drop(news);
            mailbox.wake.notify_one();
        }
    }
}

/// Keeps the set of disabled zones: a zone is enabled unless it says otherwise, or does not exist.
fn note_zone(disabled: &mut BTreeSet<String>, key: &ResourceKey, zone: Option<&Resource>) {
    if key.kind != Kind::Zone {
        return;
    }
    let enabled = match zone.map(Resource::proto::<Zone>) {
        Some(Ok(zone)) => zone.enabled.unwrap_or(true),
        Some(Err(error)) => {
            warn!(%error, "cannot read whether a zone is enabled; taking it as enabled");
            true
        }
        None => true,
    };
    if enabled {
        disabled.remove(&key.name);
    } else {
        disabled.insert(key.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_model::label;
    use tandem_store::{MemoryStore, Store, Write};

    use super::*;

    fn travels(kind: Kind) -> bool {
        kind.descriptor().direction.sent_to_zones()
    }

    fn service(name: &str, zone: &str, value: u32) -> Resource {
        Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), json!({"value": value}))
            .with_labels([(label::ZONE, zone), (label::ORIGIN, "zone")])
    }

    fn zone(name: &str, enabled: Option<bool>) -> Resource {
        Resource::from_proto(ResourceKey::global(Kind::Zone, name), &Zone { enabled })
    }

    async fn put(store: &MemoryStore, resource: Resource) {
        store.commit(vec![Write::Put(resource)]).await.expect("a valid write");
    }

    fn names(news: &News) -> Vec<(&str, bool)> {
        let mut names: Vec<_> =
            news.resources.iter().map(|(key, latest)| (key.name.as_str(), latest.is_some())).collect();
        names.sort_unstable();
        names
    }

    /// Delivers everything committed so far.
    fn deliver(catalogue: &Catalogue, feed: &mut ChangeFeed) {
        while let Some(batch) = feed.pending() {
            catalogue.absorb(batch);
        }
    }

    #[tokio::test]
    async fn a_mailbox_holds_the_newest_state_once() {
        let store = MemoryStore::new();
        let catalogue = Catalogue::new(travels);
        let mut feed = store.changes(0);
        let early = catalogue.subscribe();
        assert!(!early.take().loaded);
        put(&store, service("a", "east", 1)).await;
        deliver(&catalogue, &mut feed);
        put(&store, service("a", "east", 2)).await;
        put(&store, service("b", "east", 1)).await;
        put(
            &store,
            Resource::new(ResourceKey::new(Kind::Dataplane, "m", "d"), tandem_model::Spec::Proto(Default::default())),
        )
        .await;
        store
            .commit(vec![Write::Delete { key: service("b", "east", 1).key, expected: None }])
            .await
            .expect("it exists");
        deliver(&catalogue, &mut feed);

        let news = early.take();
        assert!(news.loaded);
        assert_eq!(names(&news), [("a", true), ("b", false)]);
        let latest = news.resources[&service("a", "east", 2).key].as_ref().expect("present");
        assert_eq!(latest.resource.spec, service("a", "east", 2).spec);
        assert!(early.take().resources.is_empty());

        let late = catalogue.subscribe();
        assert_eq!(names(&late.take()), [("a", true)]);
    }

    #[tokio::test]
    async fn a_switched_zone_brings_up_what_it_offers() {
        let store = MemoryStore::new();
        let catalogue = Catalogue::new(travels);
        let mut feed = store.changes(0);
        put(&store, zone("east", None)).await;
        put(&store, service("a", "east", 1)).await;
        put(&store, service("b", "west", 1)).await;
        deliver(&catalogue, &mut feed);
        let subscription = catalogue.subscribe();
        assert!(subscription.take().disabled_zones.is_empty());

        put(&store, zone("east", Some(false))).await;
        deliver(&catalogue, &mut feed);
        let news = subscription.take();
        assert_eq!(names(&news), [("a", true)]);
        assert!(news.disabled_zones.contains("east"));

        store.commit(vec![Write::Delete { key: zone("east", None).key, expected: None }]).await.expect("it exists");
        deliver(&catalogue, &mut feed);
        let news = subscription.take();
        assert_eq!(names(&news), [("a", true)]);
        assert!(news.disabled_zones.is_empty());
    }

    #[tokio::test]
    async fn encoding_happens_once_for_all_streams() {
        let entry = Entry::new(Arc::new(service("a", "east", 1)));
        let mut calls = 0;
        for _ in 0..2 {
            let encoded = entry.shared(true, |resource| {
                calls += 1;
                crate::mapper::encode_for_zones(resource, true, &[])
            });
            assert!(encoded.is_ok());
        }
        assert_eq!(calls, 1);
        let failed = entry.shared(false, |_| Err("broken".into()));
        assert_eq!(failed.err().as_deref(), Some("broken"));
    }
}
