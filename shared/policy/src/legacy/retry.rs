//! Retries of outgoing connections and requests.
//!
//! Source: Kuma `pkg/xds/envoy/routes/v3/retry_configurer.go`,
//! `pkg/xds/envoy/listeners/v3/max_connect_attempts_configurer.go`.

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use tandem_proto::mesh::v1alpha1::retry::Conf;
use tandem_proto::mesh::v1alpha1::retry::conf::{BackOff, Grpc, Http, grpc};
use tandem_proto::mesh::v1alpha1::{HttpMethod, HttpRetryOn};

use super::protobuf_duration;
use crate::Protocol;
use crate::envoy::ListenerDraft;
use crate::envoy::pb::UInt32Value;
use crate::envoy::pb::http::http_connection_manager::RouteSpecifier;
use crate::envoy::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::envoy::pb::route::retry_policy::RetryBackOff;
use crate::envoy::pb::route::{HeaderMatcher, RetryPolicy};
use crate::retry::envoy::{GRPC_RETRY_ON, HTTP_RETRY_ON, STATUS_CODES};

/// Sets the retries of a listener, of its virtual hosts or of its connections. HTTP/2 that is not gRPC is not retried, as in Kuma.
pub fn set_listener(conf: &Conf, protocol: Protocol, listener: &mut ListenerDraft) {
    let policy = match protocol {
        Protocol::Http => conf.http.as_ref().map(of_http),
        Protocol::Grpc => conf.grpc.as_ref().map(of_grpc),
        Protocol::Http2 => None,
        _ => {
            let attempts = conf.tcp.map(|tcp| UInt32Value { value: tcp.max_connect_attempts });
            if attempts.is_some() {
                listener.tcp_mut().for_each(|proxy| proxy.max_connect_attempts = attempts);
            }
            return;
        }
    };
    for manager in listener.http_mut() {
        if let Some(RouteSpecifier::RouteConfig(table)) = &mut manager.route_specifier {
            table.virtual_hosts.iter_mut().for_each(|host| host.retry_policy.clone_from(&policy));
        }
    }
}

fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

fn back_off(back_off: BackOff) -> RetryBackOff {
    RetryBackOff {
        base_interval: back_off.base_interval.map(protobuf_duration),
        max_interval: back_off.max_interval.map(protobuf_duration),
    }
}

fn of_http(conf: &Http) -> RetryPolicy {
    let conditions = conf.retry_on.iter().filter_map(|condition| HttpRetryOn::try_from(*condition).ok());
    let conditions: Vec<String> = conditions
        .map(|condition| match condition {
            HttpRetryOn::All5xx => "5xx".to_owned(),
            other => other.as_str_name().replace('_', "-"),
        })
        .collect();
    let mut retry_on = if conditions.is_empty() { HTTP_RETRY_ON.to_owned() } else { conditions.join(",") };
    if !conf.retriable_status_codes.is_empty() && !retry_on.split(',').any(|condition| condition == STATUS_CODES) {
        retry_on.push(',');
        retry_on.push_str(STATUS_CODES);
    }
    let methods = conf.retriable_methods.iter().filter_map(|method| HttpMethod::try_from(*method).ok());
    let matching = |method: HttpMethod| HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(method.as_str_name().to_owned())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    };
    RetryPolicy {
        retry_on,
        num_retries: conf.num_retries.map(number),
        per_try_timeout: conf.per_try_timeout.map(protobuf_duration),
        retry_back_off: conf.back_off.map(back_off),
        retriable_status_codes: conf.retriable_status_codes.clone(),
        retriable_request_headers: methods.filter(|method| *method != HttpMethod::None).map(matching).collect(),
        ..RetryPolicy::default()
    }
}

fn of_grpc(conf: &Grpc) -> RetryPolicy {
    let conditions = conf.retry_on.iter().filter_map(|condition| grpc::RetryOn::try_from(*condition).ok());
    let conditions: Vec<String> = conditions.map(|condition| condition.as_str_name().replace('_', "-")).collect();
    RetryPolicy {
        retry_on: if conditions.is_empty() { GRPC_RETRY_ON.to_owned() } else { conditions.join(",") },
        num_retries: conf.num_retries.map(number),
        per_try_timeout: conf.per_try_timeout.map(protobuf_duration),
        retry_back_off: conf.back_off.map(back_off),
        ..RetryPolicy::default()
    }
}
