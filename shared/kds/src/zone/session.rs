//! One connection to global, with all its streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use tandem_proto::mesh::v1alpha1::ZoneHealthCheckRequest;
use tandem_proto::system::v1alpha1::KdsSubscription;
use tandem_store::SharedStore;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::admin::Answering;
use super::backoff::Backoff;
use super::to_global::GlobalOutlet;
use super::{STABLE, ZoneSettings};
use crate::admin::{AdminExecutor, AdminProtocol, Clusters, ConfigDumps, Statistics};
use crate::apply::Applier;
use crate::catalogue::Catalogue;
use crate::insight::{Connection, Insights};
use crate::metadata::Headers;
use crate::node::{self, identity_of};
use crate::pause::Pause;
use crate::rpc::global_k_d_s_service_client::GlobalKDSServiceClient;
use crate::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use crate::sender::DeltaSender;
use crate::status::Trouble;
use crate::stream::{self, Observer, Pace, SEND_AHEAD};
use crate::wire::DeltaRequest;

/// Time between health checks when global names none.
const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Limit for the answer to a health check.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after a health check that failed.
const PING_RETRY: Duration = Duration::from_secs(5);
/// Health checks that fail one after the other before the connection is given up.
const PING_FAILURES: usize = 3;

pub(crate) struct Session {
    pub(crate) settings: ZoneSettings,
    pub(crate) store: SharedStore,
    pub(crate) applier: Arc<Applier>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) insights: Arc<Insights>,
    pub(crate) executor: Arc<dyn AdminExecutor>,
    pub(crate) headers: Headers,
    pub(crate) observer: Observer,
}

