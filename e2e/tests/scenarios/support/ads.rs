//! A proxy reduced to its stream, for what Envoy does not show or does not do.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue, value::Kind};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tandem_auth::tls::{Trust, client_config};
use tandem_e2e::proxy::{DpServer, ProxySpec};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};

/// Type of clusters.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Type of listeners.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// Type of secrets.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A connection to the dataplane server of a zone, verified as Envoy does.
pub async fn channel(server: &DpServer) -> Result<Channel> {
    let tls = Arc::new(client_config(Trust::File(&server.ca_file))?);
    let port = server.port;
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(TlsConnector::from(tls).connect(name, stream).await?))
        }
    });
    Endpoint::from_shared(format!("http://localhost:{port}"))?
        .connect_with_connector(connector)
        .await
        .context("cannot connect to the dataplane server")
}

/// What a proxy says of itself: the metadata that its bootstrap configuration would hold.
pub fn node(spec: &ProxySpec) -> Node {
    let text = |text: &str| ProtoValue { kind: Some(Kind::StringValue(text.to_owned())) };
    let metadata = Struct {
        fields: [
            ("dataplane.proxyType", spec.proxy_type.as_str()),
            ("dataplane.resource", &spec.resource.to_string()),
            ("dataplane.readinessReporter.port", "9902"),
            ("workdir", "/run/nowhere"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(value)))
        .collect(),
    };
    Node {
        id: format!("{}.{}", spec.mesh, spec.name),
        cluster: spec.name.clone(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

fn with_token<T>(message: T, token: Option<&str>) -> Result<Request<T>> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().context("the token is no header value")?);
    }
    Ok(request)
}

/// A stream of the state-of-the-world variant.
pub struct Ads {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Ads {
    /// Opens a stream and asks for all clusters.
    pub async fn open(server: &DpServer, spec: &ProxySpec) -> Result<Self> {
        Self::open_as(server, node(spec), spec.token.as_deref()).await
    }

    /// Opens a stream as any node and asks for all clusters.
    pub async fn open_as(server: &DpServer, node: Node, token: Option<&str>) -> Result<Self> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        requests.send(DiscoveryRequest {
            node: Some(node),
            type_url: CLUSTER.to_owned(),
            ..DiscoveryRequest::default()
        })?;
        let request = with_token(UnboundedReceiverStream::new(outgoing), token)?;
        let mut client = AggregatedDiscoveryServiceClient::new(channel(server).await?);
        let responses = client.stream_aggregated_resources(request).await?.into_inner();
        Ok(Self { requests, responses })
    }

    /// Asks for named resources of a type.
    pub fn subscribe(&self, type_url: &str, names: &[&str]) -> Result<()> {
        Ok(self.requests.send(DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            ..DiscoveryRequest::default()
        })?)
    }

    /// Sends any request.
    pub fn send(&self, request: DiscoveryRequest) -> Result<()> {
        Ok(self.requests.send(request)?)
    }

    /// The next response.
    pub async fn response(&mut self) -> Result<DiscoveryResponse, Status> {
        let response = tokio::time::timeout(super::PATIENCE, self.responses.message()).await;
        response
            .map_err(|_| Status::deadline_exceeded("no response"))??
            .ok_or_else(|| Status::ok("the stream ended without an error"))
    }

    /// The next response of a type; those of other types are passed over.
    pub async fn response_of(&mut self, type_url: &str) -> Result<DiscoveryResponse, Status> {
        loop {
            let response = self.response().await?;
            if response.type_url == type_url {
                return Ok(response);
            }
        }
    }

    /// The error that ends the stream.
    pub async fn refusal(mut self) -> Status {
        loop {
            if let Err(status) = self.response().await {
                return status;
            }
        }
    }
}

/// A stream of the delta variant.
pub struct DeltaAds {
    _requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl DeltaAds {
    /// Opens a stream and asks for all clusters.
    pub async fn open(server: &DpServer, spec: &ProxySpec) -> Result<Self> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        requests.send(DeltaDiscoveryRequest {
            node: Some(node(spec)),
            type_url: CLUSTER.to_owned(),
            ..DeltaDiscoveryRequest::default()
        })?;
        let request = with_token(UnboundedReceiverStream::new(outgoing), spec.token.as_deref())?;
        let mut client = AggregatedDiscoveryServiceClient::new(channel(server).await?);
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Self { _requests: requests, responses })
    }

    /// The error that ends the stream.
    pub async fn refusal(mut self) -> Status {
        loop {
            match tokio::time::timeout(super::PATIENCE, self.responses.message()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Status::ok("the stream ended without an error"),
                Ok(Err(status)) => return status,
                Err(_) => return Status::deadline_exceeded("the stream stays open"),
            }
        }
    }
}
