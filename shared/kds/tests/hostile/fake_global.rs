//! A global of which the test decides what it says.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tandem_kds::node::{self, Identity};
use tandem_kds::rpc::k_d_s_sync_service_server::{KDSSyncService, KDSSyncServiceServer};
use tandem_kds::wire::{DeltaRequest, DeltaResponse, WILDCARD};
use tandem_model::Kind;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::common::{PATIENCE, RunningZone, mesh, settings, store, wait_until_exists};

/// One of the streams that a zone opened: what the zone says, and where it listens.
pub struct Opened<I, O> {
    said: Streaming<I>,
    to_zone: mpsc::Sender<Result<O, Status>>,
}

impl<I: Send + 'static, O: Send + 'static> Opened<I, O> {
    pub async fn say(&self, message: O) {
        // The zone may have gone already.
        let _ = tokio::time::timeout(PATIENCE, self.to_zone.send(Ok(message))).await.expect("the zone reads");
    }

    pub async fn hear(&mut self) -> Result<I, Status> {
        let next = tokio::time::timeout(PATIENCE, self.said.message()).await.expect("the zone says something");
        next?.ok_or_else(|| Status::ok("ended"))
    }

    /// Waits until the zone has given this stream up.
    pub async fn given_up(mut self) {
        let end = async { while let Ok(Some(_)) = self.said.message().await {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the zone gives the stream up");
    }

    /// Ends the stream with OK.
    pub fn close(self) -> Streaming<I> {
        self.said
    }

    pub async fn fail(self, status: Status) {
        let _ = self.to_zone.send(Err(status)).await;
    }
}

pub type Down = Opened<DeltaRequest, DeltaResponse>;
pub type Up = Opened<DeltaResponse, DeltaRequest>;

struct Service {
    down: mpsc::Sender<Down>,
    up: mpsc::Sender<Up>,
}

type Answers<O> = Pin<Box<dyn Stream<Item = Result<O, Status>> + Send>>;

async fn open<I, O: Send + 'static>(
    request: Request<Streaming<I>>,
    opened: &mpsc::Sender<Opened<I, O>>,
) -> Result<Response<Answers<O>>, Status> {
    let (to_zone, answers) = mpsc::channel(1);
    let stream = Opened { said: request.into_inner(), to_zone };
    opened.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
    Ok(Response::new(ReceiverStream::new(answers).boxed()))
}

#[async_trait::async_trait]
impl KDSSyncService for Service {
    type GlobalToZoneSyncStream = Answers<DeltaResponse>;
    type ZoneToGlobalSyncStream = Answers<DeltaRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        open(request, &self.down).await
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        open(request, &self.up).await
    }
}

/// The global, and a zone of ours that is connected to it.
pub struct FakeGlobal {
    down: mpsc::Receiver<Down>,
    up: mpsc::Receiver<Up>,
    pub zone: RunningZone,
    rounds: usize,
}

impl FakeGlobal {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let ((down_sender, down), (up_sender, up)) = (mpsc::channel(64), mpsc::channel(64));
        let service = KDSSyncServiceServer::new(Service { down: down_sender, up: up_sender })
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let zone = RunningZone::start_with(settings("east", address), &store());
        Self { down, up, zone, rounds: 0 }
    }

    /// The newest stream to the zone, after its subscriptions.
    pub async fn down(&mut self) -> Down {
        loop {
            let mut stream = newest(&mut self.down).await;
            let mut asked = 0;
            while asked < Kind::all().filter(|kind| kind.descriptor().direction.sent_to_zones()).count() {
                match stream.hear().await {
                    Ok(_) => asked += 1,
                    Err(_) => break, // given up with the one before
                }
            }
            if asked > 0 && self.down.is_empty() {
                return stream;
            }
        }
    }

    /// The newest stream from the zone.
    pub async fn up(&mut self) -> Up {
        newest(&mut self.up).await
    }

    /// Shows that the zone takes what a well-behaved global sends.
    pub async fn works(&mut self) {
        self.rounds += 1;
        let name = format!("round-{}", self.rounds);
        // A stream may have been opened just before the zone gave its connection up.
        let began = tokio::time::Instant::now();
        loop {
            let mut down = self.down().await;
            down.say(crate::against_zone::meshes(&[&name], "works")).await;
            if down.hear().await.is_ok_and(|answer| answer.response_nonce == "works" && answer.error_detail.is_none()) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "the zone takes nothing");
        }
        wait_until_exists(&self.zone.store, &mesh(&name).key).await;
    }

    /// How many times the zone connects within a moment.
    pub async fn attempts_within(&mut self, time: Duration) -> usize {
        let until = tokio::time::Instant::now() + time;
        let mut attempts = 0;
        while let Ok(Some(stream)) = tokio::time::timeout_at(until, self.down.recv()).await {
            attempts += 1;
            stream.fail(Status::resource_exhausted("again")).await;
        }
        attempts
    }
}

async fn newest<T>(streams: &mut mpsc::Receiver<T>) -> T {
    let first = tokio::time::timeout(PATIENCE, streams.recv()).await.expect("the zone connects");
    let mut newest = first.expect("the server runs");
    while let Ok(newer) = streams.try_recv() {
        newest = newer;
    }
    newest
}

/// What a global asks for first.
pub fn question(type_url: &str) -> DeltaRequest {
    DeltaRequest {
        node: Some(Identity::default().node("east")),
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec![WILDCARD.to_owned()],
        ..DeltaRequest::default()
    }
}

pub fn confirmation(type_url: &str, nonce: &str) -> DeltaRequest {
    DeltaRequest {
        node: Some(node::bare("east")),
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaRequest::default()
    }
}
