//! What edits make of one resource.

use std::convert::Infallible;
use std::sync::Arc;

use prost::Message as _;
use tandem_envoy_json::prost_reflect::DynamicMessage;
use tandem_envoy_json::{EnvoyJsonError, decode, encode};
use tandem_policy::envoy::Origin;
use tandem_policy::envoy::pb::{Any, listener};

use super::edit::{Edit, Effect};
use super::edits::{Edits, Problem};
use super::filters::text;
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};
use crate::generate::collect::socket;

/// A resource after its edits.
#[derive(Debug)]
pub(crate) struct Modified {
    /// The resource; `None` when it was removed.
    pub resource: Option<Arc<Encoded>>,
    /// What could not be edited.
    pub problems: Vec<Problem>,
}

/// What was made of resources, by the edits and the resource.
pub(crate) type ModifiedCache = Shared<(ByAddress<Edits>, ByAddress<Encoded>), Modified>;

/// The resource as these edits leave it. `key` is the name by which they know it. An edit that does not fit the resource leaves it as it
/// was.
pub(super) fn modified(resource_type: ResourceType, key: &str, resource: &Arc<Encoded>, edits: &[Edit]) -> Modified {
    let mut problems = Vec::new();
    let mut decoded = None;
    let mut changed = false;
    for edit in edits.iter().filter(|edit| edit.may_select(resource_type, key, resource.origin)) {
        if decoded.is_none() {
            match open(resource_type, resource) {
                Ok(message) => decoded = Some(message),
                Err(error) => {
                    problems.push((edit.policy.clone(), format!("{} does not apply to {key:?}: {error}", edit.place)));
                    break;
                }
            }
        }
        let Some(message) = &mut decoded else { break };
        let mut found = Vec::new();
        let before = message.clone();
        let effect = edit.apply(message, &mut found);
        if !found.is_empty() {
            *message = before;
            let reasons = found.into_iter().map(|problem| format!("{} at {key:?}: {problem}", edit.place));
            problems.extend(reasons.map(|reason| (edit.policy.clone(), reason)));
            continue;
        }
        match effect {
            Effect::Unchanged => {}
            Effect::Changed => changed = true,
            Effect::Removed => return Modified { resource: None, problems },
        }
    }
    let resource = match decoded.filter(|_| changed) {
        Some(message) => close(resource_type, &message, resource.origin),
        None => resource.clone(),
    };
    Modified { resource: Some(resource), problems }
}

fn open(resource_type: ResourceType, resource: &Encoded) -> Result<DynamicMessage, EnvoyJsonError> {
    let any = Any::decode(&*resource.body).expect("every encoded resource is a packed message");
    decode(full_name(resource_type), &any.value)
}

/// Encodes a resource.
pub(super) fn close(resource_type: ResourceType, message: &DynamicMessage, origin: Option<Origin>) -> Arc<Encoded> {
    let bytes = encode(message);
    let name = match resource_type {
        ResourceType::Endpoint => text(message, "cluster_name"),
        _ => text(message, "name"),
    };
    let mut encoded = match resource_type {
        ResourceType::Listener => {
            let decoded = listener::Listener::decode(bytes.as_slice()).ok();
            let socket = decoded.and_then(|listener| socket(listener.address.as_ref()?));
            Encoded::listener(name, socket, &bytes)
        }
        _ => Encoded::new(resource_type, name, &bytes),
    };
    encoded.origin = origin;
    Arc::new(encoded)
}

/// Full name of the messages of a type.
pub(super) fn full_name(resource_type: ResourceType) -> &'static str {
    let url = resource_type.type_url();
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

impl Edits {
    /// What they make of a generated resource.
    pub(super) fn modified(
        self: &Arc<Self>,
        cache: &ModifiedCache,
        resource_type: ResourceType,
        resource: &Arc<Encoded>,
    ) -> Arc<Modified> {
        let key = (ByAddress(self.clone()), ByAddress(resource.clone()));
        let build = || Ok::<_, Infallible>(Arc::new(modified(resource_type, &resource.name, resource, self.edits())));
        cache.get_or_build(key, build).unwrap_or_else(|never| match never {})
    }
}
