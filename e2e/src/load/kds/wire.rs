//! Messages between zones and global, reduced to the fields that a simulated zone needs. Decoding does not copy the
//! bodies of resources.
//!
//! Source of field numbers: `envoy/service/discovery/v3/discovery.proto`; of the protocol: Kuma `pkg/kds`.

use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tandem_proto::json::struct_from_json;

use crate::load::wire::EncodedNode;
pub(super) use crate::load::wire::{DeltaRequest, DeltaResponse};

/// Types that global sends to zones.
pub(super) const TYPES: [&str; 43] = [
    "CircuitBreaker",
    "Config",
    "ExternalService",
    "FaultInjection",
    "GlobalSecret",
    "HealthCheck",
    "HostnameGenerator",
    "Mesh",
    "MeshAccessLog",
    "MeshCircuitBreaker",
    "MeshExternalService",
    "MeshFaultInjection",
    "MeshGateway",
    "MeshGatewayRoute",
    "MeshHTTPRoute",
    "MeshHealthCheck",
    "MeshIdentity",
    "MeshLoadBalancingStrategy",
    "MeshMetric",
    "MeshMultiZoneService",
    "MeshPassthrough",
    "MeshProxyPatch",
    "MeshRateLimit",
    "MeshRetry",
    "MeshService",
    "MeshTCPRoute",
    "MeshTLS",
    "MeshTimeout",
    "MeshTrace",
    "MeshTrafficPermission",
    "MeshTrust",
    "ProxyTemplate",
    "RateLimit",
    "Retry",
    "Secret",
    "ServiceInsight",
    "Timeout",
    "TrafficLog",
    "TrafficPermission",
    "TrafficRoute",
    "TrafficTrace",
    "VirtualOutbound",
    "ZoneIngress",
];

/// Version that simulated zones have.
pub(super) const VERSION: &str = "2.13.10";

/// Bytes of the configuration that a zone of Kuma shows in its first requests, about.
const CONFIGURATION_BYTES: usize = 9_000;

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<prost_types::Struct>,
}

/// The first request of each type. A zone of Kuma repeats what it says of itself in each of them.
pub(super) fn subscriptions(zone: &str, instance: &str) -> impl Iterator<Item = DeltaRequest> + use<> {
    let filling = "x".repeat(CONFIGURATION_BYTES);
    let metadata = json!({
        "version": {"kumaCp": {"version": VERSION, "gitTag": "", "gitCommit": "", "buildDate": ""}},
        "config": json!({"store": {"type": "memory"}, "general": {"workDir": filling}}).to_string(),
        "control-plane-id": instance,
        "features": [
            "zone-token", "hash-suffix", "hg-mz-selector", "producer-policy-flow", "optional-top-level-target-ref",
        ],
    });
    let Value::Object(metadata) = metadata else { unreachable!("json! with braces makes an object") };
    let metadata = struct_from_json(&metadata).expect("strings, lists and objects of them always fit");
    let node = encoded(Node { id: zone.to_owned(), metadata: Some(metadata) });
    TYPES.into_iter().map(move |name| DeltaRequest {
        node: Some(node.clone()),
        type_url: name.to_owned(),
        subscribe: vec!["*".to_owned()],
        ..DeltaRequest::default()
    })
}

/// The node of all further requests.
pub(super) fn bare_node(zone: &str) -> EncodedNode {
    encoded(Node { id: zone.to_owned(), metadata: None })
}

fn encoded(node: Node) -> EncodedNode {
    EncodedNode::new(node.encode_to_vec().into(), Bytes::new())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use envoy_types::pb::envoy::service::discovery::v3 as discovery;

    use super::*;

    #[test]
    fn subscriptions_are_those_of_a_zone() {
        let all: Vec<_> = subscriptions("east", "east-1").collect();
        assert_eq!(all.iter().map(|request| &request.type_url).collect::<BTreeSet<_>>().len(), TYPES.len());
        let first = discovery::DeltaDiscoveryRequest::decode(all[0].encode_to_vec().as_slice()).expect("decodes");
        assert_eq!(first.resource_names_subscribe, ["*"]);
        let node = first.node.expect("is set");
        assert_eq!(node.id, "east");
        let metadata = node.metadata.expect("is set").fields;
        for name in ["version", "config", "control-plane-id", "features"] {
            assert!(metadata.contains_key(name), "{name}");
        }
        let bare = discovery::DeltaDiscoveryRequest::decode(
            DeltaRequest { node: Some(bare_node("east")), ..DeltaRequest::default() }.encode_to_vec().as_slice(),
        );
        assert_eq!(bare.expect("decodes").node.expect("is set").id, "east");
    }
}
