//! Effects of policies on the resources of a proxy, in the order in which Kuma applies its policies.
//!
//! The functions work on one resource at a time, so that callers can keep a finished resource for as long as its source
//! and its policies stay the same.

use tandem_model::kind::Kind;
use tandem_model::kri::Kri;

use crate::access_log::AccessLog;
use crate::compiled::{EgressPolicies, InboundPolicies, OutboundPolicies, OutsidePolicies, OwnTags};
use crate::envoy::{ChainDraft, ClusterDraft, Draft, ListenerDraft, inline_routes};
use crate::legacy::PASS_THROUGH;
use crate::reporter::Reporter;
use crate::trace::Direction;
use crate::traffic_permission::Permission;
use crate::{access_log, retry, timeout, tls};

/// What the effects need to know about an inbound besides its policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct InboundFacts {
    /// Whether the proxy has a certificate: mutual TLS is on in the mesh, or the proxy has a workload identity.
    pub has_identity: bool,
    /// Whether an older TrafficPermission selects the inbound. Where no MeshTrafficPermission does, that one stays in
    /// effect; with neither, nobody may use the inbound.
    pub has_traffic_permission: bool,
    /// Whether an older FaultInjection selects the inbound, which then decides alone.
    pub has_fault_injection: bool,
    /// Whether an older RateLimit selects the inbound, which then decides alone.
    pub has_rate_limit: bool,
}

/// Applies policies to the listener of an inbound. Its draft must tell the protocol. `reporter` says what logs and traces need to
/// know; `None` when there are neither.
pub fn inbound_listener(
    policies: &InboundPolicies,
    facts: InboundFacts,
    reporter: Option<&Reporter>,
    draft: &mut Draft<ListenerDraft>,
) {
    if let Some(reporter) = reporter {
        if let Some(conf) = &policies.access_log {
            access_log::envoy::listener(conf, &reporter.incoming(), reporter, &mut draft.value);
        }
        if let Some(tracing) = &reporter.tracing {
            tracing.set(&mut draft.value, &reporter.service, Direction::Inbound);
        }
    }
    for chain in &mut draft.value.chains {
        if !facts.has_fault_injection {
            policies.faults.set_chain(chain);
        }
        if !facts.has_rate_limit {
            policies.limits.set_chain(chain);
        }
    }
    timeout::envoy::listener(&policies.timeouts, draft.protocol, &mut draft.value);
    if !facts.has_identity {
        return;
    }
    if let Some(conf) = &policies.tls {
        tls::envoy::listener(conf, &mut draft.value);
    }
    let permission = match &policies.permission {
        Some(permission) => permission,
        None if facts.has_traffic_permission => return,
        None => Permission::deny_all(),
    };
    let ListenerDraft { message, chains, .. } = &mut draft.value;
    for chain in chains.iter_mut().filter(|chain| chain.is_tls()) {
        permission.set_chain(chain, &message.name);
    }
}

/// Applies policies to the cluster of a workload, whose inbound speaks `protocol`.
pub fn inbound_cluster(policies: &InboundPolicies, protocol: crate::Protocol, draft: &mut Draft<ClusterDraft>) {
    timeout::envoy::cluster(&policies.timeouts, protocol, &mut draft.value);
    policies.breakers.set_cluster(&mut draft.value);
}

/// Applies policies to the listener of an outbound. Its draft must tell the protocol and the destination or service. `reporter`
/// says what logs and traces need to know; `None` when there are neither.
pub fn outbound_listener(policies: &OutboundPolicies, reporter: Option<&Reporter>, draft: &mut Draft<ListenerDraft>) {
    if let Some(reporter) = reporter {
        report_outgoing(policies, reporter, draft);
    }
    let OutboundPolicies { load_balancing, timeouts, retries, .. } = policies;
    let strategy = load_balancing.of_draft(draft);
    let destination = draft.destination.as_deref();
    let strategy_of_route = |name: &str| {
        let of_route = destination.and_then(|_| load_balancing.of_exact_route(&route_identifier(name)?));
        of_route.or(strategy)
    };
    for route in draft.value.http_mut().flat_map(inline_routes) {
        if let Some(strategy) = strategy_of_route(&route.name) {
            strategy.set_route(route);
        }
    }
    let (protocol, listener) = (draft.protocol, &mut draft.value);
    if let Some(destination) = draft.destination.as_deref() {
        let conf = timeouts.of_resource(destination);
        timeout::envoy::listener(conf.unwrap_or(&timeout::Conf::default()), protocol, listener);
        for manager in listener.http_mut() {
            for route in inline_routes(manager) {
                if let Some(name) = route_identifier(&route.name) {
                    let conf = timeouts.of_resource_route(&name, destination);
                    timeout::envoy::set_route(conf.unwrap_or(&timeout::Conf::default()), route);
                }
            }
        }
        retry::envoy::listener(retries.of_resource(destination), protocol, listener, |route| {
            retries.of_resource_route(&route_identifier(route)?, destination)
        });
    } else if let Some(service) = draft.service.as_deref() {
        let conf = timeouts.of_service(service);
        timeout::envoy::listener_by_tags(conf, protocol, listener, |route| timeouts.of_route(service, route).or(conf));
        let of_service = retries.of_service(service);
        retry::envoy::listener(of_service, protocol, listener, |route| retries.of_route(service, route));
    }
}

