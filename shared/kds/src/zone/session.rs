//! One connection to global, with all its streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use jiff::Timestamp;
use tandem_proto::mesh::v1alpha1::ZoneHealthCheckRequest;
use tandem_proto::system::v1alpha1::KdsSubscription;
use tandem_store::SharedStore;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::ZoneSettings;
use super::admin;
use super::to_global::GlobalOutlet;
use crate::admin::{AdminExecutor, AdminProtocol, Clusters, ConfigDumps, Statistics};
use crate::apply::Applier;
use crate::catalogue::Catalogue;
use crate::inlet::Inlet;
use crate::insight::{Connection, Insights};
use crate::metadata::Headers;
use crate::node::{self, identity_of};
use crate::rpc::global_k_d_s_service_client::GlobalKDSServiceClient;
use crate::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use crate::sender::DeltaSender;
use crate::stream::{self, Observer, SEND_AHEAD};
use crate::wire::DeltaRequest;

/// Time between health checks when global names none.
const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Limit for the answer to a health check.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Session {
    pub(crate) settings: ZoneSettings,
    pub(crate) store: SharedStore,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) insights: Arc<Insights>,
    pub(crate) executor: Arc<dyn AdminExecutor>,
    pub(crate) headers: Headers,
    pub(crate) observer: Observer,
}

impl Session {
    /// Runs all streams until one of them ends; tells why it ended.
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
            status = self.receive(synchronization.clone()) => status,
            status = self.send(synchronization) => status,
            status = self.ping(health.clone()) => status,
            status = self.admin::<ConfigDumps, _, _>(health.clone(), |mut client, request| async move {
                client.stream_xds_configs(request).await
            }) => status,
            status = self.admin::<Statistics, _, _>(health.clone(), |mut client, request| async move {
                client.stream_stats(request).await
            }) => status,
            status = self.admin::<Clusters, _, _>(health, |mut client, request| async move {
                client.stream_clusters(request).await
            }) => status,
        }
    }

    /// True when global has answered on the last connection.
    pub(crate) fn is_synchronized(&self) -> bool {
        self.observer.status.peer(&self.observer.peer).is_some_and(|peer| !peer.received.is_empty())
    }

    /// Notes that there is no connection; true when there was one.
    pub(crate) fn disconnected(&self, reason: &str) -> bool {
        let mut was_connected = false;
        self.observer.status.update(&self.observer.peer, |peer| {
            was_connected = peer.connected.take().is_some();
            peer.error = Some(reason.to_owned());
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
                    peer.connected = Some(Timestamp::now());
                    peer.error = None;
                });
            }
        });
        let applier =
            Applier { store: self.store.clone(), inlet: Inlet::Zone, validate: self.settings.common.validate.clone() };
        let identity = &self.settings.common.identity;
        let result =
            stream::receive(responses.boxed(), requests, applier, &self.settings.zone, identity, self.observer.clone())
                .await;
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
        let outlet = GlobalOutlet {
            zone: self.settings.zone.clone(),
            skip_label_prefixes: self.settings.common.skip_label_prefixes.clone(),
        };
        let sender = DeltaSender::new(outlet, self.settings.common.max_message_bytes);
        let subscription = self.catalogue.subscribe();
        let result =
            stream::send(requests.boxed(), responses, sender, subscription, connection.clone(), self.observer.clone())
                .await;
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
            subscription.version = Some(node::judged(&global.version, &self.settings.common.identity.version));
            subscription.config = global.config;
            subscription.global_instance_id = global.instance;
        });
    }

    /// Says that the zone is alive, as often as global wants; only if global wants to know.
    async fn ping(&self, mut client: GlobalKDSServiceClient<Channel>) -> Status {
        let mut interval = PING_INTERVAL;
        loop {
            let ping = client.health_check(self.request(ZoneHealthCheckRequest {}));
            match tokio::time::timeout(PING_TIMEOUT, ping).await {
                Err(_) => return Status::deadline_exceeded("global did not answer a health check"),
                Ok(Err(status)) if status.code() == Code::Unimplemented => return std::future::pending().await,
                Ok(Err(status)) => return status,
                Ok(Ok(response)) => {
                    let wanted = response.into_inner().interval.and_then(|wanted| Duration::try_from(wanted).ok());
                    interval = wanted.filter(|wanted| !wanted.is_zero()).unwrap_or(interval);
                }
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Answers questions to Envoys on one of the streams; a global that does not ask is no reason to part.
    async fn admin<P, F, Call>(&self, client: GlobalKDSServiceClient<Channel>, open: F) -> Status
    where
        P: AdminProtocol,
        F: FnOnce(GlobalKDSServiceClient<Channel>, Request<ReceiverStream<P::Response>>) -> Call,
        Call: Future<Output = Result<Response<Streaming<P::Request>>, Status>> + Send + 'static,
    {
        let (responses, outgoing) = mpsc::channel(SEND_AHEAD);
        let requests = flatten(open(client, self.request(ReceiverStream::new(outgoing))));
        let status = admin::answer::<P>(requests, responses, self.executor.clone()).await;
        match status.code() {
            Code::Unimplemented | Code::Cancelled => {
                warn!(
                    reason = status.message(),
                    "global does not ask Envoys of this zone on a stream ({:?})",
                    P::STREAM
                );
                std::future::pending().await
            }
            _ => status,
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
