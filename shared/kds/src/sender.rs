//! The sending side of a synchronization stream, as a state machine without I/O.
//!
//! At most one response of a type is unanswered at any time. A response is built when it can be sent, from the newest
//! state, and never from a queue. What the peer has is remembered as names and digests.
//!
//! Source of the rules: Kuma `pkg/kds/v2/{server,reconcile,cache}` and the delta server of `go-control-plane`.

mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Revision, StoreId};

use self::progress::Progress;
pub(crate) use self::progress::Standing;
use crate::catalogue::{Entry, Key, Latest, News};
use crate::codec::{Encoded, Head, Version};
use crate::origin::Origin;
use crate::wire::{ControlPlane, DeltaRequest, DeltaResponse};

/// Bytes that field headers add to each part of a response, at most.
const PART_OVERHEAD: usize = 6;
/// Types that the peer may subscribe to although they do not travel in this direction or are not known here.
const MAX_FOREIGN_TYPES: usize = 64;
/// Bytes of a response besides its parts, at most.
const RESPONSE_OVERHEAD: usize = 1024;

/// What differs between the two directions.
pub(crate) trait Outlet: Send + 'static {
    /// How this control plane names itself in responses.
    fn identifier(&self) -> &str;
    /// True for kinds that travel in this direction.
    fn sends(&self, kind: Kind) -> bool;
    /// True when the peer gets this resource.
    fn admits(&self, resource: &Resource, disabled_zones: &BTreeSet<String>) -> bool;
    /// The resource as the peer gets it.
    fn encode(&self, entry: &Entry) -> Result<Arc<Encoded>, Arc<str>>;
}

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The first request for a type.
    Subscribe,
    /// The last response was applied.
    Ack,
    /// The last response, or parts of it, were rejected.
    Nack(String),
}

/// A request that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("type URL is required for ADS")]
    NoType,
    #[error("subscriptions to more than {MAX_FOREIGN_TYPES} types that this control plane does not know")]
    ForeignTypes,
    #[error("initial_resource_versions of more than {0} bytes")]
    Announced(usize),
}

/// A response to be sent now, and what it is about.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) response: DeltaResponse,
    /// `None` for a type that is unknown or does not travel in this direction.
    pub(crate) kind: Option<Kind>,
    /// How many resources of the type the peer has once it has this response.
    pub(crate) resources: usize,
}

/// Versions of resources by the names that the peer knows, by type.
pub(crate) type Confirmed = BTreeMap<Kind, HashMap<Arc<str>, Version>>;

/// Resources that cannot be sent or were rejected, by key, with the reason; no reason means that it is over.
pub(crate) type Failures = Vec<(ResourceKey, Option<String>)>;

#[derive(Debug, Default)]
struct TypeState {
    kind: Option<Kind>,
    /// The peer asked, and has got no response since.
    ready: bool,
    /// The peer subscribed and is owed a response even if it is empty.
    owes_first: bool,
    /// The first response would be too large; wait for a change.
    blocked: bool,
    /// Versions that the peer said to have when it subscribed.
    announced: BTreeMap<String, String>,
    /// What the peer has.
    sent: HashMap<Key, Arc<Head>>,
    /// Which resource stands behind a name that the peer has.
    holders: HashMap<Arc<str>, Key>,
    /// What has to be compared with what the peer has.
    dirty: BTreeMap<Key, Latest>,
    /// Resources whose name for the peer is taken by another one.
    collided: BTreeMap<Key, Latest>,
    /// Resources reported as not sendable.
    failed: BTreeSet<Key>,
    /// What is not confirmed.
    progress: Progress,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct DeltaSender<O> {
    outlet: O,
    limit: usize,
    loaded: bool,
    /// Told to the peer.
    store: Option<StoreId>,
    revision: Revision,
    types: BTreeMap<String, TypeState>,
    nonce: u64,
    failures: Failures,
    oversized: Vec<(Kind, usize)>,
    /// Types whose [`Standing`] has changed.
    moved: BTreeSet<Kind>,
}

impl<O: Outlet> DeltaSender<O> {
    /// A sender for one stream, whose responses are no larger than `limit` bytes.
    pub(crate) fn new(outlet: O, limit: usize) -> Self {
        let types = Kind::all()
            .filter(|&kind| outlet.sends(kind))
            .map(|kind| (kind.name().to_owned(), TypeState { kind: Some(kind), ..TypeState::default() }))
            .collect();
        Self {
            outlet,
            limit,
            loaded: false,
            store: None,
            revision: 0,
            types,
            nonce: 0,
            failures: Failures::new(),
            oversized: Vec::new(),
            moved: BTreeSet::new(),
        }
    }

