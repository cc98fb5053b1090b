//! Listeners and clusters for connections of the workload to services by tags, where TrafficRoutes say how these go on.
//!
//! Source: Kuma `pkg/xds/generator/outbound_proxy_generator.go`, `pkg/xds/envoy/virtualhosts/routes_configurer.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::Protocol;
use tandem_policy::OutboundPolicies;
use tandem_policy::access_log::AccessLog;
use tandem_policy::envoy::pb::core::{HeaderValue, HeaderValueOption};
use tandem_policy::envoy::pb::{BoolValue, core, http, route};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, Draft, ListenerDraft, NetworkFilter, Origin};
use tandem_policy::legacy::source_tags::TAGS_HEADER;
use tandem_policy::legacy::{Decoded, circuit_breaker, health_check, rate_limit, retry, timeout, traffic_route};
use tandem_policy::reporter::Reporter;
use tandem_policy::trace::{Direction, Tracing};
use tandem_proto::mesh::v1alpha1::{CircuitBreaker, HealthCheck, RateLimit, Retry, Timeout, TrafficRoute};

use super::http::{grpc_stats, manager, route_table};
use super::inbound::kafka_broker;
use super::names::{self, outbound_routes};
use super::outbound::{Destination, outbound_cluster};
use super::shape::{self, flag};
use super::shares::Shares;
use crate::cache::ByAddress;

/// A policy, compared by its address.
pub(crate) type ByPolicy<S> = Option<ByAddress<Decoded<S>>>;

/// Everything the listener of an outbound is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RoutedSource {
    /// Address on which the proxy listens for the workload.
    pub address: Arc<str>,
    /// Port on which it listens.
    pub port: u32,
    /// Tags of the outbound, published with the listener.
    pub tags: BTreeMap<String, String>,
    /// Its service.
    pub service: Arc<str>,
    /// What that service speaks: for policies selected by `targetRef`.
    pub service_protocol: Protocol,
    /// What all destinations speak.
    pub protocol: Protocol,
    /// How connections and requests go on, in order of precedence; none when no route is for the outbound.
    pub ways: Vec<Way>,
    /// The route.
    pub route: ByPolicy<TrafficRoute>,
    /// Timeouts.
    pub timeout: ByPolicy<Timeout>,
    /// Retries.
    pub retry: ByPolicy<Retry>,
    /// Limit of requests; `None` where it is up to a ZoneEgress.
    pub rate_limit: ByPolicy<RateLimit>,
    /// Tags of the proxy, told in each request.
    pub tags_header: Option<Arc<str>>,
    /// Where connections are logged.
    pub log: Option<AccessLog>,
    /// How requests are traced, and the service of the proxy.
    pub tracing: Option<(Arc<Tracing>, String)>,
    /// Traffic is redirected to the proxy.
    pub redirected: bool,
    /// The host has IPv6.
    pub ipv6: bool,
}

/// Where the requests that one rule of a route takes go, or connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// Index of the rule for requests; `None` for what no rule takes.
    pub rule: Option<usize>,
    /// Where they go; at least one cluster.
    pub shares: Shares,
}

/// Policies of the older generation for the cluster of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterRules {
    /// The route that leads there, which says how endpoints are chosen.
    pub route: ByAddress<Decoded<TrafficRoute>>,
    /// Timeouts.
    pub timeout: ByPolicy<Timeout>,
    /// Active checks of the endpoints.
    pub health_check: ByPolicy<HealthCheck>,
    /// Limits and outlier detection.
    pub circuit_breaker: ByPolicy<CircuitBreaker>,
}

/// Everything the cluster of a destination is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RoutedClusterKey {
    pub destination: Arc<Destination>,
    pub rules: ClusterRules,
    pub policies: ByAddress<OutboundPolicies>,
    /// What health checks tell of the proxy's tags.
    pub told: Option<Arc<str>>,
}

/// Everything the listener of an outbound is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RoutedListenerKey {
    pub source: RoutedSource,
    /// What logs and traces say of the proxy; `None` when there are none.
    pub reporter: Option<Arc<Reporter>>,
    pub policies: ByAddress<OutboundPolicies>,
}

/// Specification of a policy that may be absent.
fn spec<S>(policy: &ByPolicy<S>) -> Option<&S> {
    policy.as_ref().map(|policy| &policy.0.spec)
}

/// The header in which a proxy tells its tags.
pub(crate) fn tags_header(value: &str) -> HeaderValueOption {
    let header = HeaderValue { key: TAGS_HEADER.to_owned(), value: value.to_owned(), ..Default::default() };
    HeaderValueOption { header: Some(header), ..Default::default() }
}

/// The cluster of a destination in the mesh, or at a ZoneEgress, without the effects of policies selected by `targetRef`.
pub(crate) fn cluster(destination: &Destination, rules: &ClusterRules) -> Draft<ClusterDraft> {
    let mut draft = outbound_cluster(destination);
    set_cluster(destination, rules, &mut draft.value);
    draft
}

