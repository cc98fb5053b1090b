//! What the two variants of the aggregated discovery protocol have in common.

use bytes::Bytes;
use tandem_xds::{ResourceSet, ResourceType};
use tonic::Status;

use super::request::Refusal;

/// What a request meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A subscription began or changed.
    Subscribed,
    /// The client took the last response of this type; the subscription may have changed too.
    Acknowledged(ResourceType),
    /// The client refused the last response of this type, with its reason.
    Rejected(ResourceType, String),
    /// The request answers a response that is not the last one, or asks for a type that is not served.
    Ignored,
}

/// A response to send.
#[derive(Debug)]
pub struct Push {
    /// Type of its resources.
    pub resource_type: ResourceType,
    /// The encoded response, with its prefix for the stream.
    pub body: Bytes,
}

/// One variant of the protocol: pure state of one stream, fed with requests and asked for responses.
///
/// Invariants of both: at most one response of a type is unanswered; a response carries the newest state at the time it is
/// made; what a client refused is not sent again until it changes; types are sent in the order of [`ResourceType::ALL`], and
/// a type that has to wait for an answer holds back the types after it, so that no listener names a cluster before the client
/// has heard of it.
pub trait Variant: Default + Send + 'static {
    /// Message the client sends.
    type Request: prost::Message + Default + Send + 'static;

    /// The encoded node of a request; empty when left out, which clients may do after the first one.
    fn node(request: &Self::Request) -> Bytes;

    /// Takes in a request.
    ///
    /// # Errors
    /// When the request breaks the protocol; the stream ends with the status.
    fn receive(&mut self, request: Self::Request) -> Result<Received, Status>;

    /// Sends what the client refused of a type once more, although it has not changed: what it lacked may be there now.
    fn resend(&mut self, resource_type: ResourceType);

    /// Has the client sent something that it has to answer and that changes nothing, as a sign of life. False when there is nothing of that
    /// kind: it has not been sent anything yet.
    fn ask(&mut self, resources: &ResourceSet) -> bool;

    /// True when the client, whose last answer about a type was that it takes a response, still refuses resources of earlier ones.
    fn is_refusing(&self, resource_type: ResourceType) -> bool;

    /// True when the client has answered that it has exactly what it asked for of a type.
    fn is_current(&self, resource_type: ResourceType, resources: &ResourceSet) -> bool;

    /// Bytes of the names that the client asks for, each with what it costs to remember it.
    fn subscription_size(&self) -> usize;

    /// True when the client asks for this resource, or for all of its type.
    fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool;

    /// The next response that brings the client closer to `resources`, or `None` when nothing is to be sent now.
    fn next(&mut self, resources: &ResourceSet, control_plane: &str) -> Option<Push>;
}

/// What a request that carries the nonce of the last response of its type means. The first one answers the response: the client took it,
/// or gives a `refusal`. Later ones only change the subscription. `awaiting` tells whether the response waits for an answer.
pub fn answer(resource_type: ResourceType, awaiting: &mut bool, refusal: Option<Refusal>) -> Received {
    match refusal {
        _ if !std::mem::take(awaiting) => Received::Subscribed,
        Some(refusal) => Received::Rejected(resource_type, refusal.message),
        None => Received::Acknowledged(resource_type),
    }
}

/// What it costs to remember a name besides its bytes, roughly.
const NAME: usize = 64;

/// What it costs to remember a name.
pub fn cost_of(name: &str) -> usize {
    name.len() + NAME
}

/// The type named by a request.
///
/// # Errors
/// When it names none, which this protocol does not allow.
pub fn resource_type(type_url: &str) -> Result<Option<ResourceType>, Status> {
    if type_url.is_empty() {
        return Err(Status::invalid_argument("type URL is required for ADS"));
    }
    Ok(ResourceType::from_type_url(type_url))
}