    /// Tells the peer that what it gets is of this store.
    pub(crate) fn of(self, store: StoreId) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Takes note of what changed in the store, as far as it concerns the peer.
    pub(crate) fn absorb(&mut self, news: News) {
        self.loaded |= news.loaded;
        let before = std::mem::replace(&mut self.revision, news.revision);
        for (key, latest) in news.resources {
            let Some(state) = self.types.get_mut(key.kind.name()) else { continue };
            let latest = latest.filter(|entry| self.outlet.admits(&entry.resource, &news.disabled_zones));
            if latest.is_some() || state.is_known(&key) {
                // What was written earlier is looked at again, because of something else that changed.
                let written = latest.as_ref().map(|entry| entry.resource.version).filter(|written| *written > before);
                state.progress.changed(written.unwrap_or(news.revision));
                self.moved.insert(key.kind);
                state.blocked = false;
                state.dirty.insert(key, latest);
            } else if state.dirty.remove(&key).is_some() {
                // What was too much without it may fit now.
                state.blocked = false;
                state.progress.reflects(news.revision);
                state.progress.compared(state.has_rest());
                self.moved.insert(key.kind);
            }
        }
    }

    /// Takes note of a request.
    ///
    /// # Errors
    /// When it names no type, or there would be too much to remember.
    pub(crate) fn request(&mut self, request: DeltaRequest) -> Result<Meaning, BadRequest> {
        if request.type_url.is_empty() {
            return Err(BadRequest::NoType);
        }
        let foreign = |types: &BTreeMap<String, TypeState>| types.values().filter(|state| state.kind.is_none()).count();
        if !self.types.contains_key(&request.type_url) && foreign(&self.types) >= MAX_FOREIGN_TYPES {
            return Err(BadRequest::ForeignTypes);
        }
        if !request.initial_resource_versions.is_empty() {
            let announced =
                self.types.values().map(|state| &state.announced).chain([&request.initial_resource_versions]);
            let bytes: usize = announced.flatten().map(|(name, version)| name.len() + version.len()).sum();
            if bytes > self.limit {
                return Err(BadRequest::Announced(self.limit));
            }
        }
        let state = self.types.entry(request.type_url).or_default();
        state.ready = true;
        self.moved.extend(state.kind);
        if request.response_nonce.is_empty() {
            state.owes_first = true;
            state.progress.subscribed();
            if state.sent.is_empty() {
                state.announced = request.initial_resource_versions;
            }
            return Ok(Meaning::Subscribe);
        }
        let rejection = request.error_detail.map(|detail| detail.message);
        if let Some(kind) = state.kind {
            let holders = |name: &str| state.holders.get(name).map(|key| (**key).clone());
            let noted = &mut self.failures;
            state.progress.answered(kind, &request.response_nonce, rejection.as_deref(), holders, noted);
        }
        Ok(rejection.map_or(Meaning::Ack, Meaning::Nack))
    }

    /// True when [`Self::next_response`] may have something.
    pub(crate) fn has_work(&self) -> bool {
        self.loaded && self.types.values().any(TypeState::has_work)
    }

