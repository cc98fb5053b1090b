//! Effects on outgoing traffic.

use prost::Message;
use serde_json::{Value, json};
use tandem_model::kind::Kind::{MeshCircuitBreaker, MeshRetry, MeshTimeout};
use tandem_model::protocol::Protocol;
use tandem_policy::envoy::pb::route::RetryPolicy;
use tandem_policy::{OwnTags, outbound_cluster, outbound_listener};

use crate::drafts::{ROUTE, action, backend, cluster, common_http, http, listener, manager, proxy, seconds, tcp};
use crate::for_one_inbound;

fn to(target: Value, conf: Value) -> Value {
    json!({"to": [{"targetRef": target, "default": conf}]})
}

fn mesh() -> Value {
    json!({"kind": "Mesh"})
}

/// The retries of the only route of an outbound with a MeshRetry.
fn retries(protocol: Protocol, conf: Value) -> Option<RetryPolicy> {
    let policies = for_one_inbound(&[(MeshRetry, "a", to(mesh(), conf))]);
    let mut draft = listener(protocol, vec![http(ROUTE)]).for_service("backend");
    outbound_listener(&policies.outbound, None, &mut draft);
    action(&mut draft).retry_policy.clone()
}

#[test]
fn without_policies_destinations_by_tags_stay_mostly_as_they_are() {
    let policies = for_one_inbound(&[]);
    let mut draft = listener(Protocol::Http, vec![http(ROUTE)]).for_service("backend");
    outbound_listener(&policies.outbound, None, &mut draft);
    assert_eq!(seconds(action(&mut draft).timeout), Some(0.0));
    assert_eq!(action(&mut draft).idle_timeout, None);
    assert_eq!(manager(&mut draft).request_headers_timeout, None);
    let common = manager(&mut draft).common_http_protocol_options.expect("options");
    assert_eq!(seconds(common.idle_timeout), Some(0.0));

    let mut draft = listener(Protocol::Tcp, vec![tcp()]).for_service("backend");
    outbound_listener(&policies.outbound, None, &mut draft);
    assert_eq!(proxy(&mut draft).idle_timeout, None);

    let mut draft = cluster(Protocol::Http).for_service("backend");
    outbound_cluster(&policies.outbound, &OwnTags::default(), &mut draft);
    assert_eq!(seconds(draft.value.message.connect_timeout), Some(5.0));
    assert_eq!(seconds(common_http(&draft).expect("options").idle_timeout), Some(3600.0));
    assert_eq!(draft.value.message.circuit_breakers, None);
}

#[test]
fn without_policies_destinations_that_are_resources_get_all_defaults() {
    let policies = for_one_inbound(&[]);
    let mut draft = listener(Protocol::Http, vec![http(ROUTE)]).serving(backend());
    outbound_listener(&policies.outbound, None, &mut draft);
    assert_eq!(seconds(action(&mut draft).timeout), Some(15.0));
    assert_eq!(seconds(action(&mut draft).idle_timeout), Some(1800.0));
    let mut draft = listener(Protocol::Tcp, vec![tcp()]).serving(backend());
    outbound_listener(&policies.outbound, None, &mut draft);
    assert_eq!(seconds(proxy(&mut draft).idle_timeout), Some(3600.0));
}

#[test]
fn the_mesh_stands_in_for_destinations_without_an_entry() {
    let policies = for_one_inbound(&[(MeshTimeout, "a", to(mesh(), json!({"http": {"requestTimeout": "9s"}})))]);
    let mut by_tags = listener(Protocol::Http, vec![http(ROUTE)]).for_service("backend");
    outbound_listener(&policies.outbound, None, &mut by_tags);
    assert_eq!(seconds(action(&mut by_tags).timeout), Some(9.0));
    let mut resource = listener(Protocol::Http, vec![http(ROUTE)]).serving(backend());
    outbound_listener(&policies.outbound, None, &mut resource);
    assert_eq!(seconds(action(&mut resource).timeout), Some(9.0));
}

#[test]
fn the_more_specific_destination_wins() {
    let service = json!({"kind": "MeshService", "name": "backend"});
    let policies = for_one_inbound(&[
        (MeshTimeout, "z", to(mesh(), json!({"connectionTimeout": "1s", "idleTimeout": "2s"}))),
        (MeshTimeout, "b", to(service.clone(), json!({"connectionTimeout": "3s"}))),
        (MeshCircuitBreaker, "c", to(service, json!({"connectionLimits": {"maxConnections": 7}}))),
    ]);
    for draft in [cluster(Protocol::Http).for_service("backend"), cluster(Protocol::Http).serving(backend())] {
        let mut draft = draft;
        outbound_cluster(&policies.outbound, &OwnTags::default(), &mut draft);
        assert_eq!(seconds(draft.value.message.connect_timeout), Some(3.0));
        assert_eq!(seconds(common_http(&draft).expect("options").idle_timeout), Some(2.0));
        assert!(draft.value.message.circuit_breakers.is_some());
    }
    let mut other = cluster(Protocol::Http).for_service("other");
    outbound_cluster(&policies.outbound, &OwnTags::default(), &mut other);
    assert_eq!(seconds(other.value.message.connect_timeout), Some(1.0));
    assert_eq!(other.value.message.circuit_breakers, None);
}

