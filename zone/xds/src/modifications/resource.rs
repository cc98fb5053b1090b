//! What edits make of one resource.

use std::convert::Infallible;
use std::sync::Arc;

use prost::Message as _;
use tandem_envoy_json::prost_reflect::DynamicMessage;
use tandem_envoy_json::{EnvoyJsonError, decode, encode};
use tandem_policy::envoy::Origin;
use tandem_policy::envoy::pb::{Any, listener};

use super::Template;
use super::edit::{Edit, Effect};
use super::filters::text;
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};
use crate::generate::collect::socket;

/// A resource after its edits.
#[derive(Debug)]
pub(crate) struct Modified {
    /// The resource; `None` when it was removed.
    pub resource: Option<Arc<Encoded>>,
    /// What could not be edited, for a person.
    pub problems: Vec<String>,
}

/// What was made of resources, by the edits and the resource.
pub(crate) type ModifiedCache = Shared<(ByAddress<Template>, ByAddress<Encoded>), Modified>;

/// The resource as these edits leave it. `key` is the name by which they know it.
pub(super) fn modified(resource_type: ResourceType, key: &str, resource: &Arc<Encoded>, edits: &[Edit]) -> Modified {
    let mut problems = Vec::new();
    let mut decoded = None;
    let mut changed = false;
    for edit in edits.iter().filter(|edit| edit.may_select(resource_type, key, resource.origin)) {
        if decoded.is_none() {
            match open(resource_type, resource) {
                Ok(message) => decoded = Some(message),
                Err(error) => {
                    problems.push(format!("{} does not apply to {key:?}: {error}", edit.label));
                    break;
                }
            }
        }
        let Some(message) = &mut decoded else { break };
        let mut found = Vec::new();
        let effect = edit.apply(message, &mut found);
        problems.extend(found.into_iter().map(|problem| format!("{} at {key:?}: {problem}", edit.label)));
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

impl Template {
    /// What the template makes of a generated resource.
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