    /// Builds the next response; `None` when nothing that the peer waits for has changed.
    pub(crate) fn next_response(&mut self) -> Option<Due> {
        if !self.loaded {
            return None;
        }
        for (type_url, state) in &mut self.types {
            if !state.has_work() {
                continue;
            }
            let context = Context { outlet: &self.outlet, limit: self.limit.saturating_sub(RESPONSE_OVERHEAD) };
            let difference = match state.difference(&context, &mut self.failures) {
                Ok(difference) => difference,
                Err(bytes) => {
                    self.oversized.extend(state.kind.map(|kind| (kind, bytes)));
                    continue;
                }
            };
            self.moved.extend(state.kind);
            if difference.is_empty() && !state.owes_first {
                state.progress.compared(!state.dirty.is_empty());
                continue;
            }
            if state.owes_first {
                // A full state also tells what is gone, which nothing that exists dates.
                state.progress.reflects(self.revision);
            }
            state.ready = false;
            state.owes_first = false;
            self.nonce += 1;
            state.progress.sent(&self.nonce.to_string(), difference.names(), !state.dirty.is_empty());
            let origin = self.store.map(|store| Origin { store, revision: self.revision });
            let response = DeltaResponse {
                system_version_info: origin.map(|origin| origin.to_string()).unwrap_or_default(),
                resources: difference.resources,
                type_url: type_url.clone(),
                nonce: self.nonce.to_string(),
                removed_resources: difference.removed.iter().map(|name| name.to_string()).collect(),
                control_plane: Some(ControlPlane { identifier: self.outlet.identifier().to_owned() }),
            };
            return Some(Due { response, kind: state.kind, resources: state.sent.len() });
        }
        None
    }

    /// How far the peer is, of each type for which that has changed since the last call.
    pub(crate) fn take_moved(&mut self) -> Vec<(Kind, Standing)> {
        let moved = std::mem::take(&mut self.moved).into_iter();
        moved.filter_map(|kind| Some((kind, self.types.get(kind.name())?.standing()))).collect()
    }

    /// What the peer has confirmed to have; the sender is of no use afterwards.
    pub(crate) fn take_confirmed(&mut self) -> Confirmed {
        let types = std::mem::take(&mut self.types).into_values();
        types.filter_map(|state| Some((state.kind?, state.into_confirmed()))).collect()
    }

    /// What was not sent or was rejected, or is not any more, since the last call.
    pub(crate) fn take_failures(&mut self) -> Failures {
        std::mem::take(&mut self.failures)
    }

    /// Types whose first response is larger than a message may be, with its size in bytes, since the last call.
    pub(crate) fn take_oversized(&mut self) -> Vec<(Kind, usize)> {
        std::mem::take(&mut self.oversized)
    }
}

struct Context<'a, O> {
    outlet: &'a O,
    limit: usize,
}

#[derive(Debug, Default)]
struct Difference {
    resources: Vec<bytes::Bytes>,
    /// Names of `resources`.
    added: Vec<Arc<str>>,
    removed: BTreeSet<Arc<str>>,
    bytes: usize,
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }

    /// Names of all resources that the response is about.
    fn names(&self) -> Vec<Arc<str>> {
        self.added.iter().chain(&self.removed).cloned().collect()
    }

    fn remove(&mut self, name: Arc<str>) {
        self.bytes += name.len() + PART_OVERHEAD;
        self.removed.insert(name);
    }
}

impl TypeState {
    fn has_work(&self) -> bool {
        self.ready && !self.blocked && self.has_rest()
    }

    /// True when something waits to be compared or sent.
    fn has_rest(&self) -> bool {
        self.owes_first || !self.dirty.is_empty()
    }

    /// True when a resource has to be looked at although the peer is not to have it.
    fn is_known(&self, key: &ResourceKey) -> bool {
        self.sent.contains_key(key) || self.failed.contains(key) || self.collided.contains_key(key)
    }

    fn standing(&self) -> Standing {
        self.progress.standing(self.dirty.len())
    }

    fn into_confirmed(self) -> HashMap<Arc<str>, Version> {
        let sent = self.sent.into_values().filter(|sent| self.progress.is_confirmed(&sent.name));
        sent.map(|sent| (sent.name.clone(), sent.version)).collect()
    }

