//! Gathering the encoded resources of one proxy.

use std::any::Any;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use prost::Message as _;
use tandem_policy::envoy::{ClusterDraft, Draft, DraftSet, ListenerDraft};

use super::Cache;
use crate::encoded::{Encoded, ResourceSet, ResourceType};
use crate::index::ServiceKey;
use crate::input::Generated;

/// The resources of one proxy as they come together.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    cache: &'a Cache,
    previous: Option<&'a Generated>,
    resources: Vec<(ResourceType, Arc<Encoded>)>,
    own: Vec<(u64, ResourceType, Arc<Encoded>)>,
    shared: Vec<Arc<dyn Any + Send + Sync>>,
    services: BTreeSet<ServiceKey>,
    warnings: Vec<String>,
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
            warnings: Vec::new(),
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

    /// Keeps a value in the cache for as long as the result is used.
    pub fn keep(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.shared.push(value);
    }

    /// Notes that the endpoints of a service are used.
    pub fn uses(&mut self, mesh: &str, service: &str) {
        self.services.insert((mesh.to_owned(), service.to_owned()));
    }

    /// Notes what is wrong with policies.
    pub fn warn(&mut self, warnings: &[String]) {
        self.warnings.extend_from_slice(warnings);
    }

    /// The result.
    pub fn finish(mut self) -> Generated {
        self.own.shrink_to_fit();
        self.shared.shrink_to_fit();
        Generated {
            resources: ResourceSet::collect(self.resources),
            services: self.services,
            warnings: self.warnings,
            own: self.own,
            _shared: self.shared,
        }
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
    Arc::new(Encoded::new(ResourceType::Cluster, name, &draft.value.encode()))
}

/// Encodes a listener.
pub(crate) fn encode_listener(draft: &Draft<ListenerDraft>) -> Arc<Encoded> {
    let name = draft.value.message.name.as_str();
    Arc::new(Encoded::new(ResourceType::Listener, name, &draft.value.encode()))
}
