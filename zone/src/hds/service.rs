//! The gRPC service through which proxies learn what to probe and report what they found.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::health::v3::health_check_request_or_endpoint_health_response::RequestType;
use envoy_types::pb::envoy::service::health::v3::{
    EndpointHealthResponse, HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier,
};
use futures::StreamExt as _;
use futures::future::{self, Ready};
use prost::Message as _;
use tandem_model::{Kind, Resource, ResourceKey, Spec};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{StoreError, Write};
use tandem_xds::ProxyMetadata;
use tandem_xds::metadata::ReportedVersions;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tracing::warn;

use super::report::Report;
use super::specifier::{HdsSettings, admin_cluster, specifier};
use crate::ads::credential;
use crate::allowance::Allowance;
use crate::grpc::{self, Messages, Responses};
use crate::proxy::arrivals::first_request_missing;
use crate::proxy::authentication::AuthenticationError;
use crate::proxy::context::ProxyContext;
use crate::proxy::node_key::node_key;
use crate::proxy::registry::Watch;
use crate::refusals::{Door, Reason};

/// How long a stream waits for its Dataplane, which the discovery stream of the same proxy registers.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Health streams that wait for their Dataplanes at a time. Those of a storm wait for as long as their proxies wait to be let in, so
/// there may be many.
const MAX_WAITING: usize = 16_384;

/// Messages that a proxy may send at once; it reports every few seconds.
const BURST: u32 = 1_000;
/// Messages that it may send each second besides.
const PER_SECOND: u32 = 10;

/// How often a write is tried again when somebody else wrote the Dataplane in between.
const ATTEMPTS: usize = 5;

const STREAM: &str = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck";

/// The gRPC service `envoy.service.health.v3.HealthDiscoveryService`.
#[derive(Clone)]
pub struct HealthService {
    context: Arc<ProxyContext>,
    settings: Arc<HdsSettings>,
    waiting: Arc<Semaphore>,
}

impl HealthService {
    /// A service over the state of this zone.
    pub fn new(context: Arc<ProxyContext>, settings: HdsSettings) -> Self {
        Self { context, settings: Arc::new(settings), waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }
}

impl NamedService for HealthService {
    const NAME: &'static str = "envoy.service.health.v3.HealthDiscoveryService";
}

impl tower::Service<http::Request<Body>> for HealthService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        future::ready(Ok(match request.uri().path() {
            STREAM => {
                let limit = self.context.settings.limits.node;
                grpc::serve(request, limit, |metadata, messages| self.open(metadata, messages))
            }
            path => {
                Status::unimplemented(format!("unknown method {path}; health checks are discovered by stream only"))
                    .into_http()
            }
        }))
    }
}

impl HealthService {
    fn open(
        &self,
        metadata: &MetadataMap,
        messages: Messages<HealthCheckRequestOrEndpointHealthResponse>,
    ) -> Result<Responses, Status> {
        let credential = credential(metadata, &self.context.refusals, Door::Hds)?;
        let stream = HealthStream {
            context: self.context.clone(),
            settings: self.settings.clone(),
            waiting: self.waiting.clone(),
            credential,
            messages,
            opened: Instant::now(),
            allowance: Allowance::new(BURST, PER_SECOND),
            proxy: None,
            ended: false,
        };
        let responses = futures::stream::unfold(stream, |mut stream| async move {
            let item = stream.next().await?;
            Some((item.map(|specifier| grpc::framed(&specifier)), stream))
        });
        Ok(responses.boxed())
    }
}

struct HealthStream {
    context: Arc<ProxyContext>,
    settings: Arc<HdsSettings>,
    waiting: Arc<Semaphore>,
    credential: String,
    messages: Messages<HealthCheckRequestOrEndpointHealthResponse>,
    opened: Instant,
    allowance: Allowance,
    proxy: Option<Proxy>,
    ended: bool,
}

