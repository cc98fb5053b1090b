//! The `Node` message with which a proxy introduces itself.

use anyhow::{Context, Result};
use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value, json};
use tandem_proto::json::struct_from_json;

use super::bootstrap::BootstrapRequest;
use super::wire::{EncodedNode, Extension, Node, NodeExtensions};

/// Encodes nodes that list the same extensions.
#[derive(Debug)]
pub(super) struct NodeEncoder {
    extensions: Bytes,
}

impl NodeEncoder {
    /// Lists `count` extensions, whose names are as long as those of Envoy's are on average.
    pub(super) fn new(count: usize) -> Self {
        let extensions = (0..count).map(|index| Extension {
            name: format!("envoy.filters.simulated.extension_{index:03}"),
            category: "envoy.filters.simulated".to_owned(),
            type_urls: vec![format!("envoy.extensions.filters.simulated.v3.Extension{index:03}")],
        });
        Self { extensions: NodeExtensions { extensions: extensions.collect() }.encode_to_vec().into() }
    }

    pub(super) fn encode(&self, id: String, cluster: String, metadata: &Map<String, Value>) -> Result<EncodedNode> {
        let metadata = struct_from_json(metadata).context("node metadata")?;
        let node = Node { id, cluster, metadata: Some(metadata), user_agent_name: "envoy".to_owned() };
        Ok(EncodedNode::new(node.encode_to_vec().into(), self.extensions.clone()))
    }

    /// The node that a bootstrap server would have answered this request with.
    pub(super) fn compose(&self, request: &BootstrapRequest) -> Result<EncodedNode> {
        let metadata = json!({
            "dataplane.admin.address": "127.0.0.1",
            "dataplane.admin.port": "9901",
            "dataplane.dns.port": request.body["dnsPort"].to_string(),
            "dataplane.proxyType": "dataplane",
            "dataplane.readinessReporter.port": request.body["readinessPort"].to_string(),
            "dataplane.resource": request.body["dataplaneResource"],
            "features": request.body["features"],
            "ipv6Enabled": true,
            "metricsCertPath": "",
            "metricsKeyPath": "",
            "spireAgent.socketPath": "",
            "systemCaPath": request.body["systemCaPath"],
            "version": request.body["version"],
            "workdir": request.body["workdir"],
        });
        let Value::Object(metadata) = metadata else { unreachable!("json! with braces makes an object") };
        self.encode(format!("{}.{}", request.mesh, request.name), request.service.clone(), &metadata)
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3 as core;

    use super::*;

    #[test]
    fn envoy_reads_the_same() {
        let encoder = NodeEncoder::new(2);
        let Value::Object(metadata) = json!({"a": {"b": [1]}}) else { panic!("an object") };
        let bytes = encoder.encode("m.p".into(), "s".into(), &metadata).expect("encodes");
        let node = core::Node::decode(bytes.encode_to_vec().as_slice()).expect("decodes");
        assert_eq!((node.id.as_str(), node.cluster.as_str(), node.user_agent_name.as_str()), ("m.p", "s", "envoy"));
        assert!(node.metadata.expect("is set").fields.contains_key("a"));
        assert_eq!(node.extensions.len(), 2);
        assert!(node.extensions[1].type_urls[0].ends_with("Extension001"));
    }
}
