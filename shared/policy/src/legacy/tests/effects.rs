//! What policies do to Envoy.

use std::sync::Arc;

use prost::{Message, Name};
use serde_json::{Value, json};
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, FaultInjection, HealthCheck, RateLimit, Retry, Timeout, TrafficPermission,
};

use super::{between, service, stored};
use crate::Protocol;
use crate::envoy::names::ROUTER;
use crate::envoy::pb::core::health_check::HealthChecker;
use crate::envoy::pb::http::http_connection_manager::RouteSpecifier;
use crate::envoy::pb::http::{HttpConnectionManager, HttpFilter};
use crate::envoy::pb::route::{Route, RouteAction, RouteConfiguration, VirtualHost, route::Action};
use crate::envoy::pb::{Duration, UInt32Value};
use crate::envoy::{ChainDraft, ClusterDraft, DownstreamTransport, ListenerDraft, NetworkFilter};
use crate::legacy::{
    Decoded, InboundPolicies, circuit_breaker, health_check, inbound_chain, retry, source_tags, timeout,
};

fn policy<S: Message + Name + Default>(kind: &str, source: &str, members: Value) -> Arc<Decoded<S>> {
    let mut value = between(service(source), service("web"));
    value["type"] = json!(kind);
    value["mesh"] = json!("m");
    value["name"] = json!("p");
    for (name, member) in members.as_object().into_iter().flatten() {
        value[name] = member.clone();
    }
    Arc::new(Decoded::decode(stored(value, 1)).expect("a valid policy"))
}

fn conf<S: Message + Name + Default>(kind: &str, conf: Value) -> Arc<Decoded<S>> {
    policy(kind, "*", json!({"conf": conf}))
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A connection manager with one route and a filter at the end.
fn manager() -> HttpConnectionManager {
    let route = Route { action: Some(Action::Route(RouteAction::default())), ..Route::default() };
    let host = VirtualHost { routes: vec![route], ..VirtualHost::default() };
    let table = RouteConfiguration { virtual_hosts: vec![host], ..RouteConfiguration::default() };
    HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(table)),
        http_filters: vec![HttpFilter { name: ROUTER.to_owned(), ..HttpFilter::default() }],
        ..HttpConnectionManager::default()
    }
}

fn listener(filter: NetworkFilter) -> ListenerDraft {
    let chain = ChainDraft { filters: vec![filter], ..ChainDraft::default() };
    ListenerDraft { chains: vec![chain], ..ListenerDraft::default() }
}

fn hosts(listener: &mut ListenerDraft) -> Vec<VirtualHost> {
    let manager = listener.http_mut().next().expect("it takes requests");
    let Some(RouteSpecifier::RouteConfig(table)) = &manager.route_specifier else { panic!("routes are in place") };
    table.virtual_hosts.clone()
}

#[test]
fn timeouts_are_those_of_the_policy_and_otherwise_none() {
    let policy = conf::<Timeout>(
        "Timeout",
        json!({
            "connectTimeout": "100s", "tcp": {"idleTimeout": "101s"},
            "http": {"requestTimeout": "102s", "idleTimeout": "103s"},
            "grpc": {"streamIdleTimeout": "104s", "maxStreamDuration": "105s"},
        }),
    );
    let conf = policy.spec.conf.as_ref();
    let cluster = |conf, protocol| {
        let mut cluster = ClusterDraft::default();
        timeout::set_cluster(conf, protocol, &mut cluster);
        let options = cluster.http.and_then(|http| http.common_http_protocol_options);
        let options = options.map(|options| (options.idle_timeout, options.max_stream_duration));
        (cluster.message.connect_timeout, options)
    };
    assert_eq!(cluster(conf, Protocol::Grpc), (seconds(100), Some((seconds(103), seconds(105)))));
    assert_eq!(cluster(conf, Protocol::Http), (seconds(100), Some((seconds(103), None))));
    assert_eq!(cluster(conf, Protocol::Tcp), (seconds(100), None));
    assert_eq!(cluster(None, Protocol::Http), (seconds(5), Some((seconds(0), None))));

    let mut http = listener(NetworkFilter::Http(Box::new(manager())));
    timeout::set_listener(conf, Protocol::Grpc, &mut http);
    let manager = http.http_mut().next().expect("it takes requests");
    assert_eq!(manager.stream_idle_timeout, seconds(104));
    assert_eq!(manager.common_http_protocol_options.as_ref().and_then(|options| options.idle_timeout), seconds(103));
    let mut tcp = listener(NetworkFilter::Tcp(Box::default()));
    timeout::set_listener(conf, Protocol::Kafka, &mut tcp);
    assert_eq!(tcp.tcp_mut().next().and_then(|proxy| proxy.idle_timeout), seconds(101));
    timeout::set_listener(None, Protocol::Tcp, &mut tcp);
    assert_eq!(tcp.tcp_mut().next().and_then(|proxy| proxy.idle_timeout), seconds(0));
}

