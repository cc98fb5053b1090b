//! Limits of requests.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/rate_limit_configurer.go`, `pkg/xds/envoy/routes/v3/ratelimit.go`,
//! `pkg/xds/generator/inbound_proxy_generator.go`.

use std::sync::Arc;

use tandem_proto::mesh::v1alpha1::RateLimit;

use super::{Decoded, protobuf_duration, source_tags};
use crate::envoy::pb::http::{HttpConnectionManager, http_connection_manager::RouteSpecifier};
use crate::envoy::pb::route::{Route, VirtualHost};
use crate::envoy::{header_to_add, inline_routes};
use crate::rate_limit::envoy as limits;

pub use limits::filter;

/// Puts routes for the callers that policies, strongest first, are about in front of the only route of a connection manager.
pub fn limit_by_caller(policies: &[Arc<Decoded<RateLimit>>], manager: &mut HttpConnectionManager) {
    let Some(whole) = inline_routes(manager).next().cloned() else { return };
    let limited = policies.iter().filter_map(|policy| {
        let mut limited = whole.clone();
        set_route(policy, &mut limited).then_some(())?;
        limited.r#match.get_or_insert_default().headers.push(source_tags::callers(&policy.spec.sources));
        Some(limited)
    });
    let limited: Vec<Route> = limited.collect();
    if let Some(host) = first_host(manager) {
        host.routes.splice(0..0, limited);
    }
}

fn first_host(manager: &mut HttpConnectionManager) -> Option<&mut VirtualHost> {
    match manager.route_specifier.as_mut()? {
        RouteSpecifier::RouteConfig(table) => table.virtual_hosts.first_mut(),
        _ => None,
    }
}

/// Limits the requests of a route. False when the policy says nothing about requests.
pub fn set_route(policy: &Decoded<RateLimit>, route: &mut Route) -> bool {
    let Some(http) = policy.spec.conf.as_ref().and_then(|conf| conf.http.as_ref()) else { return false };
    let answer = http.on_rate_limit.clone().unwrap_or_default();
    let headers = answer.headers.into_iter();
    let headers = headers.map(|header| header_to_add(header.key, header.value, header.append.unwrap_or_default()));
    let interval = protobuf_duration(http.interval.unwrap_or_default());
    limits::set_route(&limits::limit(http.requests, interval, answer.status, headers.collect()), route);
    true
}
