//! A global that does as a test says, for a zone under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tandem_kds::node;
use tandem_kds::rpc::global_k_d_s_service_server::{GlobalKDSService, GlobalKDSServiceServer};
use tandem_kds::rpc::k_d_s_sync_service_server::{KDSSyncService, KDSSyncServiceServer};
use tandem_kds::wire::{DeltaRequest, DeltaResponse, WILDCARD};
use tandem_proto::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use super::common::eventually;

/// The first health checks fail.
const FAILING_CHECKS: usize = 2;

/// The streams of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    Down,
    Up,
    ConfigDumps,
    Statistics,
    Clusters,
}

/// How a stream ends; `None` is a clean end.
pub type Ending = Option<Status>;

/// A listening global.
pub struct ScriptedGlobal {
    pub address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    zone: String,
    lines: Mutex<BTreeMap<Line, LineState>>,
    down: Mutex<Option<mpsc::Sender<Result<DeltaResponse, Status>>>>,
    statistics: Mutex<Option<mpsc::Sender<Result<StatsRequest, Status>>>>,
    answers: Mutex<Vec<DeltaRequest>>,
    received: Mutex<BTreeSet<String>>,
    checks: AtomicUsize,
    answered: AtomicUsize,
}

#[derive(Default)]
struct LineState {
    opened: usize,
    end: Option<mpsc::Sender<Ending>>,
}

impl ScriptedGlobal {
    /// Listens for a zone.
    pub async fn listen(zone: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State { zone: zone.to_owned(), ..State::default() });
        let gzip = CompressionEncoding::Gzip;
        let synchronization = KDSSyncServiceServer::new(Service(state.clone())).accept_compressed(gzip);
        let questions = GlobalKDSServiceServer::new(Service(state.clone())).accept_compressed(gzip);
        let server = tonic::transport::Server::builder()
            .add_service(synchronization)
            .add_service(questions)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.expect("the socket works") });
        Self { address, state, server }
    }

    /// How often a stream was opened.
    pub fn opened(&self, line: Line) -> usize {
        self.state.lines.lock().get(&line).map_or(0, |line| line.opened)
    }

    /// Waits until the zone has opened all streams, and has been asked for what it has.
    pub async fn until_connected(&self) {
        for line in [Line::Down, Line::Up, Line::ConfigDumps, Line::Statistics, Line::Clusters] {
            eventually(&format!("the zone opens {line:?}"), || self.opened(line) > 0).await;
        }
    }

    /// Ends a stream, and waits until the zone has opened it again.
    pub async fn end(&self, line: Line, ending: Ending) {
        let opened = self.opened(line);
        let text = format!("{line:?} is opened again after {ending:?}");
        let end = self.state.lines.lock().get(&line).and_then(|line| line.end.clone()).expect("it is open");
        end.send(ending).await.expect("it is open");
        eventually(&text, || self.opened(line) > opened).await;
    }

    /// Sends a response, and gives what the zone complains about.
    pub async fn send(&self, response: DeltaResponse) -> Option<String> {
        let nonce = response.nonce.clone();
        let down = self.state.down.lock().clone().expect("the zone is connected");
        down.send(Ok(response)).await.expect("the stream is open");
        let answer = || self.state.answers.lock().iter().find(|answer| answer.response_nonce == nonce).cloned();
        eventually("the zone answers", || answer().is_some()).await;
        answer().and_then(|answer| answer.error_detail).map(|detail| detail.message)
    }

    /// Asks for statistics, without waiting for anything but room to send.
    pub async fn ask(&self, request: StatsRequest) {
        let statistics = self.state.statistics.lock().clone().expect("the zone is connected");
        // The zone may have gone.
        let _ = statistics.send(Ok(request)).await;
    }

    /// How many answers to questions for statistics have come.
    pub fn answers(&self) -> usize {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// True once a health check was answered.
    pub fn answered_a_check(&self) -> bool {
        self.state.checks.load(Ordering::SeqCst) > FAILING_CHECKS
    }

    /// True once the zone has sent a resource of this name.
    pub fn has(&self, name: &str) -> bool {
        self.state.received.lock().contains(name)
    }
}

