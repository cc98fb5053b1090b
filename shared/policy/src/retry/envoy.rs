//! What MeshRetry does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshretry/plugin/xds/configurer.go`.

use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::conditions::HttpRetryOn;
use super::schema::{BackOff, Conf, Grpc, GrpcRetryOn, Http, PredicateType, RateLimitedBackOff, ResetFormat};
use crate::Protocol;
use crate::envoy::matcher::{header, header_value};
use crate::envoy::pb::route::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate, retry_priority,
};
use crate::envoy::pb::route::{RetryPolicy, Route, route::Action};
use crate::envoy::pb::{Any, UInt32Value};
use crate::envoy::{ListenerDraft, NetworkFilter, encode_metadata_field, inline_routes, names, pack};
use crate::schema::GoDuration;

pub(crate) const HTTP_RETRY_ON: &str = "gateway-error,connect-failure,refused-stream";
pub(crate) const GRPC_RETRY_ON: &str =
    "cancelled,connect-failure,gateway-error,refused-stream,reset,resource-exhausted,unavailable";
pub(crate) const STATUS_CODES: &str = "retriable-status-codes";
/// Time before the first retry of a gRPC call whose back-off only has an upper limit.
const GRPC_BASE_INTERVAL: GoDuration = GoDuration::from_millis(25);

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
        per_try_timeout: conf.per_try_timeout.map(GoDuration::to_proto),
        retry_back_off: conf.back_off.as_ref().map(|back_off| translate_back_off(back_off, None)),
        rate_limited_retry_back_off: conf.rate_limited_back_off.as_ref().map(rate_limited),
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
    policy.retriable_request_headers.extend(conf.retriable_request_headers.iter().flatten().map(header));
    policy.retriable_headers = conf.retriable_response_headers.iter().flatten().map(header).collect();
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
        per_try_timeout: conf.per_try_timeout.map(GoDuration::to_proto),
        retry_back_off: conf.back_off.as_ref().map(|back_off| translate_back_off(back_off, Some(GRPC_BASE_INTERVAL))),
        rate_limited_retry_back_off: conf.rate_limited_back_off.as_ref().map(rate_limited),
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

fn translate_back_off(back_off: &BackOff, base: Option<GoDuration>) -> RetryBackOff {
    RetryBackOff {
        base_interval: back_off.base_interval.or(base).map(GoDuration::to_proto),
        max_interval: back_off.max_interval.map(GoDuration::to_proto),
    }
}

fn rate_limited(back_off: &RateLimitedBackOff) -> RateLimitedRetryBackOff {
    let header = |header: &super::schema::ResetHeader| ResetHeader {
        name: header.name.clone(),
        format: match header.format {
            ResetFormat::Seconds => ResetHeaderFormat::Seconds,
            ResetFormat::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
        }
        .into(),
    };
    RateLimitedRetryBackOff {
        reset_headers: back_off.reset_headers.iter().flatten().map(header).collect(),
        max_interval: back_off.max_interval.map(GoDuration::to_proto),
    }
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
