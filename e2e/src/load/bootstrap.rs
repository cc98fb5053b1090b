//! The bootstrap request of kuma-dp.

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connection::{Dialer, Server};
use super::definition::Definition;
use super::node::NodeEncoder;
use super::wire::EncodedNode;

/// What one proxy asks its bootstrap server.
#[derive(Debug)]
pub(super) struct BootstrapRequest {
    pub(super) mesh: String,
    pub(super) name: String,
    /// Service of its first inbound.
    pub(super) service: String,
    pub(super) body: Value,
}

impl BootstrapRequest {
    pub(super) fn new(definition: &Definition, index: usize, delta: bool, token: Option<&str>) -> Self {
        let name = definition.name(index);
        let resource = definition.resource(index);
        let service = resource["networking"]["inbound"][0]["tags"]["kuma.io/service"].as_str().unwrap_or_default();
        let mut features = vec![
            "feature-tcp-accesslog-via-named-pipe",
            "feature-readiness-unix-socket",
            "feature-strict-inbound-ports",
            "feature-reuse-port",
            "feature-embedded-dns",
        ];
        if delta {
            features.push("feature-delta-grpc");
        }
        let mut body = json!({
            "mesh": definition.mesh,
            "name": name,
            "proxyType": "dataplane",
            "dataplaneResource": resource.to_string(),
            "version": {
                "kumaDp": {"version": "2.13.10", "gitTag": "v2.13.10", "gitCommit": "", "buildDate": ""},
                "envoy": {"version": "1.36.4", "build": "simulated", "kumaDpCompatible": true},
            },
            "caCert": "",
            "dynamicMetadata": {},
            "dnsPort": 15054,
            "readinessPort": 9902,
            "operatingSystem": "linux",
            "features": features,
            "resources": {"maxHeapSizeBytes": 0},
            "workdir": format!("/var/run/{name}"),
            "metricsResources": {"certPath": "", "keyPath": ""},
            "systemCaPath": "/etc/ssl/certs/ca-certificates.crt",
            "ipv6Enabled": true,
            "spireResources": {"socketPath": ""},
        });
        if let Some(token) = token {
            body["dataplaneToken"] = json!(token);
        }
        Self { mesh: definition.mesh.clone(), service: service.to_owned(), name, body }
    }

    /// Sends the request, as kuma-dp does, and returns the node of the answer.
    pub(super) async fn fetch_node(
        &self,
        dialer: &Dialer,
        server: &Server,
        nodes: &NodeEncoder,
    ) -> Result<EncodedNode> {
        let (status, body) = dialer.post_json(server, "/bootstrap", &self.body).await.context("bootstrap request")?;
        if !status.is_success() {
            bail!("bootstrap request: {status}: {}", String::from_utf8_lossy(&body));
        }
        let Node { id, cluster, metadata } = parse(&body).context("bootstrap response")?;
        nodes.encode(id, cluster, &metadata)
    }
}

#[derive(Deserialize)]
struct Answer {
    bootstrap: String,
}

#[derive(Deserialize)]
struct Bootstrap {
    node: Node,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Node {
    id: String,
    #[serde(default)]
    cluster: String,
    metadata: Map<String, Value>,
}

fn parse(body: &[u8]) -> Result<Node> {
    let answer: Answer = serde_json::from_slice(body)?;
    let yaml = STANDARD.decode(answer.bootstrap)?;
    let bootstrap: Bootstrap = serde_norway::from_slice(&yaml).map_err(|e| anyhow!("Envoy configuration: {e}"))?;
    Ok(bootstrap.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_taken_from_the_answer() {
        let yaml = "admin: {}\nnode:\n  cluster: web\n  id: m.p\n  metadata:\n    dataplane.dns.port: \"15054\"\n";
        let body = json!({"bootstrap": STANDARD.encode(yaml), "kumaSidecarConfiguration": {}});
        let node = parse(body.to_string().as_bytes()).expect("parses");
        assert_eq!((node.id.as_str(), node.cluster.as_str()), ("m.p", "web"));
        assert_eq!(node.metadata["dataplane.dns.port"], "15054");
        assert!(parse(b"{}").is_err());
        assert!(parse(br#"{"bootstrap": "eA=="}"#).is_err());
    }
}
