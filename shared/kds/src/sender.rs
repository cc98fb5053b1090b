//! The sending side of a synchronization stream, as a state machine without I/O.
//!
//! At most one response of a type is unanswered at any time. A response is built when it can be sent, from the newest
//! state, and never from a queue. What the peer has is remembered as names and digests.
//!
//! Source of the rules: Kuma `pkg/kds/v2/{server,reconcile,cache}` and the delta server of `go-control-plane`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::Revision;

use crate::catalogue::{Entry, Latest, News};
use crate::codec::{Encoded, Version};
use crate::wire::{ControlPlane, DeltaRequest, DeltaResponse};

/// Bytes that field headers add to each part of a response, at most.
const PART_OVERHEAD: usize = 6;
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

/// A request that names no type.
#[derive(Debug, thiserror::Error)]
#[error("type URL is required for ADS")]
pub(crate) struct NoType;

/// A response to be sent now, and what it is about.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) response: DeltaResponse,
    /// `None` for a type that is unknown or does not travel in this direction.
    pub(crate) kind: Option<Kind>,
    pub(crate) revision: Revision,
    /// How many resources of the type the peer has once it has this response.
    pub(crate) resources: usize,
}

/// Resources that cannot be sent, by key, with the reason; an empty reason means that it can be again.
pub(crate) type Failures = Vec<(ResourceKey, Option<String>)>;

#[derive(Debug)]
struct Sent {
    name: Arc<str>,
    version: Version,
}

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
    sent: HashMap<ResourceKey, Sent>,
    /// Which resource stands behind a name that the peer has.
    holders: HashMap<Arc<str>, ResourceKey>,
    /// What has to be compared with what the peer has.
    dirty: HashMap<ResourceKey, Latest>,
    /// Resources whose name for the peer is taken by another one.
    collided: HashMap<ResourceKey, Latest>,
    /// Resources reported as not sendable.
    failed: BTreeSet<ResourceKey>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct DeltaSender<O> {
    outlet: O,
    limit: usize,
    loaded: bool,
    revision: Revision,
    disabled_zones: Arc<BTreeSet<String>>,
    types: BTreeMap<String, TypeState>,
    nonce: u64,
    failures: Failures,
    oversized: Vec<(Kind, usize)>,
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
            revision: 0,
            disabled_zones: Arc::default(),
            types,
            nonce: 0,
            failures: Failures::new(),
            oversized: Vec::new(),
        }
    }

    /// Takes note of what changed in the store.
    pub(crate) fn absorb(&mut self, news: News) {
        self.loaded |= news.loaded;
        self.revision = news.revision;
        self.disabled_zones = news.disabled_zones;
        for (key, latest) in news.resources {
            if let Some(state) = self.types.get_mut(key.kind.name()) {
                state.blocked = false;
                state.dirty.insert(key, latest);
            }
        }
    }

    /// Takes note of a request.
    ///
    /// # Errors
    /// When it names no type.
    pub(crate) fn request(&mut self, request: DeltaRequest) -> Result<Meaning, NoType> {
        if request.type_url.is_empty() {
            return Err(NoType);
        }
        let state = self.types.entry(request.type_url).or_default();
        state.ready = true;
        if request.response_nonce.is_empty() {
            state.owes_first = true;
            if state.sent.is_empty() {
                state.announced = request.initial_resource_versions;
            }
            return Ok(Meaning::Subscribe);
        }
        Ok(match request.error_detail {
            None => Meaning::Ack,
            Some(detail) => Meaning::Nack(detail.message),
        })
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
            let context = Context {
                outlet: &self.outlet,
                limit: self.limit.saturating_sub(RESPONSE_OVERHEAD),
                disabled_zones: &self.disabled_zones,
            };
            let difference = match state.difference(&context, &mut self.failures) {
                Ok(difference) => difference,
                Err(bytes) => {
                    self.oversized.extend(state.kind.map(|kind| (kind, bytes)));
                    continue;
                }
            };
            if difference.is_empty() && !state.owes_first {
                continue;
            }
            state.ready = false;
            state.owes_first = false;
            self.nonce += 1;
            let response = DeltaResponse {
                resources: difference.resources,
                type_url: type_url.clone(),
                nonce: self.nonce.to_string(),
                removed_resources: difference.removed.iter().map(|name| name.to_string()).collect(),
                control_plane: Some(ControlPlane { identifier: self.outlet.identifier().to_owned() }),
            };
            return Some(Due { response, kind: state.kind, revision: self.revision, resources: state.sent.len() });
        }
        None
    }

    /// What could not be sent, or can be again, since the last call.
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
    disabled_zones: &'a BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Difference {
    resources: Vec<bytes::Bytes>,
    removed: BTreeSet<Arc<str>>,
    bytes: usize,
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }

    fn remove(&mut self, name: Arc<str>) {
        self.bytes += name.len() + PART_OVERHEAD;
        self.removed.insert(name);
    }
}

impl TypeState {
    fn has_work(&self) -> bool {
        self.ready && !self.blocked && (self.owes_first || !self.dirty.is_empty())
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
            let entry = latest.filter(|entry| context.outlet.admits(&entry.resource, context.disabled_zones));
            let Some(entry) = entry else {
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
        key: ResourceKey,
        entry: Arc<Entry>,
        encoded: &Encoded,
        difference: &mut Difference,
        failures: &mut Failures,
    ) {
        if let Some(holder) = self.holders.get(&encoded.name)
            && *holder != key
        {
            let reason = format!("{holder} has the same name {:?} on the other side", encoded.name);
            self.retract(&key, difference);
            self.collided.insert(key.clone(), Some(entry));
            return self.fail(key, reason, failures);
        }
        self.collided.remove(&key);
        self.recover(&key, failures);
        let sent = Sent { name: encoded.name.clone(), version: encoded.version };
        match self.sent.get(&key) {
            Some(known) if known.name == sent.name && known.version == sent.version => return,
            Some(known) if known.name != sent.name => self.retract(&key, difference),
            _ => {}
        }
        let announced = self.announced.get(&*encoded.name);
        if announced.is_none_or(|version| *version != hex::encode(encoded.version)) {
            difference.resources.push(encoded.body.clone());
            difference.bytes += encoded.body.len() + PART_OVERHEAD;
        }
        difference.removed.remove(&encoded.name);
        self.holders.insert(encoded.name.clone(), key.clone());
        self.sent.insert(key, sent);
    }

    /// Takes a resource away from the peer, if the peer has it.
    fn retract(&mut self, key: &ResourceKey, difference: &mut Difference) {
        let Some(sent) = self.sent.remove(key) else { return };
        self.holders.remove(&sent.name);
        difference.remove(sent.name);
        self.dirty.extend(self.collided.drain());
    }

    fn fail(&mut self, key: ResourceKey, reason: String, failures: &mut Failures) {
        self.failed.insert(key.clone());
        failures.push((key, Some(reason)));
    }

    fn recover(&mut self, key: &ResourceKey, failures: &mut Failures) {
        if self.failed.remove(key) {
            failures.push((key.clone(), None));
        }
    }
}

#[cfg(test)]
mod tests;
