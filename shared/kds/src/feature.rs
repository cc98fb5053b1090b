//! What a peer says it can do.

use prost_types::value::Kind as ValueKind;

use crate::wire::Node;

/// Header feature: the zone sends health checks.
pub const ZONE_PING_HEALTH: &str = "zone-ping-health";
/// Names carry a hash suffix instead of a zone prefix.
pub const HASH_SUFFIX: &str = "hash-suffix";
/// Zone tokens are understood.
pub const ZONE_TOKEN: &str = "zone-token";
/// HostnameGenerators that select MeshMultiZoneServices are understood.
pub const HOSTNAME_GENERATOR_MULTI_ZONE: &str = "hg-mz-selector";
/// Policies that another zone produced are understood.
pub const PRODUCER_POLICY_FLOW: &str = "producer-policy-flow";
/// Policies without top-level targetRef are understood.
pub const OPTIONAL_TARGET_REF: &str = "optional-top-level-target-ref";

/// Features sent in the node's metadata, in Kuma's order.
pub const NODE_FEATURES: [&str; 5] =
    [ZONE_TOKEN, HASH_SUFFIX, HOSTNAME_GENERATOR_MULTI_ZONE, PRODUCER_POLICY_FLOW, OPTIONAL_TARGET_REF];
/// Features sent as headers of each call, one entry each.
pub const HEADER_FEATURES: [&str; 2] = [ZONE_PING_HEALTH, HASH_SUFFIX];

/// Features of a zone that decide what global sends to it. Taken from the first request of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// See [`HASH_SUFFIX`].
    pub hash_suffix: bool,
    /// See [`HOSTNAME_GENERATOR_MULTI_ZONE`].
    pub hostname_generator_multi_zone: bool,
    /// See [`PRODUCER_POLICY_FLOW`].
    pub producer_policy_flow: bool,
    /// See [`OPTIONAL_TARGET_REF`].
    pub optional_target_ref: bool,
}

impl Features {
    /// The features listed in the metadata of a node.
    pub fn of(node: &Node) -> Self {
        let mut features = Self::default();
        let listed = node.metadata.as_ref().and_then(|metadata| metadata.fields.get("features"));
        let Some(ValueKind::ListValue(list)) = listed.and_then(|value| value.kind.as_ref()) else {
            return features;
        };
        for value in &list.values {
            let Some(ValueKind::StringValue(name)) = &value.kind else { continue };
            match name.as_str() {
                HASH_SUFFIX => features.hash_suffix = true,
                HOSTNAME_GENERATOR_MULTI_ZONE => features.hostname_generator_multi_zone = true,
                PRODUCER_POLICY_FLOW => features.producer_policy_flow = true,
                OPTIONAL_TARGET_REF => features.optional_target_ref = true,
                _ => {}
            }
        }
        features
    }

    /// Everything this implementation knows.
    pub const fn all() -> Self {
        Self {
            hash_suffix: true,
            hostname_generator_multi_zone: true,
            producer_policy_flow: true,
            optional_target_ref: true,
        }
    }
}
