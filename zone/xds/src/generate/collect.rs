//! Gathering the encoded resources of one proxy.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{Address, address, socket_address};
use foldhash::fast::RandomState;
use prost::Message as _;
use tandem_model::ResourceKey;
use tandem_policy::envoy::{ClusterDraft, Draft, DraftSet, ListenerDraft};

use super::Cache;
use super::credential::Credential;
use crate::encoded::{Encoded, ResourceSet, ResourceType};
use crate::index::ServiceKey;
use crate::input::{Generated, Warning};

/// The resources of one proxy as they come together.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    cache: &'a Cache,
    previous: Option<&'a Generated>,
    resources: Vec<(ResourceType, Arc<Encoded>)>,
    own: Vec<(u64, ResourceType, Arc<Encoded>)>,
    shared: Vec<Arc<dyn Any + Send + Sync>>,
    services: BTreeSet<ServiceKey>,
    /// Names of secrets that resources refer to.
    secrets: BTreeSet<Arc<str>>,
    warnings: Vec<Warning>,
    /// What several proxies have in common, and how many of `resources` come before it.
    included: Option<(usize, Arc<Gathered>)>,
}

/// What was collected for several proxies.
#[derive(Debug)]
pub(crate) struct Gathered {
    resources: ResourceSet,
    /// Addresses of the listeners among them.
    sockets: HashSet<Arc<str>, RandomState>,
    services: Arc<BTreeSet<ServiceKey>>,
    secrets: BTreeSet<Arc<str>>,
    warnings: Vec<Warning>,
    _shared: Vec<Arc<dyn Any + Send + Sync>>,
}

/// The resources of a proxy, in their order.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its own before what it has in common with others.
    pub before: Vec<(ResourceType, Arc<Encoded>)>,
    /// What it has in common with others.
    pub common: Option<Arc<Gathered>>,
    /// Its own after that.
    pub after: Vec<(ResourceType, Arc<Encoded>)>,
}

impl Gathered {
    /// The resources.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceType, Arc<Encoded>)> {
        self.resources.iter().map(|(resource_type, resource)| (resource_type, resource.clone()))
    }

    /// Takes lists of resources of another one over in the place of those that are alike.
    pub fn share(&mut self, other: &Self) {
        self.resources.share(&other.resources);
    }

    /// True when nobody can tell one from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.resources.is_same(&other.resources)
            && self.services == other.services
            && self.secrets == other.secrets
            && self.warnings == other.warnings
    }

    /// True when a resource has the name or the address of one of these.
    fn clashes_with(&self, resource_type: ResourceType, resource: &Encoded) -> bool {
        self.resources.get(resource_type, &resource.name).is_some()
            || resource.listens_on.as_ref().is_some_and(|socket| self.sockets.contains(socket))
    }
}

impl<'a> Collector<'a> {
    pub fn new(cache: &'a Cache, previous: Option<&'a Generated>) -> Self {
        Self {
            cache,
            previous,
            resources: Vec::new(),
            own: Vec::new(),
            shared: Vec::new(),
            services: BTreeSet::new(),
            secrets: BTreeSet::new(),
            warnings: Vec::new(),
            included: None,
        }
    }

