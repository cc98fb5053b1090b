//! How messages are spoilt.

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use tandem_model::Kind;

use crate::wire::{Any, DeltaRequest, DeltaResource, DeltaResponse, ErrorDetail, KumaResource, Node};

/// A change of bytes, whatever they mean.
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    Set(Index, u8),
    Cut(Index),
    Remove(Index),
    Insert(Index, Vec<u8>),
    /// Puts a part of the bytes at another place.
    Copy(Index, Index, u8),
}

impl Mutation {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            any::<Index>().prop_map(Self::Cut),
            any::<Index>().prop_map(Self::Remove),
            (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(from, to, length)| Self::Copy(from, to, length)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        // One more than the bytes: the end is a place as well.
        let place = |at: &Index, bytes: &Vec<u8>| at.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = place(at, bytes);
                if let Some(present) = bytes.get_mut(at) {
                    *present = *byte;
                }
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
            Self::Remove(at) => {
                let at = place(at, bytes);
                if at < bytes.len() {
                    bytes.remove(at);
                }
            }
            Self::Insert(at, more) => {
                let at = place(at, bytes);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Copy(from, to, length) => {
                let (from, to) = (place(from, bytes), place(to, bytes));
                let part = bytes[from..(from + usize::from(*length)).min(bytes.len())].to_vec();
                bytes.splice(to..to, part);
            }
        }
    }
}

pub(super) fn mutated(bytes: &[u8], changes: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    changes.iter().for_each(|change| change.apply(&mut bytes));
    bytes
}

/// Any text, and such that means something somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z.\\-]{0,12}",
        Just(String::new()),
        Just("\0".to_owned()),
        Just("default".to_owned()),
        Just("sentinel2".to_owned()),
        (0..400_usize).prop_map(|length| "x".repeat(length)),
        prop::sample::select(Kind::all().collect::<Vec<_>>()).prop_map(|kind| kind.name().to_owned()),
    ]
}

/// A change of a response.
#[derive(Debug, Clone)]
pub(super) enum ResponseChange {
    TypeUrl(String),
    Nonce(String),
    Origin(String),
    Removed(Vec<String>),
    Duplicate(Index),
    Drop(Index),
    Garbage(Vec<u8>),
    Resource(Index, ResourceChange),
}

/// A change of one resource in a response.
#[derive(Debug, Clone)]
pub(super) enum ResourceChange {
    Name(String),
    Mesh(String),
    Label(String, String),
    NoMeta,
    NoSpec,
    SpecType(String),
    Spec(Vec<Mutation>),
    Status(Vec<u8>),
    Wrapper(String),
}

impl ResourceChange {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            text().prop_map(Self::Name),
            text().prop_map(Self::Mesh),
            (text(), text()).prop_map(|(key, value)| Self::Label(key, value)),
            Just(Self::NoMeta),
            Just(Self::NoSpec),
            text().prop_map(Self::SpecType),
            prop::collection::vec(Mutation::any(), 1..4).prop_map(Self::Spec),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Self::Status),
            text().prop_map(Self::Wrapper),
        ]
    }

    fn apply(&self, resource: &mut DeltaResource) {
        let Some(content) = &mut resource.resource else { return };
        if let Self::Wrapper(type_url) = self {
            content.type_url.clone_from(type_url);
            return;
        }
        let Ok(mut inner) = KumaResource::decode(content.value.clone()) else { return };
        let meta = inner.meta.get_or_insert_default();
        match self {
            Self::Name(name) => meta.name.clone_from(name),
            Self::Mesh(mesh) => meta.mesh.clone_from(mesh),
            Self::Label(key, value) => drop(meta.labels.insert(key.clone(), value.clone())),
            Self::NoMeta => inner.meta = None,
            Self::NoSpec => inner.spec = None,
            Self::SpecType(type_url) => inner.spec.get_or_insert_default().type_url.clone_from(type_url),
            Self::Spec(changes) => {
                let spec = inner.spec.get_or_insert_default();
                spec.value = mutated(&spec.value, changes).into();
            }
            Self::Status(bytes) => inner.status = Some(Any { type_url: String::new(), value: bytes.clone().into() }),
            Self::Wrapper(_) => {}
        }
        content.value = inner.encode_to_vec().into();
    }
}

impl ResponseChange {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            1 => text().prop_map(Self::TypeUrl),
            1 => text().prop_map(Self::Nonce),
            1 => text().prop_map(Self::Origin),
            1 => prop::collection::vec(text(), 0..10).prop_map(Self::Removed),
            1 => any::<Index>().prop_map(Self::Duplicate),
            1 => any::<Index>().prop_map(Self::Drop),
            1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Self::Garbage),
            6 => (any::<Index>(), ResourceChange::any()).prop_map(|(at, change)| Self::Resource(at, change)),
        ]
    }

    pub(super) fn apply(&self, response: &mut DeltaResponse) {
        let resources = &mut response.resources;
        let place = |at: &Index, length: usize| (length > 0).then(|| at.index(length));
        match self {
            Self::TypeUrl(type_url) => response.type_url.clone_from(type_url),
            Self::Nonce(nonce) => response.nonce.clone_from(nonce),
            Self::Origin(origin) => response.system_version_info.clone_from(origin),
            Self::Removed(names) => response.removed_resources.clone_from(names),
            Self::Duplicate(at) => {
                let copy = place(at, resources.len()).map(|at| resources[at].clone());
                resources.extend(copy);
            }
            Self::Drop(at) => drop(place(at, resources.len()).map(|at| resources.remove(at))),
            Self::Garbage(bytes) => resources.push(bytes.clone().into()),
            Self::Resource(at, change) => {
                let Some(at) = place(at, resources.len()) else { return };
                let Ok(mut resource) = DeltaResource::decode(resources[at].clone()) else { return };
                change.apply(&mut resource);
                resources[at] = resource.encode_to_vec().into();
            }
        }
    }
}

/// A change of a request.
#[derive(Debug, Clone)]
pub(super) enum RequestChange {
    TypeUrl(String),
    Nonce(String),
    Rejection(i32, String),
    Versions(Vec<(String, String)>),
    Names(Vec<String>),
    Node(Option<String>),
}

impl RequestChange {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            text().prop_map(Self::TypeUrl),
            text().prop_map(Self::Nonce),
            (any::<i32>(), text()).prop_map(|(code, message)| Self::Rejection(code, message)),
            prop::collection::vec((text(), text()), 0..5).prop_map(Self::Versions),
            prop::collection::vec(text(), 0..5).prop_map(Self::Names),
            prop::option::of(text()).prop_map(Self::Node),
        ]
    }

    pub(super) fn apply(&self, request: &mut DeltaRequest) {
        match self {
            Self::TypeUrl(type_url) => request.type_url.clone_from(type_url),
            Self::Nonce(nonce) => request.response_nonce.clone_from(nonce),
            Self::Rejection(code, message) => {
                request.error_detail = Some(ErrorDetail { code: *code, message: message.clone() });
            }
            Self::Versions(versions) => request.initial_resource_versions = versions.iter().cloned().collect(),
            Self::Names(names) => request.resource_names_subscribe.clone_from(names),
            Self::Node(id) => request.node = id.clone().map(|id| Node { id, metadata: None }),
        }
    }
}
