//! Health checks of zones, and the streams on which global asks their Envoys.

use std::sync::Arc;

use tandem_proto::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::envoys::ASK_AHEAD;
use super::outbound::{Outbound, outbound};
use crate::admin::{AdminProtocol, Clusters, ConfigDumps, Statistics};
use crate::rpc::global_k_d_s_service_server::GlobalKDSService;

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
        self.0.sessions.pinged(&caller.zone);
        self.0.insights.pinged(&caller.zone);
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
        let (inner, stream) = outbound(ASK_AHEAD);
        let shared = self.0.clone();
        tokio::spawn(async move {
            shared.insights.opened(&caller.zone, P::STREAM);
            let status = tokio::select! {
                biased;
                status = shared.over(credential) => status,
                status = shared.envoys.relay::<P>(&caller.zone, request.into_inner(), inner.messages.clone()) => status,
            };
            inner.end(status);
        });
        Ok(Response::new(stream))
    }
}