    /// What was computed for other proxies.
    pub fn cache(&self) -> &'a Cache {
        self.cache
    }

    /// Adds what was collected for several proxies; once at most.
    pub fn include(&mut self, gathered: Arc<Gathered>) {
        self.secrets.extend(gathered.secrets.iter().cloned());
        gathered.warnings.iter().cloned().for_each(|warning| self.note(warning));
        self.included = Some((self.resources.len(), gathered));
    }

    /// Makes what is included part of the proxy's own. Which services are used stays apart.
    fn dissolve(&mut self) {
        if let Some((position, gathered)) = &self.included {
            let included = gathered.resources.iter().map(|(resource_type, resource)| (resource_type, resource.clone()));
            self.resources.splice(position..position, included);
        }
    }

    /// Adds a resource that other proxies have too.
    pub fn add(&mut self, resource_type: ResourceType, resource: Arc<Encoded>) {
        self.resources.push((resource_type, resource));
    }

    /// Adds resources that belong to this proxy alone. `input` is everything they are built from, with a name for the part: if
    /// it is as it was last time, the resources of last time are taken over.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn own<E>(
        &mut self,
        part: &'static str,
        input: impl Hash,
        build: impl FnOnce(&mut DraftSet) -> Result<(), E>,
    ) -> Result<(), E> {
        let fingerprint = self.cache.fingerprints.of((part, input));
        if !self.take_over(fingerprint) {
            let mut set = DraftSet::default();
            build(&mut set)?;
            self.add_own(fingerprint, encode(&set));
        }
        Ok(())
    }

    /// As [`Collector::own`], for resources that come encoded.
    pub fn own_encoded<I>(&mut self, part: &'static str, input: impl Hash, build: impl FnOnce() -> I)
    where
        I: IntoIterator<Item = (ResourceType, Arc<Encoded>)>,
    {
        let fingerprint = self.cache.fingerprints.of((part, input));
        if !self.take_over(fingerprint) {
            self.add_own(fingerprint, build());
        }
    }

    /// Takes over the resources with a fingerprint from last time; false when there are none.
    fn take_over(&mut self, fingerprint: u64) -> bool {
        let Some(previous) = self.previous else { return false };
        let same = previous.own.iter().filter(|(of, ..)| *of == fingerprint);
        let before = self.own.len();
        self.own.extend(same.cloned());
        let taken = self.own[before..].iter().map(|(_, resource_type, resource)| (*resource_type, resource.clone()));
        self.resources.extend(taken);
        self.own.len() > before
    }

    fn add_own(&mut self, fingerprint: u64, resources: impl IntoIterator<Item = (ResourceType, Arc<Encoded>)>) {
        for (resource_type, resource) in resources {
            self.resources.push((resource_type, resource.clone()));
            self.own.push((fingerprint, resource_type, resource));
        }
    }

    /// Takes away the resources gathered so far, to be added and included again.
    pub fn take_parts(&mut self) -> Parts {
        let mut before = std::mem::take(&mut self.resources);
        let (position, common) = match self.included.take() {
            Some((position, common)) => (position, Some(common)),
            None => (before.len(), None),
        };
        let after = before.split_off(position);
        Parts { before, common, after }
    }

    /// Keeps a value in the cache for as long as the result is used.
    pub fn keep(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.shared.push(value);
    }

    /// Notes that a resource refers to the secrets of a credential.
    pub fn secured_by(&mut self, credential: &Credential) {
        for secret in [&credential.identity, &credential.authority] {
            if !self.secrets.contains(secret) {
                self.secrets.insert(secret.clone());
            }
        }
    }

    /// True when a resource refers to a secret.
    pub fn needs_secret(&self, name: &str) -> bool {
        self.secrets.contains(name)
    }

    /// Notes that the endpoints of a service are used.
    pub fn uses(&mut self, mesh: &str, service: &str) {
        self.services.insert((mesh.to_owned(), service.to_owned()));
    }

    /// Notes what is left out of the proxy's own resource, and policies without effect; the text names what.
    pub fn warn(&mut self, warnings: &[String]) {
        for reason in warnings {
            self.note(Warning { resource: None, reason: reason.clone() });
        }
    }

    /// Notes that a resource cannot be turned into configuration and is left out.
    pub fn left_out(&mut self, resource: &ResourceKey, reason: impl ToString) {
        self.note(Warning { resource: Some(resource.clone()), reason: reason.to_string() });
    }

    fn note(&mut self, warning: Warning) {
        // There are few; looking at all is cheaper than to keep a set.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Leaves out listeners whose address another one of the proxy has: the first in order of appearance stays. Envoy would refuse
    /// the later ones, or take one in the place of the other.
    fn without_clashes(&mut self) {
        let mut taken: HashMap<Arc<str>, Arc<Encoded>, RandomState> = HashMap::default();
        let mut clashes = Vec::new();
        self.resources.retain(|(_, resource)| {
            let Some(socket) = &resource.listens_on else { return true };
            match taken.entry(socket.clone()) {
                Entry::Vacant(free) => {
                    free.insert(resource.clone());
                    true
                }
                // The same listener for two reasons.
                Entry::Occupied(first) if first.get().version == resource.version => true,
                Entry::Occupied(first) => {
                    clashes.push((resource.name.clone(), socket.clone(), first.get().name.clone()));
                    false
                }
            }
        });
        for (name, socket, first) in clashes {
            let whose =
                if name == first { "another part of the proxy".to_owned() } else { format!("the listener {first:?}") };
            let reason = format!(
                "the listener {name:?} is left out: its address {socket} is already taken by {whose}, which comes first; \
                 give one of them another port or address"
            );
            self.note(Warning { resource: None, reason });
        }
    }

    /// The result, for the same proxies as what was gathered before, with everything of that but the resources.
    pub fn gather_as(mut self, earlier: &Gathered) -> Gathered {
        earlier.warnings.iter().cloned().for_each(|warning| self.note(warning));
        Gathered { services: earlier.services.clone(), secrets: earlier.secrets.clone(), ..self.gather() }
    }

    /// The result, for several proxies.
    pub fn gather(mut self) -> Gathered {
        self.without_clashes();
        self.shared.shrink_to_fit();
        Gathered {
            sockets: self.resources.iter().filter_map(|(_, resource)| resource.listens_on.clone()).collect(),
            resources: ResourceSet::collect(self.resources),
            services: Arc::new(self.services),
            secrets: self.secrets,
            warnings: self.warnings,
            _shared: self.shared,
        }
    }

    /// The result.
    pub fn finish(mut self) -> Generated {
        let clashes = |(_, included): &(usize, Arc<Gathered>)| {
            self.resources.iter().any(|(resource_type, resource)| included.clashes_with(*resource_type, resource))
        };
        let is_apart = !self.included.as_ref().is_some_and(clashes);
        if !is_apart {
            self.dissolve();
        }
        self.without_clashes();
        self.own.shrink_to_fit();
        self.shared.shrink_to_fit();
        let own = ResourceSet::collect(self.resources);
        let mut services = Arc::new(self.services);
        let mut others = &ResourceSet::default();
        if let Some((_, included)) = &self.included {
            if is_apart {
                others = &included.resources;
            }
            if services.is_subset(&included.services) {
                services = included.services.clone();
            } else {
                Arc::make_mut(&mut services).extend(included.services.iter().cloned());
            }
        }
        let previous = self.previous.map(|previous| (&previous.resources, &previous.joined));
        let (resources, joined) = own.joined(others, previous);
        Generated { resources, joined, services, warnings: self.warnings, own: self.own, _shared: self.shared }
    }
}

/// Encodes everything in a set.
pub(crate) fn encode(set: &DraftSet) -> Vec<(ResourceType, Arc<Encoded>)> {
    let mut encoded = Vec::new();
    for draft in set.clusters.values() {
        encoded.push((ResourceType::Cluster, encode_cluster(draft)));
    }
    for (name, draft) in &set.assignments {
        let message = draft.value.encode();
        encoded.push((ResourceType::Endpoint, Arc::new(Encoded::new(ResourceType::Endpoint, name.as_str(), &message))));
    }
    for draft in set.listeners.values() {
        encoded.push((ResourceType::Listener, encode_listener(draft)));
    }
    for (name, draft) in &set.routes {
        let message = draft.value.encode_to_vec();
        encoded.push((ResourceType::Route, Arc::new(Encoded::new(ResourceType::Route, name.as_str(), &message))));
    }
    for (name, draft) in &set.secrets {
        let message = draft.value.encode_to_vec();
        encoded.push((ResourceType::Secret, Arc::new(Encoded::new(ResourceType::Secret, name.as_str(), &message))));
    }
    encoded
}

/// Encodes a cluster.
pub(crate) fn encode_cluster(draft: &Draft<ClusterDraft>) -> Arc<Encoded> {
    let name = draft.value.message.name.as_str();
    Arc::new(Encoded::new(ResourceType::Cluster, name, &draft.value.encode()).from_origin(draft.origin))
}

/// Encodes a listener.
pub(crate) fn encode_listener(draft: &Draft<ListenerDraft>) -> Arc<Encoded> {
    let message = &draft.value.message;
    let socket = message.address.as_ref().and_then(socket);
    let encoded = Encoded::listener(message.name.as_str(), socket, &draft.value.encode());
    Arc::new(encoded.from_origin(draft.origin))
}

/// An address as text: two listeners of a proxy cannot have the same.
pub(crate) fn socket(address: &Address) -> Option<Arc<str>> {
    let address::Address::SocketAddress(socket) = address.address.as_ref()? else { return None };
    let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    let address = &socket.address;
    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let is_udp = socket.protocol == i32::from(socket_address::Protocol::Udp);
    Some(format!("{host}:{port}{}", if is_udp { "/udp" } else { "" }).into())
}
