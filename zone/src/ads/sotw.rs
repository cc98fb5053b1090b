//! The state-of-the-world variant: every response of a type lists all resources of the subscription.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use tandem_xds::{Encoded, ResourceSet, ResourceType};
use tonic::Status;

use super::request::SotwRequest;
use super::response;
use super::variant::{Push, Received, Variant, answer, cost_of, resource_type};

/// State of one stream.
#[derive(Debug, Default)]
pub struct StateOfTheWorld {
    subscriptions: [Option<Subscription>; ResourceType::ALL.len()],
    nonce: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    /// Names asked for; empty for all.
    names: BTreeSet<String>,
    nonce: u64,
    awaiting: bool,
    /// Version the client has, or refused.
    version: String,
    /// Send even if the version has not changed.
    force: bool,
}

impl Subscription {
    fn select<'a>(&self, resources: &'a [Arc<Encoded>]) -> Vec<&'a Arc<Encoded>> {
        resources.iter().filter(|r| self.names.is_empty() || self.names.contains(&*r.name)).collect()
    }
}

/// Version of a list of resources: equal lists have equal versions, also after a restart of the control plane, so that a
/// returning client that has them is left alone.
fn version_of(resources: &[&Arc<Encoded>]) -> String {
    let mut hasher = DefaultHasher::new();
    for resource in resources {
        resource.name.hash(&mut hasher);
        resource.version.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

impl Variant for StateOfTheWorld {
    type Request = SotwRequest;

    fn node(request: &SotwRequest) -> Bytes {
        request.node.clone()
    }

    fn receive(&mut self, request: SotwRequest) -> Result<Received, Status> {
        let Some(resource_type) = resource_type(&request.type_url)? else { return Ok(Received::Ignored) };
        let names = request.resource_names.into_iter().filter(|name| name != "*").collect();
        let slot = &mut self.subscriptions[resource_type as usize];
        let Some(subscription) = slot else {
            *slot = Some(Subscription { names, version: request.version_info, ..Subscription::default() });
            return Ok(Received::Subscribed);
        };
        if request.response_nonce.is_empty() {
            *subscription = Subscription { names, version: request.version_info, ..Subscription::default() };
            return Ok(Received::Subscribed);
        }
        if request.response_nonce != subscription.nonce.to_string() {
            return Ok(Received::Ignored);
        }
        subscription.names = names;
        Ok(answer(resource_type, &mut subscription.awaiting, request.error_detail))
    }

    fn resend(&mut self, resource_type: ResourceType) {
        if let Some(subscription) = &mut self.subscriptions[resource_type as usize] {
            subscription.force = true;
        }
    }

    fn ask(&mut self, resources: &ResourceSet) -> bool {
        // Clusters last: endpoints would have to follow them.
        for resource_type in ResourceType::ALL.into_iter().rev() {
            let Some(subscription) = &mut self.subscriptions[resource_type as usize] else { continue };
            if !subscription.awaiting && !subscription.select(resources.of(resource_type)).is_empty() {
                subscription.force = true;
                return true;
            }
        }
        self.subscriptions.iter().flatten().any(|subscription| subscription.awaiting)
    }

    fn is_refusing(&self, _resource_type: ResourceType) -> bool {
        // A response that is taken is the whole state of its type.
        false
    }

    fn is_current(&self, resource_type: ResourceType, resources: &ResourceSet) -> bool {
        self.subscriptions[resource_type as usize].as_ref().is_some_and(|subscription| {
            let version = version_of(&subscription.select(resources.of(resource_type)));
            !subscription.awaiting && !subscription.force && version == subscription.version
        })
    }

    fn subscription_size(&self) -> usize {
        let names = self.subscriptions.iter().flatten().flat_map(|subscription| &subscription.names);
        names.map(|name| cost_of(name)).sum()
    }

    fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool {
        let subscription = self.subscriptions[resource_type as usize].as_ref();
        subscription.is_some_and(|subscription| subscription.names.is_empty() || subscription.names.contains(name))
    }

    fn next(&mut self, resources: &ResourceSet, control_plane: &str) -> Option<Push> {
        for resource_type in ResourceType::ALL {
            let Some(subscription) = &mut self.subscriptions[resource_type as usize] else { continue };
            let selected = subscription.select(resources.of(resource_type));
            let version = version_of(&selected);
            if !subscription.force && version == subscription.version {
                continue;
            }
            if subscription.awaiting {
                return None;
            }
            // A client that asks for names that do not exist waits until they do.
            if selected.is_empty() && !subscription.names.is_empty() && subscription.version.is_empty() {
                continue;
            }
            self.nonce += 1;
            subscription.nonce = self.nonce;
            subscription.awaiting = true;
            subscription.force = false;
            let body = response::state_of_the_world(
                &version,
                &selected,
                resource_type.type_url(),
                &self.nonce.to_string(),
                control_plane,
            );
            subscription.version = version;
            // A cluster that changed warms until it hears its endpoints again.
            if resource_type == ResourceType::Cluster
                && let Some(endpoints) = &mut self.subscriptions[ResourceType::Endpoint as usize]
            {
                endpoints.force = true;
            }
            return Some(Push { resource_type, body });
        }
        None
    }
}
