//! Policies of the older generation: which of them apply to a proxy, and to what of it.
//!
//! Instead of a `targetRef` they have selectors by tags. Those about connections have `sources` and `destinations`
//! ([`ConnectionPolicy`]), the others `selectors` of proxies ([`DataplanePolicy`]). Of the policies of one kind that match, the
//! one with the most specific selectors wins, among those the newest, then the first by name; only of FaultInjection and of
//! RateLimit for incoming requests several apply side by side.
//!
//! ```text
//! inbound   TrafficPermission (best), FaultInjection and RateLimit (all)
//! outbound  Timeout, RateLimit, TrafficRoute
//! service   TrafficLog, HealthCheck, CircuitBreaker, Retry
//! proxy     TrafficTrace, ProxyTemplate
//! ```
//!
//! What a policy does to Envoy's configuration is in the module of its kind. Pure; how inspection shows policies is decided elsewhere.
//!
//! Source of the rules: Kuma `pkg/core/policy`, `pkg/core/{permissions,faultinjections,ratelimits,logs}`, `pkg/xds/topology`,
//! `pkg/xds/sync/dataplane_proxy_builder.go`.

mod apply;
pub mod circuit_breaker;
mod compiled;
mod connection;
pub mod fault_injection;
pub mod gateway;
pub mod health_check;
mod matched;
mod policies;
pub mod rate_limit;
pub mod retry;
mod selector;
pub mod source_tags;
pub mod timeout;
pub mod traffic_log;
pub mod traffic_permission;
pub mod traffic_route;
pub mod traffic_trace;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use apply::inbound_chain;
pub use compiled::{ByService, Compiled, InboundPolicies, OutboundPolicies, ProxyPolicies};
pub use connection::best_for_tags;
pub use matched::{MatchedPolicies, PASS_THROUGH};
pub use policies::{Decoded, KINDS, LegacyPolicies};
pub use selector::{ConnectionPolicy, DataplanePolicy, best_for_dataplane, selects_dataplane};
pub(crate) use selector::{compare, rank_of_dataplane};

/// A duration in Envoy's type.
fn protobuf_duration(duration: prost_types::Duration) -> crate::envoy::pb::Duration {
    crate::envoy::pb::Duration { seconds: duration.seconds, nanos: duration.nanos }
}
