//! What MeshRateLimit does to Envoy, and the parts that RateLimit has in common with it.
//!
//! Source: Kuma `pkg/plugins/policies/meshratelimit/plugin`, `pkg/xds/envoy/routes/v3/ratelimit.go`.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit as NetworkLocalRateLimit;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, HttpStatus, StatusCode, TokenBucket};
use tandem_model::ResourceKey;

use super::schema::{Conf, LocalHttp, LocalTcp, Rate};
use crate::envoy::pb::core::{HeaderValueOption, RuntimeFractionalPercent};
use crate::envoy::pb::http::{HttpConnectionManager, HttpFilter, http_connection_manager, http_filter};
use crate::envoy::pb::listener::Filter;
use crate::envoy::pb::route::Route;
use crate::envoy::pb::{Any, Duration, UInt32Value};
use crate::envoy::{
    ChainDraft, NetworkFilter, header_to_add, headers_to_add, inline_routes, insert_before_router, pack, packed_filter,
};
use crate::policy::Policy;

const FILTER: &str = "envoy.filters.http.local_ratelimit";
/// The name looks like that of a type; clients know it so.
const CONNECTION_FILTER: &str = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit";
const STAT_PREFIX: &str = "rate_limit";
const CONNECTION_STAT_PREFIX: &str = "tcp_rate_limit";
/// Envoy takes no more headers for the responses to requests beyond the limit.
const MOST_HEADERS: usize = 10;

/// How many requests and connections pass, in the form in which Envoy takes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Settings of routes for the filter of requests.
    requests: Option<Any>,
    connections: Option<Filter>,
    problems: Vec<(ResourceKey, String)>,
}

impl Limits {
    /// What the merged configuration of policies says, of which `written` are the entries, weakest first.
    pub(crate) fn new(conf: &Conf, written: &[(&Arc<Policy>, &serde_json::Value)]) -> Self {
        let local = conf.local.clone().unwrap_or_default();
        let mut limits = Self::default();
        limits.connections = local.tcp.as_ref().and_then(connections);
        limits.requests = local.http.and_then(|http| limits.requests(&http, written));
        limits
    }

    /// What of which policies cannot take effect.
    pub fn problems(&self) -> &[(ResourceKey, String)] {
        &self.problems
    }

    /// Limits the requests and connections of a filter chain. Where an older RateLimit limits requests, that one stays.
    pub(crate) fn set_chain(&self, chain: &mut ChainDraft) {
        if let Some(requests) = &self.requests {
            chain.http_mut().for_each(|manager| set_manager(requests, manager));
        }
        if let Some(connections) = &self.connections {
            chain.filters.insert(0, NetworkFilter::Packed(connections.clone()));
        }
    }

    fn requests(&mut self, http: &LocalHttp, written: &[(&Arc<Policy>, &serde_json::Value)]) -> Option<Any> {
        if http.disabled == Some(true) {
            return None;
        }
        let Rate { num, interval } = http.request_rate.as_ref()?;
        let answer = http.on_rate_limit.clone().unwrap_or_default();
        // Told at the strongest policy that has the member.
        let mut left_out = |member: &str, reason: String| {
            let pointer = format!("/local/http/onRateLimit/{member}");
            if let Some((policy, _)) = written.iter().rfind(|(_, conf)| conf.pointer(&pointer).is_some()) {
                self.problems.push((policy.resource.key.clone(), reason));
            }
        };
        if let Some(status) = answer.status.filter(|status| known_status(*status).is_none()) {
            left_out(
                "status",
                format!(
                    "requests beyond the limit are answered with 429: onRateLimit.status is {status}, which Envoy does not know"
                ),
            );
        }
        let changes = answer.headers.unwrap_or_default();
        let added = changes.add.unwrap_or_default();
        let added = added.into_iter().map(|header| header_to_add(header.name, header.value, true));
        let set = changes.set.unwrap_or_default();
        let mut headers: Vec<_> = added.chain(headers_to_add(&set, false)).collect();
        if headers.len() > MOST_HEADERS {
            left_out(
                "headers",
                format!(
                    "onRateLimit.headers has {} headers, of which the last ones are left out: Envoy adds {MOST_HEADERS} at most",
                    headers.len()
                ),
            );
            headers.truncate(MOST_HEADERS);
        }
        Some(pack(&limit(*num, interval.to_proto(), answer.status, headers)))
    }
}

fn connections(tcp: &LocalTcp) -> Option<Filter> {
    if tcp.disabled == Some(true) {
        return None;
    }
    let Rate { num, interval } = tcp.connection_rate.as_ref()?;
    let config = NetworkLocalRateLimit {
        stat_prefix: CONNECTION_STAT_PREFIX.to_owned(),
        token_bucket: Some(bucket(*num, interval.to_proto())),
        ..NetworkLocalRateLimit::default()
    };
    Some(packed_filter(CONNECTION_FILTER, &config))
}

/// Limits each route, unless there are several: those are of older policies, one for some callers each.
fn set_manager(requests: &Any, manager: &mut HttpConnectionManager) {
    if let Some(http_connection_manager::RouteSpecifier::RouteConfig(table)) = &manager.route_specifier
        && table.virtual_hosts.iter().any(|host| host.routes.len() > 1)
    {
        return;
    }
    for route in inline_routes(manager) {
        route.typed_per_filter_config.entry(FILTER.to_owned()).or_insert_with(|| requests.clone());
    }
    if !manager.http_filters.iter().any(|filter| filter.name == FILTER) {
        insert_before_router(manager, [filter()]);
    }
}

/// The filter that counts requests; routes say how many there may be.
pub fn filter() -> HttpFilter {
    let config = LocalRateLimit { stat_prefix: STAT_PREFIX.to_owned(), ..LocalRateLimit::default() };
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&config))),
        ..HttpFilter::default()
    }
}

/// Limits the requests of a route.
pub(crate) fn set_route(limit: &LocalRateLimit, route: &mut Route) {
    route.typed_per_filter_config.insert(FILTER.to_owned(), pack(limit));
}

/// As many requests in an interval, and how others are answered. A status that Envoy does not know is left out, as it would refuse the
/// whole listener.
pub(crate) fn limit(
    requests: u32,
    interval: Duration,
    status: Option<u32>,
    headers: Vec<HeaderValueOption>,
) -> LocalRateLimit {
    let always = |runtime_key: &str| {
        let default_value = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() };
        Some(RuntimeFractionalPercent { default_value: Some(default_value), runtime_key: runtime_key.to_owned() })
    };
    LocalRateLimit {
        stat_prefix: STAT_PREFIX.to_owned(),
        status: status.and_then(known_status).map(|status| HttpStatus { code: status.into() }),
        token_bucket: Some(bucket(requests, interval)),
        filter_enabled: always("local_rate_limit_enabled"),
        filter_enforced: always("local_rate_limit_enforced"),
        response_headers_to_add: headers,
        ..LocalRateLimit::default()
    }
}

fn known_status(status: u32) -> Option<StatusCode> {
    let status = StatusCode::try_from(i32::try_from(status).ok()?).ok()?;
    (status != StatusCode::Empty).then_some(status)
}

fn bucket(tokens: u32, interval: Duration) -> TokenBucket {
    TokenBucket {
        max_tokens: tokens,
        tokens_per_fill: Some(UInt32Value { value: tokens }),
        fill_interval: Some(interval),
    }
}

#[cfg(test)]
#[path = "envoy_tests.rs"]
mod tests;
