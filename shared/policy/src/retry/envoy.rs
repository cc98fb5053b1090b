//! What MeshRetry does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshretry/plugin/xds/configurer.go`.

use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::conditions::HttpRetryOn;
use super::schema::{BackOff, Conf, Grpc, GrpcRetryOn, Http, PredicateType, RateLimitedBackOff, ResetFormat};
use crate::Protocol;
use crate::envoy::matcher::{header, header_value, regex};
use crate::envoy::pb::route::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate, retry_priority,
};
use crate::envoy::pb::route::{HeaderMatcher, RetryPolicy, Route, route::Action};
use crate::envoy::pb::{self, Any, UInt32Value};
use crate::envoy::regex::check_regex;
use crate::envoy::{ListenerDraft, NetworkFilter, encode_metadata_field, inline_routes, names, pack};
use crate::schema::{GoDuration, HeaderMatch, HeaderMatchType};

pub(crate) const HTTP_RETRY_ON: &str = "gateway-error,connect-failure,refused-stream";
pub(crate) const GRPC_RETRY_ON: &str =
    "cancelled,connect-failure,gateway-error,refused-stream,reset,resource-exhausted,unavailable";
pub(crate) const STATUS_CODES: &str = "retriable-status-codes";
/// Time before the first retry where the back-off only has an upper limit. It is Envoy's own default, which has to be written then.
const BASE_INTERVAL: GoDuration = GoDuration::from_millis(25);
/// An expression of RE2 that no text is like.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

/// A configuration in the form in which Envoy takes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Retries {
    max_connect_attempts: Option<u32>,
    http: Option<RetryPolicy>,
    grpc: Option<RetryPolicy>,
}

impl Retries {
    /// Translates a configuration.
    pub(crate) fn new(conf: &Conf) -> Self {
        Self {
            max_connect_attempts: conf.tcp.as_ref().and_then(|tcp| tcp.max_connect_attempt),
            http: conf.http.as_ref().and_then(http_policy),
            grpc: conf.grpc.as_ref().and_then(grpc_policy),
        }
    }

    /// How requests of a protocol are retried; `None` for not at all. HTTP/2 that is not gRPC is not retried, as in Kuma.
    fn policy(&self, protocol: Protocol) -> Option<&RetryPolicy> {
        match protocol {
            Protocol::Http => self.http.as_ref(),
            Protocol::Grpc => self.grpc.as_ref(),
            _ => None,
        }
    }

    /// Sets the retries of one route, if it forwards and if its requests are retried.
    pub(crate) fn set_route(&self, protocol: Protocol, route: &mut Route) {
        if let (Some(policy), Some(Action::Route(action))) = (self.policy(protocol), route.action.as_mut()) {
            action.retry_policy = Some(policy.clone());
        }
    }
}

/// Sets the retries of a listener. `retries_of_route` finds what holds for the route with a name; where that has none
/// for the protocol, what holds for the listener stays.
pub(crate) fn listener<'a>(
    retries: Option<&Retries>,
    protocol: Protocol,
    listener: &mut ListenerDraft,
    retries_of_route: impl Fn(&str) -> Option<&'a Retries>,
) {
    let Some(chain) = listener.chains.first_mut() else { return };
    for filter in &mut chain.filters {
        match filter {
            NetworkFilter::Tcp(proxy) if protocol == Protocol::Tcp => {
                if let Some(attempts) = retries.and_then(|retries| retries.max_connect_attempts) {
                    proxy.max_connect_attempts = Some(UInt32Value { value: attempts });
                }
            }
            NetworkFilter::Http(manager) => {
                for route in inline_routes(manager) {
                    if let Some(retries) = retries {
                        retries.set_route(protocol, route);
                    }
                    if let Some(retries) = retries_of_route(&route.name) {
                        retries.set_route(protocol, route);
                    }
                }
            }
            _ => {}
        }
    }
}

fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

