//! The life of a simulated zone: one TLS connection with the streams that a zone of Kuma opens, every response applied and
//! acknowledged at once; and again when it breaks.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use super::mirror::{self, Mirror};
use super::wire::{self, DeltaRequest, DeltaResponse, TYPES};
use crate::load::connection::{Dialer, Http2, Server};
use crate::load::tally::{Observer, Sign, Tally};

const GLOBAL_TO_ZONE: &str = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync";
const ZONE_TO_GLOBAL: &str = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync";
const HEALTH_CHECK: &str = "/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck";
const ADMIN: [&str; 3] = [
    "/kuma.mesh.v1alpha1.GlobalKDSService/StreamXDSConfigs",
    "/kuma.mesh.v1alpha1.GlobalKDSService/StreamStats",
    "/kuma.mesh.v1alpha1.GlobalKDSService/StreamClusters",
];

/// Pauses before the next attempts to connect; the last one repeats.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Time between health checks.
const PING: Duration = Duration::from_secs(300);

/// Requests that wait to be sent: all subscriptions, and an answer for each type.
const PENDING_REQUESTS: usize = 2 * TYPES.len();

/// What all zones of a run share.
pub(super) struct Shared {
    dialer: Dialer,
    server: Server,
    tally: Arc<Tally>,
    /// What the names of the zones begin with.
    prefix: String,
    mirrors: Vec<Mutex<Mirror>>,
}

