//! Limits of requests.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/rate_limit_configurer.go`, `pkg/xds/envoy/routes/v3/ratelimit.go`,
//! `pkg/xds/generator/inbound_proxy_generator.go`.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, HttpStatus, TokenBucket};
use tandem_proto::mesh::v1alpha1::RateLimit;
use tandem_proto::mesh::v1alpha1::rate_limit::conf::Http;

use super::{Decoded, header_to_add, protobuf_duration, source_tags};
use crate::envoy::pb::core::RuntimeFractionalPercent;
use crate::envoy::pb::http::{HttpFilter, http_filter};
use crate::envoy::pb::route::Route;
use crate::envoy::pb::{UInt32Value, route};
use crate::envoy::{inline_routes, pack};

const FILTER: &str = "envoy.filters.http.local_ratelimit";
const STAT_PREFIX: &str = "rate_limit";

/// The filter that counts requests; routes say how many there may be.
pub fn filter() -> HttpFilter {
    let config = LocalRateLimit { stat_prefix: STAT_PREFIX.to_owned(), ..LocalRateLimit::default() };
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&config))),
        ..HttpFilter::default()
    }
}

/// Puts routes for the callers that policies, strongest first, are about in front of the only route of a connection manager.
pub fn limit_by_caller(
    policies: &[Arc<Decoded<RateLimit>>],
    manager: &mut crate::envoy::pb::http::HttpConnectionManager,
) {
    let Some(whole) = inline_routes(manager).next().cloned() else { return };
    let limited = policies.iter().filter_map(|policy| {
        let mut limited = whole.clone();
        set_route(policy, &mut limited).then_some(())?;
        limited.r#match.get_or_insert_default().headers.push(source_tags::matcher(&policy.spec.sources));
        Some(limited)
    });
    let limited: Vec<Route> = limited.collect();
    if let Some(host) = first_host(manager) {
        host.routes.splice(0..0, limited);
    }
}

fn first_host(manager: &mut crate::envoy::pb::http::HttpConnectionManager) -> Option<&mut route::VirtualHost> {
    use crate::envoy::pb::http::http_connection_manager::RouteSpecifier;
    match manager.route_specifier.as_mut()? {
        RouteSpecifier::RouteConfig(table) => table.virtual_hosts.first_mut(),
        _ => None,
    }
}

/// Limits the requests of a route. False when the policy says nothing about requests.
pub fn set_route(policy: &Decoded<RateLimit>, route: &mut Route) -> bool {
    let Some(http) = policy.spec.conf.as_ref().and_then(|conf| conf.http.as_ref()) else { return false };
    route.typed_per_filter_config.insert(FILTER.to_owned(), pack(&limit(http)));
    true
}

fn limit(conf: &Http) -> LocalRateLimit {
    let always = |runtime_key: &str| {
        let default_value = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() };
        Some(RuntimeFractionalPercent { default_value: Some(default_value), runtime_key: runtime_key.to_owned() })
    };
    let answer = conf.on_rate_limit.clone().unwrap_or_default();
    LocalRateLimit {
        stat_prefix: STAT_PREFIX.to_owned(),
        status: answer
            .status
            .filter(|status| *status != 0)
            .map(|status| HttpStatus { code: i32::try_from(status).unwrap_or_default() }),
        token_bucket: Some(TokenBucket {
            max_tokens: conf.requests,
            tokens_per_fill: Some(UInt32Value { value: conf.requests }),
            fill_interval: Some(protobuf_duration(conf.interval.unwrap_or_default())),
        }),
        filter_enabled: always("local_rate_limit_enabled"),
        filter_enforced: always("local_rate_limit_enforced"),
        response_headers_to_add: answer
            .headers
            .into_iter()
            .map(|header| header_to_add(header.key, header.value, header.append.unwrap_or_default()))
            .collect(),
        ..LocalRateLimit::default()
    }
}