fn http_policy(conf: &Http) -> Option<RetryPolicy> {
    if conf.num_retries == Some(0) {
        return None;
    }
    let mut conditions = Vec::new();
    let mut policy = RetryPolicy {
        num_retries: conf.num_retries.map(number),
        per_try_timeout: per_try(conf.per_try_timeout),
        retry_back_off: conf.back_off.as_ref().map(translate_back_off),
        rate_limited_retry_back_off: conf.rate_limited_back_off.as_ref().and_then(rate_limited),
        host_selection_retry_max_attempts: conf.host_selection_max_attempts.unwrap_or_default(),
        ..RetryPolicy::default()
    };
    for item in conf.retry_on.iter().flatten() {
        match HttpRetryOn::parse(item) {
            Some(HttpRetryOn::Condition(condition)) => conditions.push(condition),
            Some(HttpRetryOn::Status(code)) => policy.retriable_status_codes.push(code),
            Some(HttpRetryOn::Method(method)) => {
                policy.retriable_request_headers.push(header_value(":method", MatchPattern::Exact(method.to_owned())));
            }
            None => {}
        }
    }
    policy.retry_on = if conditions.is_empty() { HTTP_RETRY_ON.to_owned() } else { conditions.join(",") };
    if !policy.retriable_status_codes.is_empty() && !conditions.contains(&STATUS_CODES) {
        policy.retry_on.push(',');
        policy.retry_on.push_str(STATUS_CODES);
    }
    policy.retriable_request_headers.extend(conf.retriable_request_headers.iter().flatten().map(retriable));
    policy.retriable_headers = conf.retriable_response_headers.iter().flatten().map(retriable).collect();
    select_hosts(conf, &mut policy);
    Some(policy)
}

fn grpc_policy(conf: &Grpc) -> Option<RetryPolicy> {
    if conf.num_retries == Some(0) {
        return None;
    }
    let conditions: Vec<&str> = conf.retry_on.iter().flatten().map(|status| grpc_condition(*status)).collect();
    Some(RetryPolicy {
        retry_on: if conditions.is_empty() { GRPC_RETRY_ON.to_owned() } else { conditions.join(",") },
        num_retries: conf.num_retries.map(number),
        per_try_timeout: per_try(conf.per_try_timeout),
        retry_back_off: conf.back_off.as_ref().map(translate_back_off),
        rate_limited_retry_back_off: conf.rate_limited_back_off.as_ref().and_then(rate_limited),
        ..RetryPolicy::default()
    })
}

/// Kuma writes `canceled` here, which Envoy does not know; the spelling is kept for equal output.
fn grpc_condition(status: GrpcRetryOn) -> &'static str {
    match status {
        GrpcRetryOn::Canceled => "canceled",
        GrpcRetryOn::DeadlineExceeded => "deadline-exceeded",
        GrpcRetryOn::Internal => "internal",
        GrpcRetryOn::ResourceExhausted => "resource-exhausted",
        GrpcRetryOn::Unavailable => "unavailable",
    }
}

/// Envoy refuses a whole listener for a negative time.
fn per_try(timeout: Option<GoDuration>) -> Option<pb::Duration> {
    timeout.filter(|timeout| timeout.0 >= 0).map(GoDuration::to_proto)
}

/// Envoy refuses a whole listener when there is no base interval, and when the limit is below it; times that are none are left to
/// Envoy's defaults.
fn translate_back_off(back_off: &BackOff) -> RetryBackOff {
    let positive = |interval: Option<GoDuration>| interval.filter(|interval| interval.0 > 0);
    let (base, max) = (positive(back_off.base_interval), positive(back_off.max_interval));
    let (base, max) = match (base, max) {
        (Some(base), max) => (base, max.map(|max| max.max(base))),
        (None, Some(max)) => (BASE_INTERVAL.min(max), Some(max)),
        (None, None) => (BASE_INTERVAL, None),
    };
    RetryBackOff { base_interval: Some(base.to_proto()), max_interval: max.map(GoDuration::to_proto) }
}

/// `None` when no header is listed: Envoy refuses a whole listener for that.
fn rate_limited(back_off: &RateLimitedBackOff) -> Option<RateLimitedRetryBackOff> {
    let header = |header: &super::schema::ResetHeader| ResetHeader {
        name: header.name.clone(),
        format: match header.format {
            ResetFormat::Seconds => ResetHeaderFormat::Seconds,
            ResetFormat::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
        }
        .into(),
    };
    let reset_headers: Vec<_> = back_off.reset_headers.iter().flatten().map(header).collect();
    let max_interval = back_off.max_interval.filter(|interval| interval.0 > 0).map(GoDuration::to_proto);
    (!reset_headers.is_empty()).then_some(RateLimitedRetryBackOff { reset_headers, max_interval })
}

