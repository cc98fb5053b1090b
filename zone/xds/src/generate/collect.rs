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
        let before = self.previous.into_iter().flat_map(|previous| &previous.own);
        let before: Vec<_> = before.filter(|(of, ..)| *of == fingerprint).cloned().collect();
        let resources = if before.is_empty() {
            let mut set = DraftSet::default();
            build(&mut set)?;
            encode(&set).into_iter().map(|(resource_type, resource)| (fingerprint, resource_type, resource)).collect()
        } else {
            before
        };
        self.resources.extend(resources.iter().map(|(_, resource_type, resource)| (*resource_type, resource.clone())));
        self.own.extend(resources);
        Ok(())
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
