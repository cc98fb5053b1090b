//! Peers that say what no honest peer says, over real sockets, against both control planes.
//!
//! Each ends with a status that tells what is wrong, or with a rejection of the one resource that is; and each time others
//! are served afterwards as before, and the peer itself as soon as it behaves.

#[path = "../common/mod.rs"]
mod common;

mod against_zone;
mod fake_global;
mod frames;
mod from_zone;
mod requests;
mod transport;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use prost::Message;
use tandem_kds::node::{self, Identity};
use tandem_kds::wire::{self, Any, DeltaRequest, DeltaResource, DeltaResponse, KumaResource, Meta, WILDCARD};
use tandem_model::Kind;
use tandem_store::SharedStore;

use common::*;
use frames::Raw;

/// Name of the zone that misbehaves.
pub(crate) const BAD: &str = "bad";

/// A global with a zone that behaves.
pub(crate) struct Stage {
    pub(crate) global: RunningGlobal,
    pub(crate) store: SharedStore,
    good: RunningZone,
    round: AtomicU32,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::of(RunningGlobal::start, store()).await
    }

    async fn of(start: impl AsyncFnOnce(&SharedStore) -> RunningGlobal, store: SharedStore) -> Self {
        let global = start(&store).await;
        let good = RunningZone::start("good", &common::store(), global.address);
        let stage = Self { global, store, good, round: AtomicU32::new(0) };
        stage.works().await;
        stage
    }

    /// Shows that both directions work for the zone that behaves.
    pub(crate) async fn works(&self) {
        let name = format!("round-{}", self.round.fetch_add(1, Ordering::Relaxed));
        put(&self.store, timeout(&name, "1s")).await;
        put(&self.good.store, service(&name)).await;
        wait_until_exists(&self.good.store, &synced_from_global(&timeout(&name, "").key)).await;
        wait_until_exists(&self.store, &synced_from("good", &service(&name).key)).await;
    }

    /// Shows that the zone that misbehaved is served when it behaves.
    pub(crate) async fn serves_again(&self) {
        let mut peer = BadZone::join(self).await;
        let nonce = peer.offer(Kind::MeshService, vec![resource("again", good_service())]).await;
        assert_eq!(peer.answer(&nonce).await, None);
        wait_for(&self.store, &key("again"), |resource| resource.is_some()).await;
    }

    pub(crate) async fn stop(self) {
        self.good.stop().await;
        self.global.stop().await;
    }
}

/// Key at global of a service of the zone that misbehaves; it chooses its names itself.
pub(crate) fn key(name: &str) -> tandem_model::ResourceKey {
    tandem_model::ResourceKey::new(Kind::MeshService, "default", name)
}

/// A specification that is fine.
pub(crate) fn good_service() -> Any {
    let spec =
        r#"{"selector":{"dataplaneTags":{"app":"a"}},"ports":[{"port":80,"targetPort":80,"appProtocol":"http"}]}"#;
    json(spec)
}

pub(crate) fn json(text: impl Into<Bytes>) -> Any {
    Any { type_url: String::new(), value: text.into() }
}

pub(crate) fn meta(name: &str) -> Meta {
    Meta { name: name.to_owned(), mesh: "default".to_owned(), ..Meta::default() }
}

/// A resource as it travels, with any content.
pub(crate) fn wrapped(name: &str, content: impl Into<Bytes>) -> Bytes {
    let content = Any { type_url: wire::RESOURCE_TYPE_URL.to_owned(), value: content.into() };
    let resource = DeltaResource { version: "v".into(), resource: Some(content), name: format!("{name}.default") };
    resource.encode_to_vec().into()
}

pub(crate) fn with_meta(meta: Meta, spec: Any) -> Bytes {
    let name = meta.name.clone();
    let content = KumaResource { meta: Some(meta), spec: Some(spec), status: None };
    wrapped(&name, content.encode_to_vec())
}

/// A resource of the mesh `default` with any specification.
pub(crate) fn resource(name: &str, spec: Any) -> Bytes {
    with_meta(meta(name), spec)
}

/// The first request for a type.
pub(crate) fn subscription(type_url: &str) -> DeltaRequest {
    let identity = Identity { instance: "bad-0001".into(), ..Identity::default() };
    DeltaRequest {
        node: Some(identity.node(BAD)),
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec![WILDCARD.to_owned()],
        ..DeltaRequest::default()
    }
}

pub(crate) fn acknowledgement(type_url: &str, nonce: &str) -> DeltaRequest {
    DeltaRequest {
        node: Some(node::bare(BAD)),
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaRequest::default()
    }
}

/// A zone that misbehaves, with both of its streams open.
pub(crate) struct BadZone {
    pub(crate) down: Raw,
    pub(crate) up: Raw,
    nonce: u32,
}

impl BadZone {
    pub(crate) async fn join(stage: &Stage) -> Self {
        let channel = frames::channel(stage.global.address).await;
        let mut down = Raw::open(&channel, frames::DOWN, BAD).await;
        down.say(&subscription("Mesh")).await;
        down.hear::<DeltaResponse>().await.expect("answered");
        let mut up = Raw::open(&channel, frames::UP, BAD).await;
        let asked = Kind::all().filter(|kind| kind.descriptor().direction.sent_to_global()).count();
        for _ in 0..asked {
            up.hear::<DeltaRequest>().await.expect("asked");
        }
        Self { down, up, nonce: 0 }
    }

    /// Sends a response; its nonce.
    pub(crate) async fn respond(&mut self, mut response: DeltaResponse) -> String {
        self.nonce += 1;
        response.nonce = format!("bad-{}", self.nonce);
        self.up.say(&response).await;
        response.nonce
    }

    pub(crate) async fn offer(&mut self, kind: Kind, resources: Vec<Bytes>) -> String {
        let response = DeltaResponse { type_url: kind.name().to_owned(), resources, ..DeltaResponse::default() };
        self.respond(response).await
    }

    /// What global says to the response with a nonce: nothing, or a complaint.
    pub(crate) async fn answer(&mut self, nonce: &str) -> Option<String> {
        let answer: DeltaRequest = self.up.hear().await.expect("the stream goes on");
        assert_eq!(answer.response_nonce, nonce);
        answer.error_detail.map(|detail| detail.message)
    }
}
