//! How the endpoints of a destination are chosen.
//!
//! Source: Kuma `pkg/xds/envoy/clusters/v3/lb_configurer.go`.

use envoy_types::pb::google::protobuf::UInt64Value;
use tandem_proto::mesh::v1alpha1::traffic_route::LoadBalancer;
use tandem_proto::mesh::v1alpha1::traffic_route::load_balancer::LbType;

use crate::envoy::ClusterDraft;
use crate::envoy::pb::UInt32Value;
use crate::envoy::pb::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, RingHashLbConfig, ring_hash_lb_config::HashFunction,
};

/// How many endpoints a request chooses the least busy one of, where the route does not say.
const CHOICES: u32 = 2;

/// Sets how endpoints are chosen: one after the other where the route says nothing.
pub fn set_cluster(load_balancer: Option<&LoadBalancer>, cluster: &mut ClusterDraft) {
    let number = |value| Some(UInt64Value { value });
    let (policy, config) = match load_balancer.and_then(|balancer| balancer.lb_type.as_ref()) {
        None | Some(LbType::RoundRobin(_)) => (LbPolicy::RoundRobin, None),
        Some(LbType::Random(_)) => (LbPolicy::Random, None),
        Some(LbType::Maglev(_)) => (LbPolicy::Maglev, None),
        Some(LbType::LeastRequest(conf)) => {
            let value = if conf.choice_count == 0 { CHOICES } else { conf.choice_count };
            let config = LeastRequestLbConfig { choice_count: Some(UInt32Value { value }), ..Default::default() };
            (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)))
        }
        Some(LbType::RingHash(conf)) => {
            // Other names, which validation refuses, count as Envoy's default.
            let hash_function = HashFunction::from_str_name(&conf.hash_function).unwrap_or_default();
            let config = RingHashLbConfig {
                hash_function: hash_function.into(),
                minimum_ring_size: number(conf.min_ring_size),
                maximum_ring_size: number(conf.max_ring_size),
            };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
        }
    };
    cluster.message.lb_policy = policy.into();
    cluster.message.lb_config = config;
}
