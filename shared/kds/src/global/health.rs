//! Health checks of zones, and the streams on which global asks their Envoys.

use std::sync::Arc;
use std::time::Duration;

use tandem_proto::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::envoys::ASK_AHEAD;
use super::outbound::{Outbound, outbound};
use super::sync::peer;
use crate::admin::{AdminProtocol, Clusters, ConfigDumps, Statistics};
use crate::rpc::global_k_d_s_service_server::GlobalKDSService;

/// How long a health check waits for the zone to be connected.
const WAIT_FOR_SESSION: Duration = Duration::from_secs(5);

pub(crate) struct HealthService(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl GlobalKDSService for HealthService {
    type StreamXDSConfigsStream = Outbound<XdsConfigRequest>;
    type StreamStatsStream = Outbound<StatsRequest>;
    type StreamClustersStream = Outbound<ClustersRequest>;

    async fn health_check(
        &self,
        request: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        let (caller, _) = self.0.admit(&request, Code::InvalidArgument)?;
        // The first one may come before the zone has its name; one from a zone that does not get it counts for nothing.
        let admitted = self.0.sessions.admitted(&caller.zone, peer(&request));
        if tokio::time::timeout(WAIT_FOR_SESSION, admitted).await.is_ok_and(|admitted| admitted.is_ok()) {
            self.0.sessions.pinged(&caller.zone);
            self.0.insights.pinged(&caller.zone);
        }
        let interval = self.0.settings.health_check_interval;
        let interval = prost_types::Duration::try_from(interval).unwrap_or_default();
        Ok(Response::new(ZoneHealthCheckResponse { interval: Some(interval) }))
    }

    async fn stream_xds_configs(
        &self,
        request: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Self::StreamXDSConfigsStream>, Status> {
        self.open::<ConfigDumps>(request)
    }

    async fn stream_stats(
        &self,
        request: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        self.open::<Statistics>(request)
    }

    async fn stream_clusters(
        &self,
        request: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Self::StreamClustersStream>, Status> {
        self.open::<Clusters>(request)
    }
}

impl HealthService {
    fn open<P: AdminProtocol>(
        &self,
        request: Request<Streaming<P::Response>>,
    ) -> Result<Response<Outbound<P::Request>>, Status> {
        let (caller, credential) = self.0.admit(&request, Code::InvalidArgument)?;
        let peer = peer(&request);
        let (inner, stream) = outbound(ASK_AHEAD);
        let shared = self.0.clone();
        tokio::spawn(async move {
            let relay = async {
                // Only the control plane that holds the name is asked.
                if let Err(status) = shared.sessions.admitted(&caller.zone, peer).await {
                    return status;
                }
                shared.insights.opened(&caller.zone, P::STREAM);
                shared.envoys.relay::<P>(&caller.zone, request.into_inner(), inner.messages.clone()).await
            };
            let status = tokio::select! {
                biased;
                status = shared.over(credential) => status,
                status = relay => status,
            };
            inner.end(status);
        });
        Ok(Response::new(stream))
    }
}
