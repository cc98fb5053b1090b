//! Effects on incoming traffic.

use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use prost::Message;
use serde_json::{Value, json};
use tandem_model::kind::Kind::{MeshCircuitBreaker, MeshTimeout, MeshTrafficPermission};
use tandem_model::protocol::Protocol;
use tandem_policy::envoy::pb::http::http_filter::ConfigType;
use tandem_policy::envoy::{Draft, ListenerDraft, NetworkFilter, names};
use tandem_policy::{InboundFacts, inbound_cluster, inbound_listener};

use crate::drafts::{ROUTE, action, cluster, common_http, http, listener, manager, proxy, seconds, secured, tcp};
use crate::for_one_inbound;

const PLAIN: InboundFacts = InboundFacts {
    has_identity: false,
    has_traffic_permission: false,
    has_fault_injection: false,
    has_rate_limit: false,
};
const SECURE: InboundFacts = InboundFacts { has_identity: true, ..PLAIN };

fn from(conf: Value) -> Value {
    json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": conf}]})
}

fn http_rbac(draft: &mut Draft<ListenerDraft>) -> HttpRbac {
    let filter = &manager(draft).http_filters[0];
    assert_eq!(filter.name, names::HTTP_RBAC);
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { panic!("a typed configuration") };
    assert_eq!(config.type_url, "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC");
    HttpRbac::decode(config.value.as_slice()).expect("an RBAC filter")
}

#[test]
fn without_policies_every_default_timeout_is_written() {
    let policies = for_one_inbound(&[]);
    let mut draft = listener(Protocol::Http, vec![http(ROUTE)]);
    inbound_listener(policies.inbound(0), PLAIN, None, &mut draft);
    assert_eq!(seconds(action(&mut draft).timeout), Some(15.0));
    assert_eq!(seconds(action(&mut draft).idle_timeout), Some(1800.0));
    let manager = manager(&mut draft);
    assert_eq!(seconds(manager.request_headers_timeout), Some(0.0));
    let common = manager.common_http_protocol_options.as_ref().expect("options");
    assert_eq!(seconds(common.idle_timeout), Some(0.0));
    assert!(manager.http_filters.is_empty(), "no permission without identity");

    let mut draft = listener(Protocol::Tcp, vec![tcp()]);
    inbound_listener(policies.inbound(0), PLAIN, None, &mut draft);
    assert_eq!(seconds(proxy(&mut draft).idle_timeout), Some(3600.0));

    let mut draft = cluster(Protocol::Http);
    inbound_cluster(policies.inbound(0), Protocol::Http, &mut draft);
    assert_eq!(seconds(draft.value.message.connect_timeout), Some(5.0));
    let common = common_http(&draft).expect("options");
    assert_eq!(
        [common.idle_timeout, common.max_stream_duration, common.max_connection_duration].map(seconds),
        [Some(3600.0), Some(0.0), Some(0.0)]
    );
    assert_eq!(draft.value.message.circuit_breakers, None);

    let mut draft = cluster(Protocol::Grpc);
    inbound_cluster(policies.inbound(0), Protocol::Grpc, &mut draft);
    assert_eq!(draft.value.http, None, "gRPC clusters keep their options");
}

#[test]
fn timeouts_of_several_policies_merge() {
    let policies = for_one_inbound(&[
        (MeshTimeout, "b", from(json!({"connectionTimeout": "7s", "http": {"requestTimeout": "2s"}}))),
        (
            MeshTimeout,
            "a",
            json!({"rules": [{"default": {"http": {"requestTimeout": "3s", "streamIdleTimeout": "4s"}}}]}),
        ),
    ]);
    let mut draft = listener(Protocol::Http2, vec![http(ROUTE)]);
    inbound_listener(policies.inbound(0), PLAIN, None, &mut draft);
    assert_eq!(seconds(action(&mut draft).timeout), Some(3.0));
    assert_eq!(seconds(action(&mut draft).idle_timeout), Some(4.0));
    let mut draft = cluster(Protocol::Http2);
    inbound_cluster(policies.inbound(0), Protocol::Http2, &mut draft);
    assert_eq!(seconds(draft.value.message.connect_timeout), Some(7.0));
}

#[test]
fn limits_and_outlier_detection() {
    let detection = json!({
        "interval": "5s",
        "healthyPanicThreshold": "62.9",
        "detectors": {"totalFailures": {"consecutive": 10}, "successRate": {"standardDeviationFactor": "1.9"}}
    });
    let conf = json!({"connectionLimits": {"maxConnections": 2, "maxRetries": 3}, "outlierDetection": detection});
    let policies = for_one_inbound(&[(MeshCircuitBreaker, "a", json!({"rules": [{"default": conf}]}))]);
    let mut draft = cluster(Protocol::Tcp);
    inbound_cluster(policies.inbound(0), Protocol::Tcp, &mut draft);
    let message = &draft.value.message;
    let limits = &message.circuit_breakers.as_ref().expect("limits").thresholds;
    assert_eq!(limits.len(), 1);
    assert!(limits[0].track_remaining);
    let value = |value: Option<tandem_policy::envoy::pb::UInt32Value>| value.map(|value| value.value);
    assert_eq!((value(limits[0].max_connections), value(limits[0].max_requests)), (Some(2), None));
    let detection = message.outlier_detection.as_ref().expect("outlier detection");
    assert_eq!(seconds(detection.interval), Some(5.0));
    assert_eq!(value(detection.enforcing_consecutive_5xx), Some(100));
    assert_eq!(value(detection.consecutive_5xx), Some(10));
    assert_eq!(value(detection.enforcing_consecutive_gateway_failure), Some(0));
    assert_eq!(value(detection.enforcing_success_rate), Some(100));
    assert_eq!(value(detection.success_rate_stdev_factor), Some(1900));
    assert_eq!(value(detection.enforcing_failure_percentage), Some(0));
    let common = message.common_lb_config.as_ref().expect("a panic threshold");
    assert_eq!(common.healthy_panic_threshold.map(|percent| percent.value), Some(62.9));
}