    /// Difference between what the peer has and what it should have, as far as it fits into one response; what does not
    /// fit stays dirty. A first response has to be complete: if it does not fit, nothing changes and its size is the error.
    fn difference<O: Outlet>(
        &mut self,
        context: &Context<'_, O>,
        failures: &mut Failures,
    ) -> Result<Difference, usize> {
        let mut wanted = Vec::new();
        let mut unwanted = Vec::new();
        let mut bytes = 0;
        for (key, latest) in std::mem::take(&mut self.dirty) {
            let Some(entry) = latest else {
                unwanted.push(key);
                continue;
            };
            let encoded = context.outlet.encode(&entry).and_then(|encoded| {
                let size = encoded.body.len();
                if size > context.limit {
                    return Err(format!("{size} bytes are more than a message may have ({})", context.limit).into());
                }
                Ok(encoded)
            });
            match encoded {
                Ok(encoded) => {
                    bytes += encoded.body.len() + PART_OVERHEAD;
                    wanted.push((key, entry, encoded));
                }
                // The peer keeps what it has.
                Err(reason) => self.fail(key, reason.to_string(), failures),
            }
        }
        if self.owes_first && bytes > context.limit {
            self.dirty.extend(wanted.into_iter().map(|(key, entry, _)| (key, Some(entry))));
            self.dirty.extend(unwanted.into_iter().map(|key| (key, None)));
            self.blocked = true;
            return Err(bytes);
        }

        let mut difference = Difference::default();
        for key in unwanted {
            self.recover(&key, failures);
            self.collided.remove(&key);
            self.retract(&key, &mut difference);
        }
        for (key, entry, encoded) in wanted {
            if difference.bytes + encoded.body.len() + PART_OVERHEAD > context.limit && !self.owes_first {
                self.dirty.insert(key, Some(entry));
                continue;
            }
            self.offer(key, entry, &encoded, &mut difference, failures);
        }
        for name in std::mem::take(&mut self.announced).into_keys() {
            if !self.holders.contains_key(name.as_str()) {
                difference.remove(name.into());
            }
        }
        Ok(difference)
    }

    /// Adds a resource unless the peer has it like that.
    fn offer(
        &mut self,
        key: Key,
        entry: Arc<Entry>,
        encoded: &Encoded,
        difference: &mut Difference,
        failures: &mut Failures,
    ) {
        let head = &encoded.head;
        if let Some(holder) = self.holders.get(&head.name)
            && *holder != key
        {
            let reason = format!("{holder} has the same name {:?} on the other side", head.name);
            self.retract(&key, difference);
            self.collided.insert(key.clone(), Some(entry));
            return self.fail(key, reason, failures);
        }
        self.collided.remove(&key);
        self.recover(&key, failures);
        match self.sent.get(&key) {
            Some(known) if known == head => return,
            Some(known) if known.name != head.name => self.retract(&key, difference),
            _ => {}
        }
        let announced = self.announced.get(&*head.name);
        if announced.is_none_or(|version| *version != hex::encode(head.version)) {
            difference.resources.push(encoded.body.clone());
            difference.added.push(head.name.clone());
            difference.bytes += encoded.body.len() + PART_OVERHEAD;
        }
        difference.removed.remove(&head.name);
        self.holders.insert(head.name.clone(), key.clone());
        self.sent.insert(key, head.clone());
    }

    /// Takes a resource away from the peer, if the peer has it.
    fn retract(&mut self, key: &ResourceKey, difference: &mut Difference) {
        let Some(sent) = self.sent.remove(key) else { return };
        self.holders.remove(&sent.name);
        difference.remove(sent.name.clone());
        self.dirty.append(&mut self.collided);
    }

    fn fail(&mut self, key: Key, reason: String, failures: &mut Failures) {
        failures.push(((*key).clone(), Some(reason)));
        self.failed.insert(key);
    }

    fn recover(&mut self, key: &ResourceKey, failures: &mut Failures) {
        if self.failed.remove(key) {
            failures.push((key.clone(), None));
        }
    }
}

#[cfg(test)]
mod tests;
