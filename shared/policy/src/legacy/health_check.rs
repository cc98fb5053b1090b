//! Active health checks of a service.
//!
//! Source: Kuma `pkg/xds/envoy/clusters/v3/health_check_configurer.go`.

use envoy_types::pb::envoy::r#type::v3::Percent;
use tandem_proto::mesh::v1alpha1::health_check::Conf;
use tandem_proto::mesh::v1alpha1::health_check::conf::{Http, Tcp};

use super::protobuf_duration;
use crate::Protocol;
use crate::envoy::health_check::{codec, fail_traffic_on_panic, payload, status};
use crate::envoy::pb::core::HealthCheck;
use crate::envoy::pb::core::health_check::{HealthChecker, HttpHealthCheck, TcpHealthCheck};
use crate::envoy::pb::{BoolValue, UInt32Value};
use crate::envoy::{ClusterDraft, header_to_add};

/// Sets the health checks of a cluster, whose endpoints speak `protocol`.
pub fn set_cluster(conf: &Conf, protocol: Protocol, cluster: &mut ClusterDraft) {
    if let Some(threshold) = conf.healthy_panic_threshold {
        cluster.common_lb_mut().healthy_panic_threshold = Some(Percent { value: threshold.into() });
    }
    if let Some(fail) = conf.fail_traffic_on_panic {
        fail_traffic_on_panic(fail, cluster);
    }
    let connect = || HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
    let tcp = conf.tcp.as_ref().map(of_connections);
    let http = conf.http.as_ref().map(|http| of_requests(http, protocol));
    let neither = (tcp.is_none() && http.is_none()).then(connect);
    let checkers = [tcp, http, neither].into_iter().flatten();
    cluster.message.health_checks.extend(checkers.map(|checker| check(conf, checker)));
}

fn check(conf: &Conf, checker: HealthChecker) -> HealthCheck {
    #[allow(deprecated)] // replaced in Envoy by event loggers; the policy writes to a file
    HealthCheck {
        interval: conf.interval.map(protobuf_duration),
        timeout: conf.timeout.map(protobuf_duration),
        unhealthy_threshold: Some(UInt32Value { value: conf.unhealthy_threshold }),
        healthy_threshold: Some(UInt32Value { value: conf.healthy_threshold }),
        initial_jitter: conf.initial_jitter.map(protobuf_duration),
        interval_jitter: conf.interval_jitter.map(protobuf_duration),
        interval_jitter_percent: conf.interval_jitter_percent,
        event_log_path: conf.event_log_path.clone(),
        always_log_health_check_failures: conf.always_log_health_check_failures.unwrap_or_default(),
        no_traffic_interval: conf.no_traffic_interval.map(protobuf_duration),
        reuse_connection: conf.reuse_connection.map(|value| BoolValue { value }),
        health_checker: Some(checker),
        ..HealthCheck::default()
    }
}

fn of_connections(conf: &Tcp) -> HealthChecker {
    HealthChecker::TcpHealthCheck(TcpHealthCheck {
        send: conf.send.as_ref().map(|bytes| payload(bytes)),
        receive: conf.receive.iter().map(|bytes| payload(bytes)).collect(),
        ..TcpHealthCheck::default()
    })
}

fn of_requests(conf: &Http, protocol: Protocol) -> HealthChecker {
    let headers = conf.request_headers_to_add.iter().filter_map(|option| {
        let header = option.header.clone()?;
        Some(header_to_add(header.key, header.value, option.append.unwrap_or_default()))
    });
    HealthChecker::HttpHealthCheck(HttpHealthCheck {
        path: conf.path.clone(),
        request_headers_to_add: headers.collect(),
        expected_statuses: conf.expected_statuses.iter().map(|code| status((*code).into())).collect(),
        codec_client_type: codec(protocol).into(),
        ..HttpHealthCheck::default()
    })
}
