//! Questions to Envoys, passed on to the instance of global that has the streams of the zone.
//!
//! Both sides prove who they are by certificates of the authority that the instances share
//! ([`tandem_auth::inter_cp`]). A question names the proxy as global knows it. A question that was passed on is not passed
//! on again.
//!
//! Source of the format: Kuma `api/mesh/v1alpha1/envoy_admin_inter_cp_forward.proto`, `pkg/intercp/envoyadmin`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::{ClientConfig, ServerConfig};
use tandem_instances::Instance;
use tandem_model::{AdminOperation, ResourceKey};
use tandem_proto::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
};
use tandem_runtime::http::{self, Limits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::envoys::{AskError, Envoys};
use crate::admin::{AdminProtocol, AdminRequest, Clusters, ConfigDumps, Statistics, TIMEOUT};
use crate::rpc::inter_c_p_envoy_admin_forward_service_client::InterCPEnvoyAdminForwardServiceClient as Client;
use crate::rpc::inter_c_p_envoy_admin_forward_service_server::{
    InterCPEnvoyAdminForwardService, InterCPEnvoyAdminForwardServiceServer as Server,
};
use crate::zone::GlobalAddress;
use crate::zone::connect::{connect, tcp};

/// What an instance may take longer than the zone that it asks.
const SPARE: Duration = Duration::from_secs(2);
/// Time between pings on a connection from which nothing comes, and the limit for their answers: as in Kuma.
const PING: Duration = Duration::from_secs(15);

/// How to ask other instances.
#[derive(Clone)]
pub struct Forwarding {
    /// Trusts the authority of the instances, and has a certificate of it.
    pub tls: Arc<ClientConfig>,
    /// Largest message in bytes.
    pub max_message_bytes: usize,
}

impl Forwarding {
    /// Asks an instance for what the Envoy of a proxy says.
    pub(crate) async fn ask(
        &self,
        instance: &Instance,
        proxy: &ResourceKey,
        operation: AdminOperation,
    ) -> Result<Bytes, AskError> {
        let failed = |reason: &str| {
            let Instance { id, address, inter_cp_port: port, .. } = instance;
            AskError::Refused(format!("instance {id} of global at {address} (port {port}) did not answer: {reason}"))
        };
        let asked = async {
            let address = GlobalAddress { host: instance.address.clone(), port: instance.inter_cp_port, tls: true };
            let channel = connect(&address, &tcp(), Some(self.tls.clone()), "").await;
            let channel = channel.map_err(|error| failed(&error.to_string()))?;
            let request = AdminRequest { proxy: proxy.clone(), operation };
            self.call(channel, &request).await.map_err(|status| failed(status.message()))
        };
        match tokio::time::timeout(TIMEOUT + SPARE, asked).await {
            Ok(result) => result?.map_err(AskError::Refused),
            Err(_) => Err(failed("it took too long")),
        }
    }

    async fn call(&self, channel: Channel, request: &AdminRequest) -> Result<Result<Bytes, String>, Status> {
        let mut client = Client::new(channel)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(self.max_message_bytes);
        let id = String::new();
        Ok(match request.operation {
            AdminOperation::ConfigDump { .. } => {
                ConfigDumps::answered(client.xds_config(ConfigDumps::ask(id, request)).await?.into_inner()).1
            }
            AdminOperation::Stats { .. } => {
                Statistics::answered(client.stats(Statistics::ask(id, request)).await?.into_inner()).1
            }
            AdminOperation::Clusters { .. } => {
                Clusters::answered(client.clusters(Clusters::ask(id, request)).await?.into_inner()).1
            }
        })
    }
}

/// Answers what other instances ask, on the streams that this one has, until shutdown.
pub async fn serve_instances(
    envoys: Envoys,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    max_message_bytes: usize,
    shutdown: CancellationToken,
) {
    let service = Server::new(ForwardService(envoys))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_encoding_message_size(max_message_bytes);
    let router = Routes::new(service).prepare().into_axum_router();
    let limits = Limits { ping: Some(PING), ..Limits::default() };
    http::serve(listener, Some(tls), router, limits, shutdown).await;
}

struct ForwardService(Envoys);

impl ForwardService {
    async fn answer<P: AdminProtocol>(&self, request: P::Request) -> Result<Response<P::Response>, Status> {
        let (id, asked) = P::asked(request);
        let AdminRequest { proxy, operation } = asked.map_err(Status::invalid_argument)?;
        let result = match self.0.known(&proxy).await {
            Ok(Some(proxy)) => self.0.ask_here(&proxy, operation).await,
            Ok(None) => return Err(Status::not_found(format!("resource not found: {proxy}"))),
            Err(error) => return Err(Status::internal(error.to_string())),
        };
        Ok(Response::new(P::answer(id, result.map_err(|error| error.to_string()))))
    }
}

#[async_trait::async_trait]
impl InterCPEnvoyAdminForwardService for ForwardService {
    async fn xds_config(&self, request: Request<XdsConfigRequest>) -> Result<Response<XdsConfigResponse>, Status> {
        self.answer::<ConfigDumps>(request.into_inner()).await
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        self.answer::<Statistics>(request.into_inner()).await
    }

    async fn clusters(&self, request: Request<ClustersRequest>) -> Result<Response<ClustersResponse>, Status> {
        self.answer::<Clusters>(request.into_inner()).await
    }
}
