//! HTTP connection managers and route tables.
//!
//! Source: Kuma `pkg/xds/envoy/{listeners,routes}/v3`.

use std::net::IpAddr;

use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use http::http_connection_manager::{InternalAddressConfig, RouteSpecifier};
use tandem_policy::envoy::pb::{Any, BoolValue, UInt32Value, core, http, route};
use tandem_policy::envoy::{duration, names, pack, sanitize_stat_prefix};

use super::shape::flag;

/// A filter of a connection manager.
pub(crate) fn http_filter(name: &str, config: Any) -> http::HttpFilter {
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn router() -> http::HttpFilter {
    http_filter(names::ROUTER, pack(&Router::default()))
}

/// Filter that counts gRPC messages.
pub(crate) fn grpc_stats() -> http::HttpFilter {
    http_filter("envoy.filters.http.grpc_stats", pack(&GrpcStats { emit_filter_state: true, ..Default::default() }))
}

/// Address ranges whose requests count as internal; `ipv6` leaves out those of the other family when false. Falls back to
/// the host itself.
pub(crate) fn internal_addresses<'a>(ranges: impl IntoIterator<Item = &'a str>, ipv6: bool) -> Vec<core::CidrRange> {
    let parse = |range: &str| {
        let (address, length) = range.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = length.parse().ok()?;
        let limit = if address.is_ipv6() { 128 } else { 32 };
        (length <= limit && (ipv6 || address.is_ipv4())).then(|| cidr(&address.to_string(), length))
    };
    let parsed: Vec<_> = ranges.into_iter().filter_map(parse).collect();
    if parsed.is_empty() { host_itself(ipv6) } else { parsed }
}

/// The addresses of the host itself.
pub(crate) fn host_itself(ipv6: bool) -> Vec<core::CidrRange> {
    let mut ranges = vec![cidr("127.0.0.1", 32)];
    if ipv6 {
        ranges.push(cidr("::1", 128));
    }
    ranges
}

fn cidr(address: &str, length: u32) -> core::CidrRange {
    core::CidrRange { address_prefix: address.to_owned(), prefix_len: Some(UInt32Value { value: length }) }
}

/// A connection manager with these routes, whose last filter hands requests to them.
pub(crate) fn manager(
    stat_name: &str,
    internal: Vec<core::CidrRange>,
    routes: route::RouteConfiguration,
    filters: Vec<http::HttpFilter>,
) -> http::HttpConnectionManager {
    let mut http_filters = filters;
    http_filters.push(router());
    http::HttpConnectionManager {
        stat_prefix: sanitize_stat_prefix(stat_name),
        internal_address_config: Some(InternalAddressConfig { cidr_ranges: internal, ..Default::default() }),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters,
        ..Default::default()
    }
}

/// A route table of one virtual host that takes all domains. Clusters are not checked to exist when it arrives.
pub(crate) fn route_table(name: String, host: String, routes: Vec<route::Route>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name,
        virtual_hosts: vec![route::VirtualHost {
            name: host,
            domains: vec!["*".to_owned()],
            routes,
            ..Default::default()
        }],
        validate_clusters: flag(false),
        ..Default::default()
    }
}

/// Matches paths by prefix.
pub(crate) fn prefix(prefix: &str) -> Option<route::RouteMatch> {
    use route::route_match::PathSpecifier;
    Some(route::RouteMatch { path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())), ..Default::default() })
}

/// Sends requests to one cluster.
pub(crate) fn to_cluster(cluster: &str) -> route::RouteAction {
    use route::route_action::ClusterSpecifier;
    route::RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())), ..Default::default() }
}

/// The route that sends all requests to one cluster, without limit of time.
pub(crate) fn everything_to(name: &str, cluster: &str, rewrite_host: bool) -> route::Route {
    use route::route_action::HostRewriteSpecifier;
    let mut action = to_cluster(cluster);
    action.timeout = Some(duration(std::time::Duration::ZERO));
    action.host_rewrite_specifier =
        rewrite_host.then_some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true }));
    route::Route {
        name: name.to_owned(),
        r#match: prefix("/"),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ranges: Vec<core::CidrRange>) -> Vec<String> {
        let length = |range: &core::CidrRange| range.prefix_len.map_or(0, |length| length.value);
        ranges.iter().map(|range| format!("{}/{}", range.address_prefix, length(range))).collect()
    }

    #[test]
    fn internal_addresses_leave_out_what_the_host_does_not_have() {
        let ranges = ["10.0.0.0/8", "fc00::/7"];
        assert_eq!(texts(internal_addresses(ranges, true)), ranges);
        assert_eq!(texts(internal_addresses(ranges, false)), ["10.0.0.0/8"]);
    }

    #[test]
    fn without_usable_ranges_the_host_itself_is_internal() {
        assert_eq!(texts(internal_addresses(["10.0.0.0/80", "x"], true)), ["127.0.0.1/32", "::1/128"]);
        assert_eq!(texts(internal_addresses([], false)), ["127.0.0.1/32"]);
    }
}
