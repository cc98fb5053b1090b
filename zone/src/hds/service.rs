//! The gRPC service through which proxies learn what to probe and report what they found.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::health::v3::health_check_request_or_endpoint_health_response::RequestType;
use envoy_types::pb::envoy::service::health::v3::health_discovery_service_server::HealthDiscoveryService;
use envoy_types::pb::envoy::service::health::v3::{
    EndpointHealthResponse, HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use tandem_model::{Kind, Resource, ResourceKey, Spec};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{StoreError, Write};
use tandem_xds::{NodeId, ProxyMetadata};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::report::Report;
use super::specifier::{HdsSettings, admin_cluster, specifier};
use crate::ads::credential;
use crate::proxy::context::ProxyContext;
use crate::proxy::registry::Watch;

/// How long a stream waits for its Dataplane, which the discovery stream of the same proxy registers.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a write is tried again when somebody else wrote the Dataplane in between.
const ATTEMPTS: usize = 5;

/// The gRPC service `envoy.service.health.v3.HealthDiscoveryService`.
pub struct HealthService {
    context: Arc<ProxyContext>,
    settings: Arc<HdsSettings>,
}

impl HealthService {
    /// A service over the state of this zone.
    pub fn new(context: Arc<ProxyContext>, settings: HdsSettings) -> Self {
        Self { context, settings: Arc::new(settings) }
    }
}

#[tonic::async_trait]
impl HealthDiscoveryService for HealthService {
    type StreamHealthCheckStream = BoxStream<'static, Result<HealthCheckSpecifier, Status>>;

    async fn stream_health_check(
        &self,
        request: Request<Streaming<HealthCheckRequestOrEndpointHealthResponse>>,
    ) -> Result<Response<Self::StreamHealthCheckStream>, Status> {
        let credential = credential(request.metadata())?;
        let stream = HealthStream {
            context: self.context.clone(),
            settings: self.settings.clone(),
            credential,
            messages: request.into_inner(),
            proxy: None,
            ended: false,
        };
        let responses = futures::stream::unfold(stream, |mut stream| async move {
            let item = stream.next().await?;
            Some((item, stream))
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn fetch_health_check(
        &self,
        _: Request<HealthCheckRequestOrEndpointHealthResponse>,
    ) -> Result<Response<HealthCheckSpecifier>, Status> {
        Err(Status::unimplemented("health checks are discovered by stream only"))
    }
}

struct HealthStream {
    context: Arc<ProxyContext>,
    settings: Arc<HdsSettings>,
    credential: String,
    messages: Streaming<HealthCheckRequestOrEndpointHealthResponse>,
    proxy: Option<Proxy>,
    ended: bool,
}

struct Proxy {
    key: ResourceKey,
    node_id: String,
    watch: Watch,
    admin_port: u32,
    unified_naming: bool,
    /// What the proxy was last asked to probe.
    asked: Option<HealthCheckSpecifier>,
}

enum Event {
    Message(Option<Box<RequestType>>),
    Changed,
    Ended,
}

impl HealthStream {
    async fn next(&mut self) -> Option<Result<HealthCheckSpecifier, Status>> {
        if self.ended {
            return None;
        }
        let result = self.advance().await;
        self.ended = !matches!(result, Ok(Some(_)));
        result.transpose()
    }

    /// Works until there is something new to ask, or the stream is over.
    async fn advance(&mut self) -> Result<Option<HealthCheckSpecifier>, Status> {
        loop {
            match self.wait().await? {
                Event::Ended => return Ok(None),
                Event::Changed => {}
                Event::Message(Some(message)) => match *message {
                    RequestType::HealthCheckRequest(request) => {
                        let node = request.node;
                        let node =
                            node.ok_or_else(|| Status::invalid_argument("a health check request needs a node"))?;
                        self.admit(&node).await?;
                    }
                    RequestType::EndpointHealthResponse(response) => self.report(&response).await?,
                },
                Event::Message(None) => return Err(Status::invalid_argument("empty message on a health stream")),
            }
            if let Some(specifier) = self.changed_specifier().await? {
                return Ok(Some(specifier));
            }
        }
    }

    async fn wait(&mut self) -> Result<Event, Status> {
        let Self { messages, proxy, context, .. } = self;
        let changed = async {
            match proxy {
                Some(proxy) => proxy.watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What cannot be read is answered with its error; when the connection broke, nobody hears it.
            message = messages.message() => Ok(match message? {
                Some(message) => Event::Message(message.request_type.map(Box::new)),
                None => Event::Ended,
            }),
            () = changed => Ok(Event::Changed),
            () = context.shutdown.cancelled() => Ok(Event::Ended),
        }
    }

    async fn admit(&mut self, node: &Node) -> Result<(), Status> {
        if let Some(proxy) = &self.proxy {
            if node.id.is_empty() || node.id == proxy.node_id {
                return Ok(());
            }
            return Err(Status::unknown(format!(
                "the stream belongs to node {} and cannot go on as {}",
                proxy.node_id, node.id
            )));
        }
        let id = NodeId::parse(&node.id).map_err(|error| Status::unknown(error.to_string()))?;
        let key = ResourceKey::new(Kind::Dataplane, id.mesh, id.name);
        let watch = self.context.registry.watch(&key);
        let dataplane = self.registered(&key, &watch).await?;
        self.context
            .authentication
            .check(&dataplane, &self.credential)
            .map_err(|error| Status::unknown(format!("authentication failed: {error}")))?;
        let metadata = ProxyMetadata::from_node(node);
        self.proxy = Some(Proxy {
            key,
            node_id: node.id.clone(),
            watch,
            admin_port: metadata.admin_port,
            unified_naming: metadata.features.unified_naming,
            asked: None,
        });
        Ok(())
    }

    /// The Dataplane, as soon as it is registered.
    async fn registered(&self, key: &ResourceKey, watch: &Watch) -> Result<Arc<Resource>, Status> {
        let registered = async {
            loop {
                if let Some(dataplane) = self.load(key).await? {
                    return Ok(dataplane);
                }
                watch.changed().await;
            }
        };
        tokio::time::timeout(REGISTRATION_TIMEOUT, registered).await.unwrap_or_else(|_| {
            Err(Status::unknown(
                "dataplane not found. Create Dataplane in Kuma CP first or pass it as an argument to kuma-dp",
            ))
        })
    }

    async fn load(&self, key: &ResourceKey) -> Result<Option<Arc<Resource>>, Status> {
        self.context.store.get(key).await.map_err(|error| Status::internal(error.to_string()))
    }

    /// What to probe, if that is not what the proxy was asked last.
    async fn changed_specifier(&mut self) -> Result<Option<HealthCheckSpecifier>, Status> {
        let Some(key) = self.proxy.as_ref().map(|proxy| proxy.key.clone()) else { return Ok(None) };
        // A Dataplane that is gone is not probed; the stream ends with its proxy.
        let Some(resource) = self.load(&key).await? else { return Ok(None) };
        let Some(proxy) = &mut self.proxy else { return Ok(None) };
        let dataplane: pb::Dataplane = resource.proto().map_err(|error| Status::internal(error.to_string()))?;
        let specifier = specifier(&dataplane, proxy.admin_port, proxy.unified_naming, &self.settings);
        if proxy.asked.as_ref() == Some(&specifier) {
            return Ok(None);
        }
        proxy.asked = Some(specifier.clone());
        Ok(Some(specifier))
    }

    async fn report(&self, response: &EndpointHealthResponse) -> Result<(), Status> {
        let Some(proxy) = &self.proxy else {
            return Err(Status::unknown("a health report must follow a health check request"));
        };
        let report = Report::read(response, admin_cluster(proxy.unified_naming))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        for _ in 0..ATTEMPTS {
            let Some(resource) = self.load(&proxy.key).await? else { return Ok(()) };
            let mut dataplane: pb::Dataplane = resource.proto().map_err(|error| Status::internal(error.to_string()))?;
            if !report.apply(&mut dataplane) {
                return Ok(());
            }
            let mut updated = (*resource).clone();
            updated.spec = Spec::Proto(dataplane.encode_to_vec().into());
            let write = Write::Update { resource: updated, expected: Some(resource.version) };
            match self.context.store.commit(vec![write]).await {
                Ok(_) | Err(StoreError::NotFound(_)) => return Ok(()),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => {
                    warn!(proxy = %proxy.key, %error, "cannot record the health of a proxy");
                    return Ok(());
                }
            }
        }
        // The next report brings it in line.
        Ok(())
    }
}