/// For destinations by tags the order of the policies decides, however specific their entries are.
#[test]
fn kinds_of_destinations_rank_for_resources_only() {
    let service = json!({"kind": "MeshService", "name": "backend"});
    let policies = for_one_inbound(&[
        (MeshTimeout, "a", to(mesh(), json!({"connectionTimeout": "1s"}))),
        (MeshTimeout, "b", to(service, json!({"connectionTimeout": "3s"}))),
    ]);
    let timeout = |mut draft| {
        outbound_cluster(&policies.outbound, &OwnTags::default(), &mut draft);
        seconds(draft.value.message.connect_timeout)
    };
    assert_eq!(timeout(cluster(Protocol::Http).for_service("backend")), Some(1.0));
    assert_eq!(timeout(cluster(Protocol::Http).serving(backend())), Some(3.0));
}

#[test]
fn retries_by_protocol() {
    let conf = json!({
        "http": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}},
        "grpc": {"retryOn": ["Canceled", "Unavailable"], "backOff": {"maxInterval": "1s"}},
        "tcp": {"maxConnectAttempt": 4}
    });
    let policy = retries(Protocol::Http, conf.clone()).expect("retries");
    assert_eq!(policy.retry_on, "gateway-error,connect-failure,refused-stream");
    assert_eq!(policy.num_retries.map(|number| number.value), Some(5));
    assert_eq!(seconds(policy.per_try_timeout), Some(16.0));
    let back_off = policy.retry_back_off.expect("a back-off");
    assert_eq!([back_off.base_interval, back_off.max_interval].map(seconds), [Some(0.025), Some(0.25)]);

    let policy = retries(Protocol::Grpc, conf.clone()).expect("retries");
    assert_eq!(policy.retry_on, "canceled,unavailable");
    assert_eq!(seconds(policy.retry_back_off.and_then(|back_off| back_off.base_interval)), Some(0.025));

    assert_eq!(retries(Protocol::Http2, conf.clone()), None);
    assert_eq!(retries(Protocol::Http, json!({"http": {"numRetries": 0, "retryOn": ["5xx"]}})), None);

    let policies = for_one_inbound(&[(MeshRetry, "a", to(mesh(), conf))]);
    let mut draft = listener(Protocol::Tcp, vec![tcp()]).serving(backend());
    outbound_listener(&policies.outbound, None, &mut draft);
    assert_eq!(proxy(&mut draft).max_connect_attempts.map(|number| number.value), Some(4));
}

#[test]
fn retry_conditions_hosts_and_headers() {
    let policy = retries(
        Protocol::Http,
        json!({"http": {
            "retryOn": ["5xx", "503", "HttpMethodGet", "429"],
            "retriableRequestHeaders": [{"type": "Absent", "name": "x"}],
            "retriableResponseHeaders": [{"type": "Prefix", "name": "y", "value": ""}],
            "rateLimitedBackOff": {"resetHeaders": [{"name": "retry-after", "format": "Seconds"}]},
            "hostSelection": [
                {"predicate": "OmitPreviousHosts"},
                {"predicate": "OmitHostsWithTags", "tags": {"a": "1", "b": "2"}},
                {"predicate": "OmitPreviousPriorities", "updateFrequency": 3}
            ],
            "hostSelectionMaxAttempts": 2
        }}),
    )
    .expect("retries");
    assert_eq!(policy.retry_on, "5xx,retriable-status-codes");
    assert_eq!(policy.retriable_status_codes, [503, 429]);
    let names: Vec<&str> = policy.retriable_request_headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, [":method", "x"]);
    assert_eq!(policy.retriable_headers.len(), 1);
    assert_eq!(policy.host_selection_retry_max_attempts, 2);
    assert_eq!(policy.rate_limited_retry_back_off.map(|back_off| back_off.reset_headers.len()), Some(1));
    assert!(policy.retry_priority.is_some());
    let hosts: Vec<&str> = policy.retry_host_predicate.iter().map(|predicate| predicate.name.as_str()).collect();
    assert_eq!(hosts, ["envoy.retry_host_predicates.previous_hosts", "envoy.retry_host_predicates.omit_host_metadata"]);
    use envoy_types::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
    use tandem_policy::envoy::pb::route::retry_policy::retry_host_predicate::ConfigType;
    let Some(ConfigType::TypedConfig(config)) = &policy.retry_host_predicate[1].config_type else { panic!("typed") };
    let config = OmitHostMetadataConfig::decode(config.value.as_slice()).expect("a predicate");
    assert_eq!(config.metadata_match.expect("metadata").filter_metadata["envoy.lb"].fields.len(), 2);
}

#[test]
fn policies_about_a_route_reach_only_that_route() {
    let route = json!({"to": [{"targetRef": {"kind": "MeshService", "name": "backend"}, "rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "default": {}}]}]});
    let policy = json!({
        "targetRef": {"kind": "MeshHTTPRoute", "name": "r"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"requestTimeout": "4s"}}}]
    });
    let policies = for_one_inbound(&[
        (tandem_model::kind::Kind::MeshHTTPRoute, "r", route),
        (MeshTimeout, "a", policy),
        (MeshTimeout, "b", to(mesh(), json!({"http": {"requestTimeout": "2s"}}))),
    ]);
    let timeout = |route: &str| {
        let mut draft = listener(Protocol::Http, vec![http(route)]).for_service("backend");
        outbound_listener(&policies.outbound, None, &mut draft);
        seconds(action(&mut draft).timeout)
    };
    assert_eq!(timeout("bzv64o+joRk33jfDADgGv5ar4QyONO0NEVKnoBfJW/E="), Some(4.0));
    assert_eq!(timeout("9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo="), Some(2.0));
}
