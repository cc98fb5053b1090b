//! MeshLoadBalancingStrategy: how an endpoint is chosen.

mod schema;
mod validation;

pub use schema::{
    AffinityTag, Conf, Connection, Cookie, CrossZone, Failover, FailoverThreshold, FilterState, FromZone, HashFunction,
    HashPolicy, HashPolicyType, Header, LeastRequest, LoadBalancer, LoadBalancerType, LocalZone, LocalityAwareness,
    Maglev, QueryParameter, Random, RingHash, RoundRobin, Spec, ToZone, ToZoneType,
};