#[test]
fn nobody_may_use_an_inbound_unless_a_policy_says_so() {
    let policies = for_one_inbound(&[]);
    let mut draft = secured(listener(Protocol::Http, vec![http(ROUTE)]));
    inbound_listener(policies.inbound(0), SECURE, None, &mut draft);
    let rbac = http_rbac(&mut draft);
    assert!(rbac.rules.expect("rules").policies.is_empty());

    let mut draft = secured(listener(Protocol::Http, vec![http(ROUTE)]));
    let older = InboundFacts { has_traffic_permission: true, ..SECURE };
    inbound_listener(policies.inbound(0), older, None, &mut draft);
    assert!(manager(&mut draft).http_filters.is_empty(), "an older permission stays");

    let mut draft = listener(Protocol::Http, vec![http(ROUTE)]);
    inbound_listener(policies.inbound(0), SECURE, None, &mut draft);
    assert!(manager(&mut draft).http_filters.is_empty(), "plain text chains stay open");
}

#[test]
fn permission_replaces_what_older_policies_left() {
    let policies = for_one_inbound(&[(MeshTrafficPermission, "a", from(json!({"action": "Allow"})))]);
    let older = NetworkFilter::rbac("older.".to_owned(), Default::default());
    let mut draft = secured(listener(Protocol::Tcp, vec![older, tcp()]));
    inbound_listener(policies.inbound(0), SECURE, None, &mut draft);
    let filters = &draft.value.chains[0].filters;
    assert_eq!(filters.iter().map(NetworkFilter::name).collect::<Vec<_>>(), [names::NETWORK_RBAC, names::TCP_PROXY]);
    let NetworkFilter::Rbac(rbac) = &filters[0] else { panic!("an RBAC filter") };
    assert_eq!(rbac.stat_prefix, "inbound_10_0_0_1_8080.");
    let rules = rbac.rules.as_ref().expect("rules");
    assert_eq!(rules.policies.keys().collect::<Vec<_>>(), ["MeshTrafficPermission"]);
    assert_eq!(rbac.shadow_rules, None);

    let older = NetworkFilter::rbac("older.".to_owned(), Default::default());
    let mut draft = secured(listener(Protocol::Http, vec![older, http(ROUTE)]));
    inbound_listener(policies.inbound(0), SECURE, None, &mut draft);
    let filters = &draft.value.chains[0].filters;
    assert_eq!(filters.iter().map(NetworkFilter::name).collect::<Vec<_>>(), [names::HTTP_CONNECTION_MANAGER]);
    assert_eq!(http_rbac(&mut draft).rules.expect("rules").policies.len(), 1);
}

#[test]
fn identities_are_matched_denials_first() {
    use envoy_types::pb::xds::r#type::matcher::v3::matcher::MatcherType;
    let id = |value: &str| json!({"spiffeID": {"type": "Prefix", "value": value}});
    let policies = for_one_inbound(&[
        (
            MeshTrafficPermission,
            "z",
            json!({"rules": [{"default": {"allow": [id("spiffe://td/ns"), id("spiffe://td/other")]}}]}),
        ),
        (
            MeshTrafficPermission,
            "a",
            json!({"rules": [{"default": {
                "deny": [id("spiffe://td/ns/bad")], "allowWithShadowDeny": [id("spiffe://td/soon")]}}]}),
        ),
        (MeshTrafficPermission, "ignored", from(json!({"action": "Allow"}))),
    ]);
    let mut draft = secured(listener(Protocol::Http, vec![http(ROUTE)]));
    inbound_listener(policies.inbound(0), SECURE, None, &mut draft);
    let rbac = http_rbac(&mut draft);
    assert_eq!(rbac.rules, None);
    let actions = |matcher: Option<envoy_types::pb::xds::r#type::matcher::v3::Matcher>| {
        let matcher = matcher.expect("a matcher");
        assert!(matcher.on_no_match.is_some());
        let Some(MatcherType::MatcherList(list)) = matcher.matcher_type else { panic!("a list") };
        let action = |on_match: envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch| {
            use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch;
            let Some(OnMatch::Action(action)) = on_match.on_match else { panic!("an action") };
            let config = action.typed_config.expect("a typed configuration");
            let action = envoy_types::pb::envoy::config::rbac::v3::Action::decode(config.value.as_slice());
            let action = action.expect("an RBAC action");
            format!("{} {}", action.name, action.action)
        };
        list.matchers.into_iter().map(|matcher| action(matcher.on_match.expect("an action"))).collect::<Vec<_>>()
    };
    // 0 allows, 1 denies.
    assert_eq!(actions(rbac.matcher), ["kri_mtp_default___a_ 1", "kri_mtp_default___z_ 0", "kri_mtp_default___a_ 0"]);
    assert_eq!(actions(rbac.shadow_matcher), ["kri_mtp_default___a_ 1"]);
}
