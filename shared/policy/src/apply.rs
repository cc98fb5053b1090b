//! Effects of policies on the resources of a proxy, in the order in which Kuma applies its policies.
//!
//! The functions work on one resource at a time, so that callers can keep a finished resource for as long as its source
//! and its policies stay the same.

use tandem_model::kind::Kind;
use tandem_model::kri::Kri;

use crate::compiled::{EgressPolicies, InboundPolicies, OutboundPolicies};
use crate::envoy::{ChainDraft, ClusterDraft, Draft, ListenerDraft, inline_routes};
use crate::traffic_permission::Permission;
use crate::{retry, timeout, tls};

/// What the effects need to know about a proxy besides its policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxySecurity {
    /// Whether the proxy has a certificate: mutual TLS is on in the mesh, or the proxy has a workload identity.
    pub has_identity: bool,
    /// Whether an older TrafficPermission selects the inbound. Where no MeshTrafficPermission does, that one stays in
    /// effect; with neither, nobody may use the inbound.
    pub has_traffic_permission: bool,
}

/// Applies policies to the listener of an inbound. Its draft must tell the protocol.
pub fn inbound_listener(policies: &InboundPolicies, security: ProxySecurity, draft: &mut Draft<ListenerDraft>) {
    timeout::envoy::listener(&policies.timeouts, draft.protocol, &mut draft.value);
    if !security.has_identity {
        return;
    }
    if let Some(conf) = &policies.tls {
        tls::envoy::listener(conf, &mut draft.value);
    }
    let permission = match &policies.permission {
        Some(permission) => permission,
        None if security.has_traffic_permission => return,
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

/// Applies policies to the listener of an outbound. Its draft must tell the protocol and the destination or service.
pub fn outbound_listener(policies: &OutboundPolicies, draft: &mut Draft<ListenerDraft>) {
    let OutboundPolicies { timeouts, retries, .. } = policies;
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

/// Identifier of the MeshHTTPRoute that a route is named after; `None` for routes named by a hash.
fn route_identifier(name: &str) -> Option<Kri> {
    if !name.starts_with("kri_") {
        return None;
    }
    name.parse().ok()
}

/// Applies policies to the cluster of an outbound. Its draft must tell the protocol and the destination or service.
pub fn outbound_cluster(policies: &OutboundPolicies, draft: &mut Draft<ClusterDraft>) {
    let OutboundPolicies { timeouts, breakers, .. } = policies;
    let (protocol, cluster) = (draft.protocol, &mut draft.value);
    let (timeouts, breakers) = if let Some(destination) = draft.destination.as_deref() {
        // Limits of traffic to a MeshExternalService are those of the ZoneEgress.
        let own_limits = destination.kind != Kind::MeshExternalService;
        (timeouts.of_resource(destination), breakers.of_resource(destination).filter(|_| own_limits))
    } else if let Some(service) = draft.service.as_deref() {
        (timeouts.of_service(service), breakers.of_service(service))
    } else {
        return;
    };
    timeout::envoy::cluster(timeouts.unwrap_or(&timeout::Conf::default()), protocol, cluster);
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
/// tell the destination.
pub fn egress_cluster(policies: &EgressPolicies, draft: &mut Draft<ClusterDraft>) {
    let breakers = draft.destination.as_deref().and_then(|destination| policies.breakers.of_resource(destination));
    if let Some(breakers) = breakers {
        breakers.set_cluster(&mut draft.value);
    }
}

/// Sets who may use the filter chain of a MeshExternalService on a ZoneEgress: everyone, unless its mesh forbids access
/// by default. `listener` is the name of the egress listener.
pub fn egress_external_service_chain(forbidden: bool, listener: &str, chain: &mut ChainDraft) {
    let permission = if forbidden { Permission::deny_all() } else { Permission::allow_all() };
    permission.set_chain(chain, listener);
}

/// Sets who may use the filter chain of an ExternalService on a ZoneEgress: whom `permission` allows, as
/// [`MeshPolicies::egress_permission`](crate::MeshPolicies::egress_permission) computed it; without one whom an older
/// TrafficPermission allows; with neither nobody.
pub fn egress_chain(
    permission: Option<&Permission>,
    has_traffic_permission: bool,
    listener: &str,
    chain: &mut ChainDraft,
) {
    match permission {
        Some(permission) => permission.set_chain(chain, listener),
        None if has_traffic_permission => {}
        None => Permission::deny_all().set_chain(chain, listener),
    }
}