/// Has the requests and connections that an outbound takes logged and traced.
fn report_outgoing(policies: &OutboundPolicies, reporter: &Reporter, draft: &mut Draft<ListenerDraft>) {
    let logs = &policies.access_logs;
    let traced_as = if let Some(destination) = draft.destination.clone() {
        access_log::envoy::listener_with_routes(
            logs.of_resource(&destination),
            &reporter.outgoing(&destination.name),
            reporter,
            &mut draft.value,
            |route| {
                let route = route_identifier(route)?;
                let conf = logs.of_exact_route(&route)?;
                Some((route, conf))
            },
        );
        // Requests to a MeshExternalService are not traced.
        draft.alias.clone().filter(|_| destination.kind != Kind::MeshExternalService)
    } else if let Some(service) = draft.service.clone() {
        if let Some(conf) = logs.of_service(&service) {
            access_log::envoy::listener(conf, &reporter.outgoing(&service), reporter, &mut draft.value);
        }
        Some(service)
    } else {
        None
    };
    if let Some((tracing, destination)) = reporter.tracing.as_ref().zip(traced_as) {
        tracing.set(&mut draft.value, &reporter.service, Direction::Outbound(&destination));
    }
}

/// The logs of connections from a proxy that no other listener takes, or that go to another proxy at its own address;
/// `destination` is what they call it.
pub fn passthrough_logs(policies: &OutboundPolicies, reporter: &Reporter, destination: &str) -> Vec<AccessLog> {
    let conf = policies.access_logs.of_service(PASS_THROUGH);
    conf.map(|conf| access_log::envoy::logs(conf, &reporter.outgoing(destination), reporter)).unwrap_or_default()
}

/// Identifier of the MeshHTTPRoute that a route is named after; `None` for routes named by a hash.
fn route_identifier(name: &str) -> Option<Kri> {
    if !name.starts_with("kri_") {
        return None;
    }
    name.parse().ok()
}

/// Applies policies to the cluster of an outbound. Its draft must tell the protocol and the destination or service; `own` is what of
/// the proxy's tags the policies want to know.
pub fn outbound_cluster(policies: &OutboundPolicies, own: &OwnTags, draft: &mut Draft<ClusterDraft>) {
    if draft.destination.is_none() && draft.service.is_none() {
        return;
    }
    // Limits of traffic to a MeshExternalService, and checks of its endpoints, are those of the ZoneEgress.
    let is_ours = draft.destination.as_ref().is_none_or(|destination| destination.kind != Kind::MeshExternalService);
    let strategy = policies.load_balancing.of_draft(draft);
    let timeouts = policies.timeouts.of_draft(draft);
    let checks = policies.health_checks.of_draft(draft).filter(|_| is_ours);
    let breakers = policies.breakers.of_draft(draft).filter(|_| is_ours);
    let (protocol, cluster) = (draft.protocol, &mut draft.value);
    if let Some(strategy) = strategy {
        strategy.set_cluster(cluster);
    }
    timeout::envoy::cluster(timeouts.unwrap_or(&timeout::Conf::default()), protocol, cluster);
    if let Some(checks) = checks {
        checks.set_cluster(protocol, own.told.as_deref(), cluster);
    }
    if let Some(breakers) = breakers {
        breakers.set_cluster(cluster);
    }
}

/// Applies policies to how connections to the cluster of an outbound are secured, if a proxy of the mesh is at their other end
/// and no ZoneEgress.
pub fn outbound_security(policies: &OutboundPolicies, draft: &mut Draft<ClusterDraft>) {
    tls::envoy::cluster(&policies.tls, &mut draft.value);
}

/// Applies policies of the destination's mesh to the cluster of a MeshExternalService on a ZoneEgress. Its draft must
/// tell the protocol and the destination.
pub fn egress_cluster(policies: &EgressPolicies, draft: &mut Draft<ClusterDraft>) {
    let strategy = policies.load_balancing.of_draft(draft);
    let checks = policies.health_checks.of_draft(draft);
    let breakers = policies.breakers.of_draft(draft);
    let (protocol, cluster) = (draft.protocol, &mut draft.value);
    if let Some(strategy) = strategy {
        strategy.set_cluster(cluster);
    }
    if let Some(checks) = checks {
        // Whose tags should be told? The egress stands for all proxies.
        checks.set_cluster(protocol, None, cluster);
    }
    if let Some(breakers) = breakers {
        breakers.set_cluster(cluster);
    }
}

/// Applies policies of the destination's mesh to the filter chain of a MeshExternalService on a ZoneEgress.
pub fn egress_routes(policies: &EgressPolicies, destination: &Kri, chain: &mut ChainDraft) {
    if let Some(strategy) = policies.load_balancing.of_resource(destination) {
        chain.http_mut().flat_map(inline_routes).for_each(|route| strategy.set_route(route));
    }
}

/// Sets who may use the filter chain of a MeshExternalService on a ZoneEgress: everyone, unless its mesh forbids access
/// by default. `listener` is the name of the egress listener.
pub fn egress_external_service_chain(forbidden: bool, listener: &str, chain: &mut ChainDraft) {
    let permission = if forbidden { Permission::deny_all() } else { Permission::allow_all() };
    permission.set_chain(chain, listener);
}

/// Applies policies to the filter chain of an ExternalService on a ZoneEgress. Without a MeshTrafficPermission in the mesh those may
/// use it whom an older TrafficPermission allows; with neither, nobody may.
pub fn egress_chain(policies: &OutsidePolicies, has_traffic_permission: bool, listener: &str, chain: &mut ChainDraft) {
    policies.faults.set_chain(chain);
    policies.limits.set_chain(chain);
    match &policies.permission {
        Some(permission) => permission.set_chain(chain, listener),
        None if has_traffic_permission => {}
        None => Permission::deny_all().set_chain(chain, listener),
    }
}