struct Proxy {
    key: ResourceKey,
    node_id: String,
    watch: Watch,
    /// What it tells of itself, without what probes do not depend on.
    metadata: ProxyMetadata,
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
                Event::Message(Some(message)) => match self.counted(*message)? {
                    RequestType::HealthCheckRequest(request) => {
                        let node = request.node;
                        let node = node.ok_or_else(|| {
                            let status = Status::invalid_argument("a health check request needs a node");
                            self.refuse(Reason::NodeInvalid, status)
                        })?;
                        self.admit(&node).await?;
                    }
                    RequestType::EndpointHealthResponse(response) => self.report(&response).await?,
                },
                Event::Message(None) => {
                    let status = Status::invalid_argument("empty message on a health stream");
                    return Err(self.refuse(Reason::MessageMalformed, status));
                }
            }
            if let Some(specifier) = self.changed_specifier().await? {
                return Ok(Some(specifier));
            }
        }
    }

    /// The same message, unless it is one too many.
    fn counted(&mut self, message: RequestType) -> Result<RequestType, Status> {
        let taken = self.allowance.take().map(|()| message);
        taken.map_err(|error| self.refuse(Reason::TooManyRequests, Status::resource_exhausted(error.to_string())))
    }

    fn refuse(&self, reason: Reason, status: Status) -> Status {
        self.context.refusals.with(Door::Hds, reason, status)
    }

    async fn wait(&mut self) -> Result<Event, Status> {
        let Self { messages, proxy, context, opened, .. } = self;
        let changed = async {
            match proxy {
                Some(proxy) => {
                    proxy.watch.changed().await;
                    Ok(Event::Changed)
                }
                None => Err(first_request_missing(
                    *opened,
                    context.settings.limits.first_request,
                    &context.refusals,
                    Door::Hds,
                )
                .await),
            }
        };
        tokio::select! {
            // What cannot be read is answered with its error; when the connection broke, nobody hears it.
            message = messages.message() => Ok(match message.map_err(|status| context.refusals.unreadable(Door::Hds, status))? {
                Some(message) => Event::Message(message.request_type.map(Box::new)),
                None => Event::Ended,
            }),
            event = changed => event,
            () = context.shutdown.cancelled() => Ok(Event::Ended),
        }
    }

    async fn admit(&mut self, node: &Node) -> Result<(), Status> {
        if let Some(proxy) = &self.proxy {
            if node.id.is_empty() || node.id == proxy.node_id {
                return Ok(());
            }
            let text = format!("the stream belongs to node {} and cannot go on as {}", proxy.node_id, node.id);
            return Err(self.refuse(Reason::NodeChanged, Status::unknown(text)));
        }
        let key =
            node_key(&node.id, Kind::Dataplane).map_err(|error| self.refuse(Reason::NodeInvalid, error.into()))?;
        // Nobody waits here whose credential would not admit such a proxy.
        let authentication = &self.context.authentication;
        let refuse = |error: AuthenticationError| {
            let status = Status::unknown(format!("authentication failed: {error}"));
            self.refuse(Reason::from(&error), status)
        };
        let proof = authentication.prove(&key, &self.credential).await.map_err(refuse)?;
        let watch = self.context.registry.watch(&key);
        let dataplane = self.registered(&key, &watch).await?;
        // When many proxies arrive, their health streams take turns with them.
        let check = async { authentication.admit(&proof, &dataplane) };
        self.context.arrivals.turn(check).await.map_err(refuse)?;
        let metadata =
            ProxyMetadata { resource: None, versions: ReportedVersions::default(), ..ProxyMetadata::from_node(node) };
        self.proxy = Some(Proxy { key, node_id: node.id.clone(), watch, metadata, asked: None });
        Ok(())
    }

    /// The Dataplane, as soon as it is registered.
    async fn registered(&self, key: &ResourceKey, watch: &Watch) -> Result<Arc<Resource>, Status> {
        if let Some(dataplane) = self.load(key).await? {
            return Ok(dataplane);
        }
        let _place = self.waiting.try_acquire().map_err(|_| {
            let text = format!("{MAX_WAITING} health streams wait for their Dataplanes already; try again later");
            self.refuse(Reason::Overloaded, Status::resource_exhausted(text))
        })?;
        let registered = async {
            loop {
                if let Some(dataplane) = self.load(key).await? {
                    return Ok(dataplane);
                }
                watch.changed().await;
            }
        };
        tokio::time::timeout(REGISTRATION_TIMEOUT, registered).await.unwrap_or_else(|_| {
            let text = "dataplane not found. Create Dataplane in Kuma CP first or pass it as an argument to kuma-dp";
            Err(self.refuse(Reason::ResourceNotFound, Status::unknown(text)))
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
        let specifier = specifier(&dataplane, &proxy.metadata, &self.settings);
        if proxy.asked.as_ref() == Some(&specifier) {
            return Ok(None);
        }
        proxy.asked = Some(specifier.clone());
        Ok(Some(specifier))
    }

    async fn report(&self, response: &EndpointHealthResponse) -> Result<(), Status> {
        let Some(proxy) = &self.proxy else {
            let status = Status::unknown("a health report must follow a health check request");
            return Err(self.refuse(Reason::Protocol, status));
        };
        let report = Report::read(response, admin_cluster(proxy.metadata.features.unified_naming))
            .map_err(|error| self.refuse(Reason::MessageMalformed, Status::invalid_argument(error.to_string())))?;
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