/// Applies policies of the older generation to the cluster of a destination.
pub(crate) fn set_cluster(destination: &Destination, rules: &ClusterRules, cluster: &mut ClusterDraft) {
    let ClusterRules { route, timeout, health_check, circuit_breaker } = rules;
    let protocol = destination.protocol;
    timeout::set_cluster(spec(timeout).and_then(|policy| policy.conf.as_ref()), protocol, cluster);
    if let Some(conf) = spec(circuit_breaker).and_then(|policy| policy.conf.as_ref()) {
        circuit_breaker::set_cluster(conf, cluster);
    }
    if let Some(conf) = spec(health_check).and_then(|policy| policy.conf.as_ref()) {
        health_check::set_cluster(conf, protocol, cluster);
    }
    if destination.is_in_mesh() {
        let balancer = route.0.spec.conf.as_ref().and_then(|conf| conf.load_balancer.as_ref());
        traffic_route::set_cluster(balancer, cluster);
    }
}

/// The listener of an outbound, without the effects of policies selected by `targetRef`.
pub(crate) fn listener(source: &RoutedSource, internal: &[core::CidrRange]) -> Draft<ListenerDraft> {
    let name = names::outbound_listener(&source.address, source.port);
    let mut listener = shape::outbound_listener(name, &source.address, source.port);
    if source.redirected {
        listener.message.bind_to_port = flag(false);
    }
    listener.tags = Some(source.tags.clone());
    listener.chains = vec![ChainDraft { filters: filters(source, internal), ..Default::default() }];
    let RoutedSource { protocol, service, .. } = source;
    if let Some(conf) = spec(&source.retry).and_then(|policy| policy.conf.as_ref()) {
        retry::set_listener(conf, *protocol, &mut listener);
    }
    timeout::set_listener(timeout_conf(source), *protocol, &mut listener);
    if let Some((tracing, own)) = &source.tracing {
        tracing.set(&mut listener, own, Direction::Outbound(service));
    }
    if let Some(log) = &source.log {
        log.add(&mut listener);
    }
    Draft::new(Origin::Outbound, listener).speaking(source.service_protocol).for_service(service.clone())
}

fn timeout_conf(source: &RoutedSource) -> Option<&tandem_proto::mesh::v1alpha1::timeout::Conf> {
    spec(&source.timeout)?.conf.as_ref()
}

fn filters(source: &RoutedSource, internal: &[core::CidrRange]) -> Vec<NetworkFilter> {
    match source.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
            vec![NetworkFilter::Http(Box::new(connection_manager(source, internal)))]
        }
        Protocol::Kafka => [kafka_broker(&source.service)].into_iter().chain(tcp_filter(source)).collect(),
        _ => tcp_filter(source).into_iter().collect(),
    }
}

/// Hands connections on; `None` when there is nowhere to go.
fn tcp_filter(source: &RoutedSource) -> Option<NetworkFilter> {
    let mut all = Shares::default();
    all.clusters.extend(source.ways.iter().flat_map(|way| way.shares.clusters.iter().cloned()));
    all.of_connections(&source.service).map(|proxy| NetworkFilter::Tcp(Box::new(proxy)))
}

fn connection_manager(source: &RoutedSource, internal: &[core::CidrRange]) -> http::HttpConnectionManager {
    let RoutedSource { service, rate_limit, .. } = source;
    let routes = source.ways.iter().map(|way| route_of(source, way)).collect();
    let mut table = route_table(outbound_routes(service), service.to_string(), routes);
    table.request_headers_to_add = source.tags_header.iter().map(|value| tags_header(value)).collect();
    let limit = rate_limit.as_ref().map(|_| rate_limit::filter());
    let stats = (source.protocol == Protocol::Grpc).then(grpc_stats);
    manager(service, internal.to_vec(), table, limit.into_iter().chain(stats).collect())
}

fn route_of(source: &RoutedSource, way: &Way) -> route::Route {
    use route::route_action::HostRewriteSpecifier;
    let conf = spec(&source.route).and_then(|route| route.conf.as_ref());
    let rule = way.rule.and_then(|rule| conf?.http.get(rule));
    let action = route::RouteAction {
        cluster_specifier: Some(way.shares.of_requests()),
        host_rewrite_specifier: way
            .shares
            .outside
            .then_some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true })),
        ..Default::default()
    };
    let mut route = route::Route {
        r#match: Some(traffic_route::matches(rule.and_then(|rule| rule.r#match.as_ref()))),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    timeout::set_route(timeout_conf(source), &mut route);
    if let Some(modify) = rule.and_then(|rule| rule.modify.as_ref()) {
        traffic_route::modify(modify, &mut route);
    }
    // Inside of the mesh the inbound of the destination limits.
    if let Some(policy) = source.rate_limit.as_ref().filter(|_| way.shares.outside) {
        rate_limit::set_route(&policy.0, &mut route);
    }
    route
}
