//! Peers that do not behave, speaking over real connections.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use tandem_model::{Kind, Resource, ResourceKey, Violations};
use tandem_store::{MemoryStore, SharedStore};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::*;
use crate::codec;
use crate::metadata::Headers;
use crate::node::{self, Identity};
use crate::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use crate::wire::{DeltaRequest, DeltaResource, DeltaResponse, Node, WILDCARD};
use crate::{DeletionGuard, Surroundings};

struct Fixture {
    store: SharedStore,
    client: KDSSyncServiceClient<Channel>,
    status: SyncStatus,
    shutdown: CancellationToken,
}

impl Fixture {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let settings = GlobalSettings::new(CommonSettings {
            identity: Identity { instance: "global-0001".into(), ..Identity::default() },
            max_message_bytes: 1024 * 1024,
            skip_label_prefixes: Vec::new(),
            insights: InsightSettings {
                instance: "global-0001".into(),
                flush_interval: Duration::from_millis(10),
                subscription_limit: 10,
                compact_finished: false,
                needs_zone: true,
            },
            validate: Arc::new(|_| Violations::none()),
            deletion_guard: DeletionGuard::default(),
            response_backoff: Duration::ZERO,
            surroundings: Surroundings::default(),
        });
        let shutdown = CancellationToken::new();
        let global = Global::new(settings, store.clone(), KdsMetrics::default(), shutdown.clone())
            .await
            .expect("the store works");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let status = global.status();
        tokio::spawn(global.serve(tandem_runtime::http::accepted(listener), None));
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect()
            .await
            .expect("somebody listens");
        Self { store, client: KDSSyncServiceClient::new(channel), status, shutdown }
    }

    /// Opens the stream from global, says `requests`, and returns what comes.
    async fn subscribe(&self, zone: &str, requests: Vec<DeltaRequest>) -> Stream<DeltaRequest, DeltaResponse> {
        let (sender, receiver) = mpsc::channel(16);
        for request in requests {
            sender.send(request).await.expect("room");
        }
        let answer = self.client.clone().global_to_zone_sync(introduced(zone, receiver)).await;
        Stream { sender, answer: answer.expect("opened").into_inner() }
    }

    /// Opens both streams, as a zone does, and returns that to global.
    async fn offer(&self, zone: &str) -> (Stream<DeltaRequest, DeltaResponse>, Stream<DeltaResponse, DeltaRequest>) {
        let down = self.subscribe(zone, vec![subscription(zone, "Mesh")]).await;
        let (sender, receiver) = mpsc::channel(16);
        let answer = self.client.clone().zone_to_global_sync(introduced(zone, receiver)).await;
        let mut up = Stream { sender, answer: answer.expect("opened").into_inner() };
        for _ in 0..29 {
            up.next().await.expect("a subscription");
        }
        (down, up)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

struct Stream<Out, In> {
    sender: mpsc::Sender<Out>,
    answer: Streaming<In>,
}

impl<Out, In> Stream<Out, In> {
    async fn next(&mut self) -> Result<In, Status> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.answer.next()).await.expect("an answer in time");
        next.expect("never ends with OK")
    }
}

fn introduced<M: Send + 'static>(zone: &str, receiver: mpsc::Receiver<M>) -> Request<ReceiverStream<M>> {
    let mut request = Request::new(ReceiverStream::new(receiver));
    Headers::new(zone, "1").expect("plain text").apply(request.metadata_mut());
    request
}

fn subscription(zone: &str, type_url: &str) -> DeltaRequest {
    DeltaRequest {
        node: Some(Identity { instance: "zone-0001".into(), ..Identity::default() }.node(zone)),
        type_url: type_url.into(),
        resource_names_subscribe: vec![WILDCARD.into()],
        ..DeltaRequest::default()
    }
}

fn body(kind: Kind, name: &str) -> Bytes {
    let resource = Resource::new(ResourceKey::global(kind, name), tandem_model::Spec::Proto(Bytes::new()));
    crate::mapper::encode_for_zones(&resource, false, &[]).expect("encodable").body
}

fn response(type_url: &str, nonce: &str, resources: Vec<Bytes>) -> DeltaResponse {
    DeltaResponse { type_url: type_url.into(), nonce: nonce.into(), resources, ..DeltaResponse::default() }
}

#[tokio::test]
async fn requests_that_make_no_sense_end_their_stream_with_a_reason() {
    let fixture = Fixture::new().await;
    let nameless = DeltaRequest { node: None, ..subscription("east", "Mesh") };
    let other = DeltaRequest { node: Some(node::bare("west")), ..subscription("east", "Mesh") };
    let typeless = subscription("east", "");
    for (request, reason) in [
        (nameless, "names no node"),
        (other, "\"west\" is not the client-id \"east\""),
        (typeless, "type URL is required for ADS"),
    ] {
        let mut stream = fixture.subscribe("east", vec![request]).await;
        let status = stream.next().await.expect_err(reason);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
    let (_sender, receiver) = mpsc::channel::<DeltaRequest>(1);
    let anonymous = fixture.client.clone().global_to_zone_sync(ReceiverStream::new(receiver)).await;
    let status = anonymous.expect_err("no client-id");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "\"client-id\" is not present in metadata"));
}