#[test]
fn requests_are_retried_by_virtual_host_and_connections_by_proxy() {
    let policy = conf::<Retry>(
        "Retry",
        json!({
            "http": {
                "numRetries": 3, "perTryTimeout": "1s", "retriableStatusCodes": [500],
                "retriableMethods": ["GET", "POST"], "retryOn": ["all_5xx", "connect_failure"],
            },
            "grpc": {"numRetries": 2, "backOff": {"baseInterval": "1s", "maxInterval": "2s"}},
            "tcp": {"maxConnectAttempts": 4},
        }),
    );
    let conf = policy.spec.conf.as_ref().expect("given above");
    let retries = |protocol| {
        let mut listener = listener(NetworkFilter::Http(Box::new(manager())));
        retry::set_listener(conf, protocol, &mut listener);
        hosts(&mut listener).remove(0).retry_policy
    };
    let http = retries(Protocol::Http).expect("retried");
    assert_eq!((http.num_retries, http.per_try_timeout), (number(3), seconds(1)));
    assert_eq!(http.retry_on, "5xx,connect-failure,retriable-status-codes");
    assert_eq!((http.retriable_status_codes, http.retriable_request_headers.len()), (vec![500], 2));
    let grpc = retries(Protocol::Grpc).expect("retried");
    assert!(grpc.retry_on.contains("resource-exhausted"), "{}", grpc.retry_on);
    assert_eq!(grpc.retry_back_off.and_then(|back_off| back_off.max_interval), seconds(2));
    assert_eq!(retries(Protocol::Http2), None);
    let mut tcp = listener(NetworkFilter::Tcp(Box::default()));
    retry::set_listener(conf, Protocol::Tcp, &mut tcp);
    assert_eq!(tcp.tcp_mut().next().and_then(|proxy| proxy.max_connect_attempts), number(4));
}

#[test]
fn a_breaker_ejects_only_by_the_detectors_it_has() {
    let policy = conf::<CircuitBreaker>(
        "CircuitBreaker",
        json!({
            "interval": "1s", "baseEjectionTime": "30s", "maxEjectionPercent": 20, "splitExternalAndLocalErrors": true,
            "detectors": {"totalErrors": {"consecutive": 20}, "standardDeviation": {"requestVolume": 10, "factor": 1.9}},
            "thresholds": {"maxConnections": 2, "maxRequests": 3},
        }),
    );
    let mut cluster = ClusterDraft::default();
    circuit_breaker::set_cluster(policy.spec.conf.as_ref().expect("given above"), &mut cluster);
    let detection = cluster.message.outlier_detection.expect("set");
    assert_eq!((detection.consecutive_5xx, detection.enforcing_consecutive_5xx), (number(20), number(100)));
    assert_eq!(detection.enforcing_consecutive_gateway_failure, number(0));
    assert_eq!((detection.success_rate_stdev_factor, detection.enforcing_success_rate), (number(1900), number(100)));
    assert_eq!(detection.enforcing_failure_percentage, number(0));
    let limits = &cluster.message.circuit_breakers.expect("set").thresholds[0];
    assert_eq!((limits.max_connections, limits.max_requests, limits.max_retries), (number(2), number(3), None));
}