impl Drop for ScriptedGlobal {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    /// Notes that a stream was opened; gives what it carries until it is told to end.
    fn open<M: Send + 'static>(&self, line: Line, messages: mpsc::Receiver<Result<M, Status>>) -> Outgoing<M> {
        let (end, ended) = mpsc::channel(1);
        let mut lines = self.lines.lock();
        let state = lines.entry(line).or_default();
        state.opened += 1;
        state.end = Some(end);
        let messages = ReceiverStream::new(messages).map(Carried::Message);
        let ended = ReceiverStream::new(ended).map(Carried::End).chain(futures::stream::pending());
        futures::stream::select(messages.chain(futures::stream::pending()), ended)
            .scan(false, |over, carried| {
                let item = match carried {
                    _ if *over => None,
                    Carried::Message(message) => Some(message),
                    Carried::End(None) => None,
                    Carried::End(Some(status)) => {
                        *over = true;
                        Some(Err(status))
                    }
                };
                std::future::ready(item)
            })
            .boxed()
    }
}

enum Carried<M> {
    Message(Result<M, Status>),
    End(Ending),
}

type Outgoing<M> = BoxStream<'static, Result<M, Status>>;

struct Service(Arc<State>);

#[async_trait::async_trait]
impl KDSSyncService for Service {
    type GlobalToZoneSyncStream = Outgoing<DeltaResponse>;
    type ZoneToGlobalSyncStream = Outgoing<DeltaRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaRequest>>,
    ) -> Result<Response<Outgoing<DeltaResponse>>, Status> {
        let (down, outgoing) = mpsc::channel(4);
        *self.0.down.lock() = Some(down);
        let (state, mut requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                state.answers.lock().push(request);
            }
        });
        Ok(Response::new(self.0.open(Line::Down, outgoing)))
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaResponse>>,
    ) -> Result<Response<Outgoing<DeltaRequest>>, Status> {
        let (up, outgoing) = mpsc::channel(64);
        let node = Some(node::bare(&self.0.zone));
        let subscription = DeltaRequest {
            node: node.clone(),
            type_url: "MeshService".into(),
            resource_names_subscribe: vec![WILDCARD.into()],
            ..DeltaRequest::default()
        };
        up.send(Ok(subscription)).await.expect("there is room");
        let (state, mut responses) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(response)) = responses.message().await {
                for body in &response.resources {
                    let service = tandem_kds::codec::decode(tandem_model::Kind::MeshService, body).expect("a service");
                    state.received.lock().insert(service.display_name().to_owned());
                }
                let acknowledgement = DeltaRequest {
                    node: node.clone(),
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    ..DeltaRequest::default()
                };
                // The stream may have ended.
                let _ = up.send(Ok(acknowledgement)).await;
            }
        });
        Ok(Response::new(self.0.open(Line::Up, outgoing)))
    }
}

#[async_trait::async_trait]
impl GlobalKDSService for Service {
    type StreamXDSConfigsStream = Outgoing<XdsConfigRequest>;
    type StreamStatsStream = Outgoing<StatsRequest>;
    type StreamClustersStream = Outgoing<ClustersRequest>;

    async fn health_check(
        &self,
        _: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        let before = self.0.checks.fetch_add(1, Ordering::SeqCst);
        if before < FAILING_CHECKS {
            return Err(Status::internal("a health check that fails"));
        }
        Ok(Response::new(ZoneHealthCheckResponse::default()))
    }

    async fn stream_xds_configs(
        &self,
        request: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Outgoing<XdsConfigRequest>>, Status> {
        discard(request.into_inner());
        Ok(Response::new(self.0.open(Line::ConfigDumps, silence())))
    }

    async fn stream_stats(
        &self,
        request: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Outgoing<StatsRequest>>, Status> {
        let (state, mut answers) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(_)) = answers.message().await {
                state.answered.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (statistics, outgoing) = mpsc::channel(1);
        *self.0.statistics.lock() = Some(statistics);
        Ok(Response::new(self.0.open(Line::Statistics, outgoing)))
    }

    async fn stream_clusters(
        &self,
        request: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Outgoing<ClustersRequest>>, Status> {
        discard(request.into_inner());
        Ok(Response::new(self.0.open(Line::Clusters, silence())))
    }
}

fn silence<M>() -> mpsc::Receiver<Result<M, Status>> {
    mpsc::channel(1).1
}

fn discard<M: Send + 'static>(mut stream: impl Stream<Item = M> + Send + Unpin + 'static) {
    tokio::spawn(async move { while stream.next().await.is_some() {} });
}