impl Shared {
    /// Zones that connect to `server`, one for each mirror.
    pub(super) fn new(server: Server, prefix: &str, mirrors: Vec<Mirror>) -> Result<Self> {
        let tally = Arc::new(Tally::new(mirrors.len()));
        Ok(Self {
            dialer: Dialer::new(Arc::clone(&tally))?,
            server,
            tally,
            prefix: prefix.to_owned(),
            mirrors: mirrors.into_iter().map(Mutex::new).collect(),
        })
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// What a zone has by now.
    pub(super) fn mirror(&self, index: usize) -> MutexGuard<'_, Mirror> {
        self.mirrors[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the zone with this index until the task is aborted.
pub(super) async fn run(shared: Arc<Shared>, index: usize) {
    let observer = Observer::new(&shared.tally, index);
    let mut attempt = 0;
    loop {
        shared.mirror(index).clear();
        let zone = Zone { shared: &shared, index, name: format!("{}-{index}", shared.prefix), observer: &observer };
        let Err(error) = zone.connect().await;
        observer.failed(&error);
        attempt = if shared.mirror(index).is_complete() { 0 } else { attempt + 1 };
        let pause = PAUSES[attempt.min(PAUSES.len() - 1)];
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

struct Zone<'a> {
    shared: &'a Shared,
    index: usize,
    name: String,
    observer: &'a Observer<'a>,
}

impl Zone<'_> {
    /// One connection until any of its streams ends, which is always an error.
    async fn connect(&self) -> Result<Infallible> {
        let connection = self.shared.dialer.grpc(&self.shared.server).await?;
        let client = connection.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        let [dumps, statistics, clusters] = ADMIN;
        tokio::try_join!(
            self.receive(client.clone()),
            self.send(client.clone()),
            self.ping(client.clone()),
            self.wait_for_questions(client.clone(), dumps),
            self.wait_for_questions(client.clone(), statistics),
            self.wait_for_questions(client, clusters),
        )
        .map(|(never, ..)| never)
    }

    /// Resources of global.
    async fn receive(&self, client: Grpc<Http2>) -> Result<Infallible> {
        let (requests, pending) = mpsc::channel(PENDING_REQUESTS);
        for request in wire::subscriptions(&self.name, &format!("{}-0001", self.name)) {
            requests.try_send(request).map_err(|_| anyhow!("there is room for all subscriptions"))?;
        }
        let node = wire::bare_node(&self.name);
        let mut responses: Streaming<DeltaResponse> = self.stream(client, GLOBAL_TO_ZONE, pending).await?;
        while let Some(response) = responses.message().await.context("stream from global")? {
            self.shared.mirror(self.index).apply(&response)?;
            let answer = DeltaRequest {
                node: Some(node.clone()),
                type_url: response.type_url.clone(),
                nonce: response.nonce.clone(),
                ..DeltaRequest::default()
            };
            requests.send(answer).await.map_err(|_| anyhow!("global no longer takes requests"))?;
            self.observer.look(
                || self.shared.mirror(self.index).is_complete(),
                |sign| match sign {
                    Sign::Timeout(timeout) => mirror::has_connect_timeout(&response, timeout),
                    // Zones have neither endpoints nor clusters.
                    Sign::Endpoint(_) | Sign::Connections(_) => false,
                },
            );
        }
        bail!("global ended the stream to the zone")
    }

    /// Resources of the zone, which has none: each type that global asks for is answered once, with nothing.
    async fn send(&self, client: Grpc<Http2>) -> Result<Infallible> {
        let (responses, pending) = mpsc::channel(PENDING_REQUESTS);
        let mut requests: Streaming<DeltaRequest> = self.stream(client, ZONE_TO_GLOBAL, pending).await?;
        let mut nonce = 0_u64;
        while let Some(request) = requests.message().await.context("stream to global")? {
            if request.nonce.is_empty() {
                nonce += 1;
                let answer =
                    DeltaResponse { type_url: request.type_url, nonce: nonce.to_string(), ..DeltaResponse::default() };
                responses.send(answer).await.map_err(|_| anyhow!("global no longer takes responses"))?;
            }
        }
        bail!("global ended the stream from the zone")
    }

    async fn ping(&self, mut client: Grpc<Http2>) -> Result<Infallible> {
        loop {
            client.ready().await?;
            let path = PathAndQuery::from_static(HEALTH_CHECK);
            client.unary(self.request(()), path, ProstCodec::<(), ()>::default()).await.context("health check")?;
            tokio::time::sleep(PING).await;
        }
    }

    /// A stream on which global asks about Envoys, of which there are none.
    async fn wait_for_questions(&self, client: Grpc<Http2>, method: &'static str) -> Result<Infallible> {
        let (_answers, pending) = mpsc::channel::<()>(1);
        let opened: Result<Streaming<()>> = self.stream(client, method, pending).await;
        let mut questions = match opened {
            // As for Kuma's zones, this is no reason to part.
            Err(error) if error.downcast_ref::<tonic::Status>().is_some_and(|s| s.code() == Code::Unimplemented) => {
                return std::future::pending().await;
            }
            opened => opened?,
        };
        while questions.message().await.context("stream of questions")?.is_some() {}
        bail!("global ended the stream {method}")
    }

    /// Opens a stream on which `pending` is sent.
    async fn stream<Q, S>(
        &self,
        mut client: Grpc<Http2>,
        method: &'static str,
        pending: mpsc::Receiver<Q>,
    ) -> Result<Streaming<S>>
    where
        Q: Message + 'static,
        S: Message + Default + 'static,
    {
        client.ready().await?;
        let request = self.request(ReceiverStream::new(pending));
        let codec: ProstCodec<Q, S> = ProstCodec::default();
        let stream = client.streaming(request, PathAndQuery::from_static(method), codec).await.context(method)?;
        Ok(stream.into_inner())
    }

    /// A request with the headers by which a zone introduces itself.
    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        let name = self.name.parse().expect("names of simulated zones are letters, digits and dashes");
        metadata.insert("client-id", name);
        metadata.insert("version", MetadataValue::from_static(wire::VERSION));
        metadata.insert("kds-version", MetadataValue::from_static("v3"));
        metadata.append("features", MetadataValue::from_static("zone-ping-health"));
        metadata.append("features", MetadataValue::from_static("hash-suffix"));
        request
    }
}