impl Session {
    /// Runs all streams until one of the two that synchronize ends, or global is not alive; tells why.
    pub(crate) async fn run(&self, channel: Channel) -> Status {
        let limit = self.settings.common.max_message_bytes;
        let synchronization = KDSSyncServiceClient::new(channel.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let health = GlobalKDSServiceClient::new(channel)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        tokio::select! {
            biased;
            status = self.receive(synchronization.clone()) => status,
            status = self.send(synchronization) => status,
            status = self.ping(health.clone()) => status,
            never = self.admin::<ConfigDumps, _, _>(&health, |mut client, request| async move {
                client.stream_xds_configs(request).await
            }) => match never {},
            never = self.admin::<Statistics, _, _>(&health, |mut client, request| async move {
                client.stream_stats(request).await
            }) => match never {},
            never = self.admin::<Clusters, _, _>(&health, |mut client, request| async move {
                client.stream_clusters(request).await
            }) => match never {},
        }
    }

    /// True when global has answered on the last connection.
    pub(crate) fn is_synchronized(&self) -> bool {
        self.observer.status.peer(&self.observer.peer).is_some_and(|peer| peer.has_received())
    }

    /// Notes that there is no connection; true when there was one.
    pub(crate) fn disconnected(&self, reason: &str) -> bool {
        let mut was_connected = false;
        self.observer.status.update(&self.observer.peer, |peer| {
            was_connected = peer.connected.take().is_some();
            if was_connected {
                peer.disconnected = Some(self.settings.common.surroundings.now());
            }
            peer.error = Some(Trouble::new(reason));
        });
        was_connected
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        self.headers.apply(request.metadata_mut());
        request
    }

    async fn receive(&self, mut client: KDSSyncServiceClient<Channel>) -> Status {
        let (requests, outgoing) = mpsc::channel(SEND_AHEAD);
        let request = self.request(ReceiverStream::new(outgoing));
        let _connected = self.observer.metrics.peer();
        let connected = AtomicBool::new(false);
        let call = async move { client.global_to_zone_sync(request).await };
        let responses = flatten(call).inspect_ok(|_| {
            if !connected.swap(true, Ordering::Relaxed) {
                info!(global = %self.settings.global, "connected to global");
                self.observer.status.update(&self.observer.peer, |peer| {
                    peer.connected = Some(self.settings.common.surroundings.now());
                    peer.error = None;
                });
            }
        });
        let ZoneSettings { zone, common, .. } = &self.settings;
        let intake = self.applier.open();
        let pace = Pace { backoff: common.response_backoff, pause: Pause::never(), most_kept: 0 };
        let observer = self.observer.clone();
        let result = stream::receive(responses.boxed(), requests, intake, zone, &common.identity, pace, observer).await;
        result.err().unwrap_or_else(|| Status::unavailable("global ended the stream"))
    }

    async fn send(&self, mut client: KDSSyncServiceClient<Channel>) -> Status {
        let (responses, outgoing) = mpsc::channel(SEND_AHEAD);
        let request = self.request(ReceiverStream::new(outgoing));
        let subscription = KdsSubscription {
            zone_instance_id: self.settings.common.identity.instance.clone(),
            ..KdsSubscription::default()
        };
        let connection = Arc::new(self.insights.connect(&self.settings.zone, subscription));
        let described = AtomicBool::new(false);
        let call = async move { client.zone_to_global_sync(request).await };
        let requests = flatten(call).inspect_ok(|request| {
            if !described.swap(true, Ordering::Relaxed) {
                self.describe(&connection, request);
            }
        });
        let sender = DeltaSender::new(GlobalOutlet::new(&self.settings), self.settings.common.max_message_bytes)
            .of(self.store.id());
        let subscription = self.catalogue.subscribe();
        let (pause, observer) = (Pause::never(), self.observer.clone());
        let result =
            stream::send(requests.boxed(), responses, sender, subscription, connection.clone(), pause, observer).await;
        result.err().unwrap_or_else(|| Status::unavailable("global ended the stream"))
    }

    /// Notes what global tells about itself in its first request.
    fn describe(&self, connection: &Connection, request: &DeltaRequest) {
        let Some(node) = &request.node else { return };
        let global = identity_of(node);
        self.observer.status.update(&self.observer.peer, |peer| {
            peer.instance.clone_from(&global.instance);
            peer.version.clone_from(&global.version.version);
        });
        connection.describe(|subscription| {
            let ours = &self.settings.common.identity.version;
            subscription.version = Some(node::judged_aloud(&self.observer.peer, &global.version, ours));
            subscription.config = global.config;
            subscription.global_instance_id = global.instance;
        });
    }

    /// Says that the zone is alive, as often as global wants; only if global wants to know. Ends when global has not
    /// answered several times: one failure is no reason to give up synchronization that works.
    async fn ping(&self, mut client: GlobalKDSServiceClient<Channel>) -> Status {
        let mut interval = PING_INTERVAL;
        let mut failures = 0;
        loop {
            let ping = client.health_check(self.request(ZoneHealthCheckRequest {}));
            let failure = match tokio::time::timeout(PING_TIMEOUT, ping).await {
                Err(_) => Status::deadline_exceeded("global did not answer a health check"),
                Ok(Err(status)) if status.code() == Code::Unimplemented => return std::future::pending().await,
                Ok(Err(status)) => status,
                Ok(Ok(response)) => {
                    failures = 0;
                    let wanted = response.into_inner().interval.and_then(|wanted| Duration::try_from(wanted).ok());
                    interval = wanted.filter(|wanted| !wanted.is_zero()).unwrap_or(interval);
                    tokio::time::sleep(interval).await;
                    continue;
                }
            };
            failures += 1;
            if failures == PING_FAILURES {
                return failure;
            }
            warn!(reason = failure.message(), retry_in = ?PING_RETRY, "a health check failed ({:?})", failure.code());
            tokio::time::sleep(PING_RETRY).await;
        }
    }

    /// Answers questions to Envoys on one of the streams, which is opened again, alone, whenever it ends; a global that
    /// does not ask is left in peace.
    async fn admin<P, F, Call>(&self, client: &GlobalKDSServiceClient<Channel>, open: F) -> Infallible
    where
        P: AdminProtocol,
        F: Fn(GlobalKDSServiceClient<Channel>, Request<ReceiverStream<P::Response>>) -> Call,
        Call: Future<Output = Result<Response<Streaming<P::Request>>, Status>> + Send + 'static,
    {
        let common = &self.settings.common;
        let answering = Answering::new(self.executor.clone(), common.max_message_bytes);
        let mut backoff = Backoff::new(self.settings.backoff, common.surroundings.clone());
        loop {
            let began = Instant::now();
            let (responses, outgoing) = mpsc::channel(SEND_AHEAD);
            let requests = flatten(open(client.clone(), self.request(ReceiverStream::new(outgoing))));
            let status = answering.run::<P>(requests, responses).await;
            let (stream, reason, code) = (P::STREAM, status.message(), status.code());
            if code == Code::Unimplemented {
                warn!(reason, "global does not ask Envoys of this zone on a stream ({stream:?})");
                return std::future::pending().await;
            }
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let pause = backoff.next_pause();
            warn!(reason, retry_in = ?pause, "a stream for questions to Envoys ended ({stream:?}, {code:?})");
            tokio::time::sleep(pause).await;
        }
    }
}

/// The messages of a stream that is being opened. Peers may open their half only with their first message, so nothing
/// must wait for that.
fn flatten<M: Send + 'static>(
    call: impl Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
) -> BoxStream<'static, Result<M, Status>> {
    call.map_ok(Response::into_inner).try_flatten_stream().boxed()
}