#[tokio::test]
async fn a_node_on_later_requests_must_be_the_zone_but_may_be_absent() {
    let fixture = Fixture::new().await;
    let mut stream = fixture.subscribe("east", vec![subscription("east", "Mesh")]).await;
    let first = stream.next().await.expect("answered");
    let ack = |node: Option<Node>| DeltaRequest {
        node,
        type_url: "Mesh".into(),
        response_nonce: first.nonce.clone(),
        ..DeltaRequest::default()
    };
    stream.sender.send(ack(None)).await.expect("open");
    stream.sender.send(subscription("east", "NoSuchType")).await.expect("open");
    assert_eq!(stream.next().await.expect("still open").type_url, "NoSuchType");
    stream.sender.send(ack(Some(node::bare("west")))).await.expect("open");
    assert_eq!(stream.next().await.expect_err("an impostor").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn types_that_zones_do_not_provide_are_refused_and_the_rest_goes_on() {
    let fixture = Fixture::new().await;
    let (_down, mut up) = fixture.offer("east").await;
    for type_url in ["Mesh", "NoSuchType", ""] {
        let bodies = if type_url == "Mesh" { vec![body(Kind::Mesh, "intruder")] } else { Vec::new() };
        up.sender.send(response(type_url, "7", bodies)).await.expect("open");
        let answer = up.next().await.expect("still open");
        assert_eq!((answer.type_url.as_str(), answer.response_nonce.as_str()), (type_url, "7"));
        let detail = answer.error_detail.expect("refused");
        assert!(detail.message.contains("is not sent in this direction"), "{}", detail.message);
        assert_eq!(answer.node.expect("always there").id, "east");
    }
    assert!(fixture.store.list(Kind::Mesh, None).await.expect("readable").is_empty());

    up.sender.send(response("ZoneEgress", "8", vec![body(Kind::ZoneEgress, "egress")])).await.expect("open");
    assert!(up.next().await.expect("still open").error_detail.is_none());
    assert_eq!(fixture.store.list(Kind::ZoneEgress, None).await.expect("readable").len(), 1);
}

#[tokio::test]
async fn garbage_is_answered_and_harms_nothing() {
    let fixture = Fixture::new().await;
    let (_down, mut up) = fixture.offer("east").await;
    up.sender.send(response("ZoneEgress", "1", vec![body(Kind::ZoneEgress, "egress")])).await.expect("open");
    assert!(up.next().await.expect("still open").error_detail.is_none());
    let mislabelled = {
        let mut resource = DeltaResource::decode(body(Kind::ZoneIngress, "ingress")).expect("just encoded");
        resource.name = "ingress.".into();
        Bytes::from(resource.encode_to_vec())
    };
    let bodies = vec![Bytes::from_static(b"\xff\xff\xff"), mislabelled, body(Kind::ZoneEgress, "other")];
    assert!(codec::decode(Kind::ZoneEgress, &bodies[1]).is_err());
    up.sender.send(response("ZoneEgress", "2", bodies)).await.expect("open");
    let detail = up.next().await.expect("still open").error_detail.expect("complained");
    assert_eq!(detail.message.lines().count(), 2, "{}", detail.message);
    assert!(detail.message.contains("name=\"ingress\""), "{}", detail.message);
    let stored = fixture.store.list(Kind::ZoneEgress, None).await.expect("readable");
    let names: Vec<_> = stored.iter().map(|resource| resource.key.name.as_str()).collect();
    assert_eq!(names, ["egress", "other"]);
    let received = &fixture.status.peer("east").expect("connected").received[&Kind::ZoneEgress];
    assert_eq!((received.responses, received.acknowledged, received.rejected), (2, 1, 1));
}

#[tokio::test]
async fn no_stream_to_global_ends_with_ok() {
    let fixture = Fixture::new().await;
    let (_down, up) = fixture.offer("east").await;
    let Stream { sender, mut answer } = up;
    drop(sender);
    let status = answer.next().await.expect("never ends with OK").expect_err("a status");
    assert_eq!(status.code(), Code::Cancelled);

    let (_down, mut up) = fixture.offer("west").await;
    fixture.shutdown.cancel();
    assert_eq!(up.next().await.expect_err("a status").code(), Code::Unavailable);
}

#[tokio::test]
async fn a_zone_that_does_not_answer_gets_no_second_response_of_a_type() {
    let fixture = Fixture::new().await;
    let mut stream = fixture.subscribe("east", vec![subscription("east", "Mesh")]).await;
    stream.next().await.expect("answered");
    let mesh = |name: &str| {
        let key = ResourceKey::global(Kind::Mesh, name);
        tandem_store::Write::Put(Resource::new(key, tandem_model::Spec::Proto(Bytes::new())))
    };
    for name in ["a", "b", "c"] {
        fixture.store.commit(vec![mesh(name)]).await.expect("a valid write");
    }
    stream.sender.send(subscription("east", "Secret")).await.expect("open");
    assert_eq!(stream.next().await.expect("answered").type_url, "Secret");
    let ack = DeltaRequest { response_nonce: "1".into(), ..subscription("east", "Mesh") };
    stream.sender.send(ack).await.expect("open");
    let all = stream.next().await.expect("answered");
    assert_eq!((all.type_url.as_str(), all.resources.len()), ("Mesh", 3), "all at once");
}
