//! Effects of policies about incoming traffic on a filter chain.

use super::{InboundPolicies, fault_injection, rate_limit, traffic_permission};
use crate::envoy::{ChainDraft, insert_before_router};

/// Applies policies to a filter chain of an inbound or to that of an ExternalService on a ZoneEgress: its requests meet faults and
/// limits and, if the chain ends TLS, nobody may connect whom no TrafficPermission allows. `stat_name` is the name under which the
/// statistics of the permission are kept.
pub fn inbound_chain(policies: &InboundPolicies, stat_name: &str, chain: &mut ChainDraft) {
    let InboundPolicies { traffic_permission, fault_injections, rate_limits } = policies;
    for manager in chain.http_mut() {
        let limits = (!rate_limits.is_empty()).then(rate_limit::filter);
        let filters = fault_injections.iter().map(|policy| fault_injection::filter(policy)).chain(limits);
        insert_before_router(manager, filters);
        rate_limit::limit_by_caller(rate_limits, manager);
    }
    if chain.is_tls() {
        traffic_permission::set_chain(traffic_permission.as_deref(), stat_name, chain);
    }
}