#[test]
fn endpoints_are_checked_in_every_way_the_policy_has() {
    let checkers = |members: Value| {
        let mut conf = json!({"interval": "10s", "timeout": "2s", "unhealthyThreshold": 3, "healthyThreshold": 1});
        for (name, member) in members.as_object().into_iter().flatten() {
            conf[name] = member.clone();
        }
        let policy = self::conf::<HealthCheck>("HealthCheck", conf);
        let mut cluster = ClusterDraft::default();
        let conf = policy.spec.conf.as_ref().expect("given above");
        health_check::set_cluster(conf, Protocol::Http2, &mut cluster);
        let checks = cluster.message.health_checks.iter().map(|check| check.health_checker.clone().expect("set"));
        (checks.collect::<Vec<_>>(), cluster.message.common_lb_config.is_some())
    };
    let (connects, _) = checkers(json!({}));
    assert!(matches!(connects.as_slice(), [HealthChecker::TcpHealthCheck(check)] if check.send.is_none()));
    let http = json!({"path": "/health", "expectedStatuses": [200, 201]});
    let (both, in_panic) = checkers(json!({"tcp": {"send": "Zm9v"}, "http": http, "failTrafficOnPanic": true}));
    let [HealthChecker::TcpHealthCheck(tcp), HealthChecker::HttpHealthCheck(http)] = both.as_slice() else {
        panic!("{both:?}")
    };
    assert!(tcp.send.is_some() && in_panic);
    let range = &http.expected_statuses[1];
    assert_eq!((http.path.as_str(), range.start, range.end), ("/health", 201, 202));
}

#[test]
fn an_inbound_has_its_filters_before_the_last_and_routes_for_callers_before_the_one_for_all() {
    let limit = |source: &str, requests: u32| {
        let conf = json!({"http": {"requests": requests, "interval": "10s"}});
        policy::<RateLimit>("RateLimit", source, json!({"conf": conf}))
    };
    let abort = json!({"abort": {"percentage": 50, "httpStatus": 418}});
    let policies = InboundPolicies {
        traffic_permission: Some(policy::<TrafficPermission>("TrafficPermission", "front", json!({}))),
        fault_injections: vec![policy::<FaultInjection>("FaultInjection", "front", json!({"conf": abort}))],
        rate_limits: vec![limit("front", 1), limit("*", 2)],
    };
    let mut listener = listener(NetworkFilter::Http(Box::new(manager())));
    inbound_chain(&policies, "inbound:10.0.0.1:80", &mut listener.chains[0]);
    assert_eq!(listener.chains[0].filters.len(), 1, "plain text tells nobody's identity");
    let names: Vec<_> = listener.http_mut().flat_map(|manager| &manager.http_filters).map(|f| f.name.clone()).collect();
    assert_eq!(names, ["envoy.filters.http.fault", "envoy.filters.http.local_ratelimit", ROUTER]);
    let routes = hosts(&mut listener).remove(0).routes;
    let callers = |route: &Route| route.r#match.as_ref().map_or(0, |of| of.headers.len());
    let summary: Vec<_> = routes.iter().map(|route| (callers(route), route.typed_per_filter_config.len())).collect();
    assert_eq!(summary, [(1, 1), (1, 1), (0, 0)]);
    assert_eq!(routes[0].r#match.as_ref().expect("set").headers[0].name, source_tags::TAGS_HEADER);

    let mut secured = ChainDraft {
        filters: vec![NetworkFilter::Tcp(Box::default())],
        transport: Some(DownstreamTransport::Tls(Box::default())),
        ..ChainDraft::default()
    };
    inbound_chain(&policies, "inbound:10.0.0.1:80", &mut secured);
    inbound_chain(&InboundPolicies::default(), "inbound:10.0.0.1:80", &mut secured);
    let [NetworkFilter::Rbac(rbac), NetworkFilter::Tcp(_)] = secured.filters.as_slice() else { panic!("{secured:?}") };
    assert_eq!(rbac.stat_prefix, "inbound_10_0_0_1_80.");
    assert!(rbac.rules.as_ref().is_some_and(|rules| rules.policies.is_empty()), "without a permission nobody connects");
}
