//! The delta variant: a response carries what changed and the names of what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tandem_xds::{Encoded, ResourceSet, ResourceType};
use tonic::Status;

use super::request::DeltaRequest;
use super::response;
use super::variant::{Push, Received, Variant, answer, resource_type};

const WILDCARD: &str = "*";

/// State of one stream.
#[derive(Debug, Default)]
pub struct Delta {
    subscriptions: [Option<Subscription>; ResourceType::ALL.len()],
    nonce: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// What the client has (or refused), sorted by name.
    sent: Vec<Arc<Encoded>>,
    /// Versions the client brought from an earlier stream and has not been answered about.
    brought: BTreeMap<String, String>,
    /// Names to send even if unchanged; also names asked for that may not exist.
    force: BTreeSet<String>,
    nonce: u64,
    awaiting: bool,
    answered: bool,
    /// Names in the last response.
    last: Vec<Arc<str>>,
    /// Names in responses that the client refused, until it takes a response with them.
    refused: BTreeSet<Arc<str>>,
}

/// What a client lacks.
struct Difference {
    changed: Vec<Arc<Encoded>>,
    removed: Vec<String>,
    current: Vec<Arc<Encoded>>,
}

impl Subscription {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// True when the client has exactly these resources: what a look at the pointers can tell.
    fn is_current(&self, resources: &[Arc<Encoded>]) -> bool {
        self.force.is_empty()
            && self.brought.is_empty()
            && self.sent.len() == resources.len()
            && self.sent.iter().zip(resources).all(|(sent, resource)| Arc::ptr_eq(sent, resource))
    }

    fn difference(&self, resources: &[Arc<Encoded>]) -> Difference {
        let current: Vec<_> = resources.iter().filter(|r| self.covers(&r.name)).cloned().collect();
        let has = |resource: &Arc<Encoded>| match self.sent.binary_search_by(|s| s.name.cmp(&resource.name)) {
            Ok(index) => self.sent[index].version == resource.version,
            Err(_) => self.brought.get(&*resource.name).is_some_and(|v| *v == resource.version_text()),
        };
        let exists = |name: &str| current.binary_search_by(|r| (*r.name).cmp(name)).is_ok();
        let changed = current.iter().filter(|r| self.force.contains(&*r.name) || !has(r)).cloned().collect();
        let sent = self.sent.iter().map(|r| &*r.name);
        let brought = self.brought.keys().map(String::as_str);
        let asked = self.force.iter().map(String::as_str);
        let gone: BTreeSet<&str> = sent.chain(brought).chain(asked).filter(|name| !exists(name)).collect();
        let removed = gone.into_iter().map(str::to_owned).collect();
        Difference { changed, removed, current }
    }
}

impl Variant for Delta {
    type Request = DeltaRequest;

    fn node(request: &DeltaRequest) -> Bytes {
        request.node.clone()
    }

    fn receive(&mut self, request: DeltaRequest) -> Result<Received, Status> {
        let Some(resource_type) = resource_type(&request.type_url)? else { return Ok(Received::Ignored) };
        let slot = &mut self.subscriptions[resource_type as usize];
        let first = slot.is_none();
        let subscription = slot.get_or_insert_default();
        if first {
            subscription.wildcard = request.resource_names_subscribe.is_empty();
            subscription.brought = request.initial_resource_versions;
        }
        for name in request.resource_names_subscribe {
            if name == WILDCARD {
                subscription.wildcard = true;
                continue;
            }
            // Asking again for what is there means that the client lost it; a first request says itself what it has.
            if !subscription.brought.contains_key(&name) {
                subscription.force.insert(name.clone());
            }
            subscription.names.insert(name);
        }
        for name in request.resource_names_unsubscribe {
            if name == WILDCARD {
                subscription.wildcard = false;
                continue;
            }
            subscription.names.remove(&name);
            subscription.force.remove(&name);
            if !subscription.wildcard {
                subscription.sent.retain(|r| *r.name != *name);
            }
        }
        if request.response_nonce.is_empty() {
            return Ok(Received::Subscribed);
        }
        if request.response_nonce != subscription.nonce.to_string() {
            return Ok(Received::Ignored);
        }
        let received = answer(resource_type, &mut subscription.awaiting, request.error_detail);
        let last = std::mem::take(&mut subscription.last);
        match received {
            Received::Rejected(..) => subscription.refused.extend(last),
            _ => last.iter().for_each(|name| {
                subscription.refused.remove(name);
            }),
        }
        Ok(received)
    }

    fn resend(&mut self, resource_type: ResourceType) {
        if let Some(subscription) = &mut self.subscriptions[resource_type as usize] {
            let has = |name: &Arc<str>| subscription.sent.binary_search_by(|sent| sent.name.cmp(name)).is_ok();
            let refused = subscription.refused.iter().filter(|name| has(name)).map(|name| name.to_string());
            let refused: Vec<_> = refused.collect();
            subscription.force.extend(refused);
        }
    }

    fn is_current(&self, resource_type: ResourceType, resources: &ResourceSet) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| {
            let Difference { changed, removed, .. } = subscription.difference(resources.of(resource_type));
            !subscription.awaiting && changed.is_empty() && removed.is_empty()
        })
    }

    fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| subscription.covers(name))
    }

    fn next(&mut self, resources: &ResourceSet, control_plane: &str) -> Option<Push> {
        for resource_type in ResourceType::ALL {
            let Some(subscription) = &mut self.subscriptions[resource_type as usize] else { continue };
            let owes_first_answer = subscription.wildcard && !subscription.answered;
            if !owes_first_answer && subscription.is_current(resources.of(resource_type)) {
                continue;
            }
            let difference = subscription.difference(resources.of(resource_type));
            if difference.changed.is_empty() && difference.removed.is_empty() && !owes_first_answer {
                subscription.sent = difference.current;
                subscription.brought.clear();
                continue;
            }
            if subscription.awaiting {
                return None;
            }
            self.nonce += 1;
            subscription.nonce = self.nonce;
            subscription.awaiting = true;
            subscription.answered = true;
            subscription.last = difference.changed.iter().map(|resource| resource.name.clone()).collect();
            subscription.sent = difference.current;
            subscription.brought.clear();
            subscription.force.clear();
            let body = response::delta(
                &self.nonce.to_string(),
                &difference.changed,
                &difference.removed,
                resource_type.type_url(),
                &self.nonce.to_string(),
                control_plane,
            );
            // A cluster that changed warms until it hears its endpoints again.
            if resource_type == ResourceType::Cluster
                && let Some(endpoints) = &mut self.subscriptions[ResourceType::Endpoint as usize]
            {
                let clusters = difference.changed.iter().map(|cluster| &*cluster.name);
                let known: Vec<_> = clusters
                    .filter(|name| endpoints.sent.iter().any(|e| *e.name == **name))
                    .map(str::to_owned)
                    .collect();
                endpoints.force.extend(known);
            }
            return Some(Push { resource_type, body });
        }
        None
    }
}
