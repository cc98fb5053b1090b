//! MeshLoadBalancingStrategy: how an endpoint is chosen.

mod envoy;
mod localities;
mod schema;
mod validation;

pub use envoy::Strategy;
pub use localities::{Localities, Standpoint};
pub use schema::{
    AffinityTag, Conf, Connection, Cookie, CrossZone, Failover, FailoverThreshold, FilterState, FromZone, HashFunction,
    HashPolicy, HashPolicyType, Header, LeastRequest, LoadBalancer, LoadBalancerType, LocalZone, LocalityAwareness,
    Maglev, QueryParameter, Random, RingHash, RoundRobin, Spec, ToZone, ToZoneType,
};
