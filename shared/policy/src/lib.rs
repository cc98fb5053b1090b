//! Policies selected by `targetRef`: their schemas and validation, which proxies and destinations they apply to, and what
//! they do to Envoy configuration. For policies of the older generation, which proxies they apply to ([`legacy`]).
//!
//! No I/O. A control plane uses three parts: checking what is written ([`check`]), computing rules from stored policies, and
//! the effects of the rules on [`envoy::DraftSet`].

pub mod access_log;
mod apply;
pub mod backend;
mod by_address;
mod candidates;
mod check;
pub mod circuit_breaker;
mod cluster_name;
mod compiled;
pub mod destinations;
pub mod egress;
pub mod endpoint;
pub mod envoy;
pub mod explain;
pub mod fault_injection;
pub mod health_check;
pub mod http_route;
pub mod legacy;
pub mod load_balancing;
pub mod matching;
mod merge;
pub mod metric;
pub mod passthrough;
pub mod policy;
mod precedence;
pub mod proxy_patch;
pub mod rate_limit;
pub mod reach;
mod registry;
pub mod reporter;
pub mod retry;
mod role;
pub mod rules;
pub mod schema;
pub mod subject;
mod subset;
pub mod target_ref;
pub mod tcp_route;
#[cfg(test)]
mod testing;
pub mod timeout;
pub mod tls;
pub mod trace;
pub mod traffic_permission;
mod validation;

pub use apply::{
    InboundFacts, egress_chain, egress_cluster, egress_external_service_chain, egress_routes, inbound_cluster,
    inbound_listener, outbound_cluster, outbound_listener, outbound_security, passthrough_logs,
};
pub use by_address::ByAddress;
pub use candidates::Marks;
pub use check::{Checked, check, check_as, check_received};
pub use cluster_name::service_cluster;
pub use compiled::{
    ByDestination, ByService, EgressPolicies, InboundPolicies, MeshPolicies, OutboundPolicies, OutsidePolicies,
    OwnPolicies, OwnTags, PolicySettings, PolicyWarning, ProxyPolicies, concerns_zone_proxies,
};
pub use precedence::Criterion;
pub use registry::spec_schema;
pub use role::{PolicyOrigin, Role};
pub use subset::{Subset, TagCondition};
pub use tandem_model::protocol::Protocol;
