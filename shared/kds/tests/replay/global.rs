//! A global that speaks as a recorded one did, as the server of a zone under test.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tandem_kds::rpc::global_k_d_s_service_server::{GlobalKDSService, GlobalKDSServiceServer};
use tandem_kds::rpc::k_d_s_sync_service_server::{KDSSyncService, KDSSyncServiceServer};
use tandem_kds::wire::{ControlPlane, DeltaRequest, DeltaResponse};
use tandem_proto::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

use super::common::eventually;
use super::recording::Response;
use super::zone::{Arrived, Inbox, acknowledgement};

/// A listening global.
pub struct PlayedGlobal {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    zone: String,
    subscriptions: Vec<DeltaRequest>,
    inbox: Inbox,
    said: Mutex<Said>,
}

/// What the zone has said.
#[derive(Default)]
struct Said {
    headers: Vec<MetadataMap>,
    requests: Vec<DeltaRequest>,
    down: Option<mpsc::Sender<Result<DeltaResponse, Status>>>,
}

impl PlayedGlobal {
    /// Listens for a zone; will ask it for what the recorded global asked it.
    pub async fn listen(zone: &str, subscriptions: Vec<DeltaRequest>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let shared =
            Arc::new(Shared { zone: zone.to_owned(), subscriptions, inbox: Inbox::default(), said: Mutex::default() });
        let gzip = CompressionEncoding::Gzip;
        let synchronization =
            KDSSyncServiceServer::new(Synchronization(shared.clone())).accept_compressed(gzip).send_compressed(gzip);
        let server = tonic::transport::Server::builder()
            .add_service(synchronization)
            .add_service(GlobalKDSServiceServer::new(Quiet))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.expect("the socket works") });
        Self { address, shared, server }
    }

    /// What the zone sent.
    pub fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    /// Headers of the synchronization streams.
    pub fn headers(&self) -> Vec<MetadataMap> {
        self.shared.said.lock().headers.clone()
    }

    /// First requests of the zone.
    pub fn asked(&self) -> Vec<DeltaRequest> {
        let said = self.shared.said.lock();
        said.requests.iter().filter(|request| request.response_nonce.is_empty()).cloned().collect()
    }

    /// Waits until the zone has asked for so many types.
    pub async fn until_asked(&self, types: usize) {
        eventually("the zone subscribes", || self.asked().len() >= types).await;
    }

    /// Sends resources and waits for the answer; returns the complaint.
    pub async fn offer(&self, response: &Response) -> Option<String> {
        let content = response.content.as_ref().expect("its content is known");
        let message = DeltaResponse {
            type_url: response.kind.name().to_owned(),
            nonce: response.nonce.clone(),
            resources: content.resources.iter().map(|wired| wired.body.clone()).collect(),
            removed_resources: content.removed.clone(),
            control_plane: Some(ControlPlane { identifier: "global".into() }),
            ..DeltaResponse::default()
        };
        let down = self.shared.said.lock().down.clone().expect("the zone is connected");
        down.send(Ok(message)).await.expect("the stream is open");
        let answer = || {
            let said = self.shared.said.lock();
            said.requests.iter().find(|request| request.response_nonce == response.nonce).cloned()
        };
        eventually("the zone answers", || answer().is_some()).await;
        let answer = answer().expect("just seen");
        assert_eq!(answer.type_url, response.kind.name());
        assert_eq!(answer.node.map(|node| node.id).as_deref(), Some(self.shared.zone.as_str()));
        answer.error_detail.map(|detail| detail.message)
    }
}

impl Drop for PlayedGlobal {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Synchronization(Arc<Shared>);

type Out<M> = ReceiverStream<Result<M, Status>>;

#[async_trait::async_trait]
impl KDSSyncService for Synchronization {
    type GlobalToZoneSyncStream = Out<DeltaResponse>;
    type ZoneToGlobalSyncStream = Out<DeltaRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaRequest>>,
    ) -> Result<tonic::Response<Self::GlobalToZoneSyncStream>, Status> {
        let (down, outgoing) = mpsc::channel(64);
        {
            let mut said = self.0.said.lock();
            said.headers.push(request.metadata().clone());
            said.down = Some(down);
        }
        let (shared, mut requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                shared.said.lock().requests.push(request);
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(outgoing)))
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaResponse>>,
    ) -> Result<tonic::Response<Self::ZoneToGlobalSyncStream>, Status> {
        self.0.said.lock().headers.push(request.metadata().clone());
        let (up, outgoing) = mpsc::channel(64);
        let (shared, mut responses) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            for subscription in &shared.subscriptions {
                up.send(Ok(subscription.clone())).await.expect("the stream is open");
            }
            while let Ok(Some(response)) = responses.message().await {
                shared.inbox.push(Arrived::read(&response));
                // The test may be over.
                let _ = up.send(Ok(acknowledgement(&shared.zone, &response))).await;
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Says nothing by itself.
struct Quiet;

#[async_trait::async_trait]
impl GlobalKDSService for Quiet {
    type StreamXDSConfigsStream = futures::stream::Pending<Result<XdsConfigRequest, Status>>;
    type StreamStatsStream = futures::stream::Pending<Result<StatsRequest, Status>>;
    type StreamClustersStream = futures::stream::Pending<Result<ClustersRequest, Status>>;

    async fn health_check(
        &self,
        _: Request<ZoneHealthCheckRequest>,
    ) -> Result<tonic::Response<ZoneHealthCheckResponse>, Status> {
        Ok(tonic::Response::new(ZoneHealthCheckResponse { interval: Some(prost_types::Duration::default()) }))
    }

    async fn stream_xds_configs(
        &self,
        _: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<tonic::Response<Self::StreamXDSConfigsStream>, Status> {
        Ok(tonic::Response::new(futures::stream::pending()))
    }

    async fn stream_stats(
        &self,
        _: Request<Streaming<StatsResponse>>,
    ) -> Result<tonic::Response<Self::StreamStatsStream>, Status> {
        Ok(tonic::Response::new(futures::stream::pending()))
    }

    async fn stream_clusters(
        &self,
        _: Request<Streaming<ClustersResponse>>,
    ) -> Result<tonic::Response<Self::StreamClustersStream>, Status> {
        Ok(tonic::Response::new(futures::stream::pending()))
    }
}
