//! The delta variant: a response carries what changed and the names of what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tandem_xds::{Encoded, ResourceList, ResourceSet, ResourceType};
use tonic::Status;

use super::request::DeltaRequest;
use super::response;
use super::variant::{Push, Received, Variant, answer, cost_of, resource_type};

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
    /// What it costs to remember these.
    size: usize,
    /// What the client has (or refused), sorted by name.
    sent: ResourceList,
    /// Versions the client brought from an earlier stream and has not been answered about.
    brought: BTreeMap<String, String>,
    /// Names to send even if unchanged; also names asked for that may not exist.
    force: BTreeSet<String>,
    nonce: u64,
    awaiting: bool,
    answered: bool,
    /// Send a response even if there is nothing to say, because the client has to answer it.
    asking: bool,
    /// Names in the last response.
    last: Vec<Arc<str>>,
    /// Names in responses that the client refused, until it takes a response with them.
    refused: BTreeSet<Arc<str>>,
}

/// What a client lacks.
struct Difference {
    changed: Vec<Arc<Encoded>>,
    removed: Vec<String>,
    current: ResourceList,
}

impl Subscription {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// True when the client has exactly these resources: what a look at the pointers can tell.
    fn is_current(&self, resources: &ResourceList) -> bool {
        self.force.is_empty()
            && self.brought.is_empty()
            && (Arc::ptr_eq(&self.sent, resources)
                || self.sent.len() == resources.len()
                    && self.sent.iter().zip(&**resources).all(|(sent, resource)| Arc::ptr_eq(sent, resource)))
    }

    /// True when there is nothing to tell the client about these resources.
    fn lacks_nothing(&self, resources: &ResourceList) -> bool {
        if !self.brought.is_empty() {
            let Difference { changed, removed, .. } = self.difference(resources);
            return changed.is_empty() && removed.is_empty();
        }
        // What is asked for is sent, or said to be gone.
        if !self.force.is_empty() {
            return false;
        }
        // Both lists are sorted by name; what was sent is covered.
        let mut sent = self.sent.iter().peekable();
        let has_all = resources.iter().all(|resource| match sent.next_if(|sent| sent.name == resource.name) {
            Some(had) => Arc::ptr_eq(had, resource) || had.version == resource.version,
            None => !self.covers(&resource.name),
        });
        has_all && sent.next().is_none()
    }

    fn difference(&self, resources: &ResourceList) -> Difference {
        let (mut changed, mut gone) = (Vec::new(), BTreeSet::new());
        let mut uncovered = BTreeSet::new();
        // Both lists are sorted by name.
        let mut sent = self.sent.iter().peekable();
        for (index, resource) in resources.iter().enumerate() {
            // What was sent is covered. Most of it is the same value as before.
            let mut had = sent.next_if(|sent| Arc::ptr_eq(sent, resource));
            if had.is_none() {
                gone.extend(
                    std::iter::from_fn(|| sent.next_if(|sent| sent.name < resource.name)).map(|sent| &*sent.name),
                );
                had = sent.next_if(|sent| sent.name == resource.name);
            }
            let has = match had {
                Some(had) => had.version == resource.version,
                None if !self.covers(&resource.name) => {
                    uncovered.insert(index);
                    continue;
                }
                None => self.brought.get(&*resource.name).is_some_and(|version| *version == resource.version_text()),
            };
            if !has || self.force.contains(&*resource.name) {
                changed.push(resource.clone());
            }
        }
        let current: ResourceList = if uncovered.is_empty() {
            resources.clone()
        } else {
            let covered = resources.iter().enumerate().filter(|(index, _)| !uncovered.contains(index));
            covered.map(|(_, resource)| resource.clone()).collect()
        };
        gone.extend(sent.map(|sent| &*sent.name));
        let exists = |name: &str| current.binary_search_by(|resource| (*resource.name).cmp(name)).is_ok();
        let told = self.brought.keys().chain(&self.force).map(String::as_str);
        gone.extend(told.filter(|name| !exists(name)));
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
            let size = cost_of(&name);
            if subscription.names.insert(name) {
                subscription.size += size;
            }
        }
        let mut given_up = false;
        for name in request.resource_names_unsubscribe {
            if name == WILDCARD {
                subscription.wildcard = false;
                given_up = true;
                continue;
            }
            if subscription.names.remove(&name) {
                subscription.size -= cost_of(&name);
            }
            subscription.force.remove(&name);
            given_up = true;
        }
        if given_up && !subscription.wildcard {
            let kept = subscription.sent.iter().filter(|resource| subscription.names.contains(&*resource.name));
            subscription.sent = kept.cloned().collect();
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
            _ => {
                let sent = &subscription.sent;
                let has = |name: &Arc<str>| sent.binary_search_by(|sent| sent.name.cmp(name)).is_ok();
                subscription.refused.retain(|name| !last.contains(name) && has(name));
            }
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

    fn ask(&mut self, _resources: &ResourceSet) -> bool {
        // A response may be empty.
        let mut subscriptions = self.subscriptions.iter_mut().flatten().collect::<Vec<_>>();
        let free = subscriptions.iter_mut().find(|subscription| !subscription.awaiting);
        if let Some(subscription) = free {
            subscription.asking = true;
        }
        !subscriptions.is_empty()
    }

    fn is_refusing(&self, resource_type: ResourceType) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| !subscription.refused.is_empty())
    }

    fn is_current(&self, resource_type: ResourceType, resources: &ResourceSet) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| {
            !subscription.awaiting && subscription.lacks_nothing(resources.list(resource_type))
        })
    }

    fn subscription_size(&self) -> usize {
        self.subscriptions.iter().flatten().map(|subscription| subscription.size).sum()
    }

    fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| subscription.covers(name))
    }

    fn next(&mut self, resources: &ResourceSet, control_plane: &str) -> Option<Push> {
        for resource_type in ResourceType::ALL {
            let Some(subscription) = &mut self.subscriptions[resource_type as usize] else { continue };
            let owes_first_answer = subscription.wildcard && !subscription.answered || subscription.asking;
            if !owes_first_answer && subscription.is_current(resources.list(resource_type)) {
                continue;
            }
            let difference = subscription.difference(resources.list(resource_type));
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
            subscription.asking = false;
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
                let has = |name: &&str| endpoints.sent.binary_search_by(|sent| (*sent.name).cmp(*name)).is_ok();
                let known: Vec<_> = clusters.filter(has).map(str::to_owned).collect();
                endpoints.force.extend(known);
            }
            return Some(Push { resource_type, body });
        }
        None
    }
}