/// A condition on a header. An expression that is none matches nothing; Envoy would refuse the whole listener.
fn retriable(condition: &HeaderMatch) -> HeaderMatcher {
    let is_expression = condition.kind == HeaderMatchType::RegularExpression;
    if is_expression && check_regex(&condition.value).is_err() {
        return header_value(&condition.name, MatchPattern::SafeRegex(regex(NOTHING)));
    }
    header(condition)
}

fn select_hosts(conf: &Http, policy: &mut RetryPolicy) {
    let host_predicate = |name: &str, config: Any| RetryHostPredicate {
        name: name.to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(config)),
    };
    for predicate in conf.host_selection.iter().flatten() {
        match predicate.predicate {
            PredicateType::OmitPreviousHosts => policy
                .retry_host_predicate
                .push(host_predicate("envoy.retry_host_predicates.previous_hosts", pack(&PreviousHostsPredicate {}))),
            PredicateType::OmitHostsWithTags => {
                /// Field number of `OmitHostMetadataConfig.metadata_match`.
                const METADATA_MATCH: u32 = 1;
                let tags = predicate.tags.clone().unwrap_or_default();
                let config = Any {
                    type_url: "type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.\
                               OmitHostMetadataConfig"
                        .to_owned(),
                    value: encode_metadata_field(METADATA_MATCH, names::LB_METADATA, &tags),
                };
                let name = "envoy.retry_host_predicates.omit_host_metadata";
                policy.retry_host_predicate.push(host_predicate(name, config));
            }
            PredicateType::OmitPreviousPriorities => {
                let config = PreviousPrioritiesConfig { update_frequency: predicate.update_frequency };
                policy.retry_priority = Some(RetryPriority {
                    name: "envoy.retry_priorities.previous_priorities".to_owned(),
                    config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&config))),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn translated(conf: Value) -> Retries {
        Retries::new(&serde_json::from_value(conf).expect("a configuration"))
    }

    fn millis(duration: Option<pb::Duration>) -> Option<i64> {
        duration.map(|duration| duration.seconds * 1000 + i64::from(duration.nanos) / 1_000_000)
    }

    #[test]
    fn back_offs_are_such_that_envoy_takes_them() {
        let intervals = |back_off: Value| {
            let back_off = translated(json!({"http": {"backOff": back_off}})).http.and_then(|http| http.retry_back_off);
            back_off.map(|back_off| (millis(back_off.base_interval), millis(back_off.max_interval)))
        };
        for (given, base, max) in [
            (json!({"baseInterval": "1s", "maxInterval": "2s"}), 1000, Some(2000)),
            (json!({"baseInterval": "2s", "maxInterval": "1s"}), 2000, Some(2000)),
            (json!({"baseInterval": "2s"}), 2000, None),
            (json!({"maxInterval": "1s"}), 25, Some(1000)),
            (json!({"maxInterval": "10ms"}), 10, Some(10)),
            (json!({"baseInterval": "0s", "maxInterval": "-1s"}), 25, None),
        ] {
            assert_eq!(intervals(given.clone()), Some((Some(base), max)), "{given}");
        }
    }

    #[test]
    fn what_envoy_would_refuse_is_left_out() {
        let http = json!({
            "numRetries": 2, "perTryTimeout": "-1s", "rateLimitedBackOff": {"resetHeaders": []},
            "retriableRequestHeaders": [{"type": "RegularExpression", "name": "x", "value": "("}],
            "retriableResponseHeaders": [{"type": "RegularExpression", "name": "x", "value": "a+"}],
        });
        let policy = translated(json!({"http": http})).http.expect("retries");
        assert_eq!((policy.per_try_timeout, policy.rate_limited_retry_back_off), (None, None));
        // The condition stays, or all requests would be tried again.
        let pattern = |pattern: &str| header_value("x", MatchPattern::SafeRegex(regex(pattern)));
        assert_eq!(policy.retriable_request_headers, [pattern(NOTHING)]);
        assert_eq!(policy.retriable_headers, [pattern("a+")]);
    }
}
