//! Proxies reduced to their streams. They say what an Envoy says, and remember what it would.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use futures::StreamExt as _;
use futures::channel::mpsc;
use serde_json::json;
use tandem_xds::ResourceType;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};

use crate::stage::{MESH, PATIENCE, Zone};

/// The types that an Envoy asks for.
pub const TYPES: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener, ResourceType::Secret];

/// What an Envoy has: versions by name, by type.
pub type Held = BTreeMap<&'static str, BTreeMap<String, String>>;

/// The Dataplane that a proxy brings.
pub fn dataplane(name: &str) -> serde_json::Value {
    let inbound = json!({"port": 8080, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}});
    let outbound = json!({"port": 9090, "tags": {"kuma.io/service": "web"}});
    let networking = json!({"address": "127.0.0.1", "inbound": [inbound], "outbound": [outbound]});
    json!({"type": "Dataplane", "mesh": MESH, "name": name, "networking": networking})
}

fn node(name: &str) -> Node {
    let text = |text: String| Value { kind: Some(value::Kind::StringValue(text)) };
    let fields = [
        ("dataplane.proxyType", "dataplane".to_owned()),
        ("dataplane.resource", dataplane(name).to_string()),
        ("dataplane.readinessReporter.port", "9902".to_owned()),
        ("workdir", "/run/nowhere".to_owned()),
    ];
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    Node { id: format!("{MESH}.{name}"), metadata: Some(Struct { fields }), ..Node::default() }
}

async fn client(zone: &Zone) -> AggregatedDiscoveryServiceClient<tonic::transport::Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", zone.address)).expect("an address");
    AggregatedDiscoveryServiceClient::new(endpoint.connect().await.expect("the zone listens"))
}

/// A stream of the delta variant.
pub struct Delta {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// What the Envoy has.
    pub held: Held,
    /// Answers responses.
    pub answers: bool,
}

impl Delta {
    /// Opens a stream and asks for everything, as an Envoy that has `held` already.
    pub async fn open(zone: &Zone, name: &str, held: Held) -> Self {
        let (requests, outgoing) = mpsc::unbounded();
        for kind in TYPES.map(ResourceType::type_url) {
            let request = DeltaDiscoveryRequest {
                node: Some(node(name)),
                type_url: kind.to_owned(),
                initial_resource_versions: held.get(kind).cloned().unwrap_or_default().into_iter().collect(),
                ..Default::default()
            };
            requests.unbounded_send(request).expect("open");
        }
        let mut client = client(zone).await;
        let responses = client.delta_aggregated_resources(outgoing).await.expect("a stream").into_inner();
        Self { requests, responses, held, answers: true }
    }

    /// The next response, taken in and answered.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let response = timeout(PATIENCE, self.responses.next()).await.expect("a response or an end");
        let response = response.unwrap_or_else(|| Err(Status::ok("the stream is over")))?;
        let kind = ResourceType::from_type_url(&response.type_url).expect("a known type").type_url();
        let held = self.held.entry(kind).or_default();
        held.extend(response.resources.iter().map(|resource| (resource.name.clone(), resource.version.clone())));
        held.retain(|name, _| !response.removed_resources.contains(name));
        if self.answers {
            let answer = DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..Default::default()
            };
            self.requests.unbounded_send(answer).expect("open");
        }
        Ok(response)
    }

    /// What is sent until every type was answered once: names by type, without what is empty.
    pub async fn first_responses(&mut self) -> Vec<(ResourceType, Vec<String>)> {
        let mut sent = Vec::new();
        let mut missing: Vec<_> = TYPES.to_vec();
        while !missing.is_empty() {
            let response = self.next().await.expect("the stream goes on");
            let kind = ResourceType::from_type_url(&response.type_url).expect("a known type");
            missing.retain(|missing| *missing != kind);
            let names: Vec<_> = response.resources.into_iter().map(|resource| resource.name).collect();
            if !names.is_empty() || !response.removed_resources.is_empty() {
                sent.push((kind, names));
            }
        }
        sent
    }

    /// The status that the stream ends with.
    pub async fn end(mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// A stream of the state-of-the-world variant.
pub struct Sotw {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    /// Version of each type that the Envoy has.
    pub held: BTreeMap<&'static str, String>,
}

impl Sotw {
    /// Opens a stream and asks for everything, as an Envoy that has `held` already.
    pub async fn open(zone: &Zone, name: &str, held: BTreeMap<&'static str, String>) -> Self {
        let (requests, outgoing) = mpsc::unbounded();
        for kind in TYPES.map(ResourceType::type_url) {
            let request = DiscoveryRequest {
                node: Some(node(name)),
                type_url: kind.to_owned(),
                version_info: held.get(kind).cloned().unwrap_or_default(),
                ..Default::default()
            };
            requests.unbounded_send(request).expect("open");
        }
        let mut client = client(zone).await;
        let responses = client.stream_aggregated_resources(outgoing).await.expect("a stream").into_inner();
        Self { requests, responses, held }
    }

    /// The next response, taken in and answered.
    pub async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        let response = timeout(PATIENCE, self.responses.next()).await.expect("a response or an end");
        let response = response.unwrap_or_else(|| Err(Status::ok("the stream is over")))?;
        let kind = ResourceType::from_type_url(&response.type_url).expect("a known type").type_url();
        self.held.insert(kind, response.version_info.clone());
        let answer = DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.unbounded_send(answer).expect("open");
        Ok(response)
    }
}
