//! What MeshHealthCheck does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshhealthcheck/plugin/xds/configurer.go`.

use envoy_types::pb::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use envoy_types::pb::envoy::r#type::v3::Percent;

use super::schema::{Conf, Grpc, Http, Tcp};
use crate::Protocol;
use crate::envoy::health_check::{codec, fail_traffic_on_panic, payload, status};
use crate::envoy::pb::core::health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck};
use crate::envoy::pb::core::{HealthCheck, TypedExtensionConfig};
use crate::envoy::pb::{BoolValue, UInt32Value};
use crate::envoy::{ClusterDraft, header_to_add, headers_to_add, pack};
use crate::legacy::source_tags::TAGS_HEADER;
use crate::schema::{GoDuration, HeaderKeyValue};

const INTERVAL: GoDuration = GoDuration::from_millis(60_000);
const TIMEOUT: GoDuration = GoDuration::from_millis(15_000);
const UNHEALTHY_THRESHOLD: i32 = 5;
const HEALTHY_THRESHOLD: i32 = 1;
const PATH: &str = "/";
/// Envoy's sink of changes of health that writes them to a file.
const FILE_SINK: &str = "envoy.health_check.event_sinks.file";

/// A configuration in the form in which Envoy takes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checks {
    panic_threshold: Option<Percent>,
    fail_traffic_on_panic: Option<bool>,
    /// By what the endpoints speak; `None` where they are not checked.
    http: Option<HealthCheck>,
    grpc: Option<HealthCheck>,
    tcp: Option<HealthCheck>,
}

impl Checks {
    /// Translates a configuration.
    pub fn new(conf: &Conf) -> Self {
        let connect = conf.tcp.as_ref().filter(|tcp| tcp.disabled != Some(true)).map(of_connections);
        // Endpoints that speak more than TCP are checked by connections only where the better check is there and switched off.
        let or_connect = |checker: Option<(Option<bool>, HealthChecker)>| match checker {
            Some((Some(true), _)) => connect.clone(),
            Some((_, checker)) => Some(checker),
            None => None,
        };
        let check = |checker: Option<HealthChecker>| checker.map(|checker| check(conf, checker));
        Self {
            panic_threshold: conf
                .healthy_panic_threshold
                .as_ref()
                .and_then(|threshold| threshold.decimal())
                .map(|threshold| Percent { value: threshold.to_f64() }),
            fail_traffic_on_panic: conf.fail_traffic_on_panic,
            http: check(or_connect(conf.http.as_ref().map(|http| (http.disabled, of_requests(http))))),
            grpc: check(or_connect(conf.grpc.as_ref().map(|grpc| (grpc.disabled, of_calls(grpc))))),
            tcp: check(connect.clone()),
        }
    }

    fn of_protocol(&self, protocol: Protocol) -> Option<&HealthCheck> {
        match protocol {
            Protocol::Http | Protocol::Http2 => self.http.as_ref(),
            Protocol::Grpc => self.grpc.as_ref(),
            Protocol::Tcp => self.tcp.as_ref(),
            _ => None,
        }
    }

    /// True when checks of endpoints that speak `protocol` are requests with headers, which tell whose proxy asks.
    pub fn tell_tags(&self, protocol: Protocol) -> bool {
        self.of_protocol(protocol).is_some_and(asks_with_headers)
    }

    /// True when some endpoints are checked by requests with headers.
    pub(crate) fn ask_with_headers(&self) -> bool {
        self.http.as_ref().is_some_and(asks_with_headers)
    }

    /// Sets the checks of a cluster, whose endpoints speak `protocol`, in place of earlier ones: Envoy takes one. `tags` are told in
    /// the requests.
    pub(crate) fn set_cluster(&self, protocol: Protocol, tags: Option<&str>, cluster: &mut ClusterDraft) {
        if let Some(threshold) = self.panic_threshold {
            cluster.common_lb_mut().healthy_panic_threshold = Some(threshold);
        }
        if let Some(fail) = self.fail_traffic_on_panic {
            fail_traffic_on_panic(fail, cluster);
        }
        let Some(mut check) = self.of_protocol(protocol).cloned() else { return };
        if let Some(HealthChecker::HttpHealthCheck(http)) = &mut check.health_checker {
            http.codec_client_type = codec(protocol).into();
            if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
                let header = header_to_add(TAGS_HEADER.to_owned(), tags.to_owned(), true);
                http.request_headers_to_add.insert(0, header);
            }
        }
        cluster.message.health_checks = vec![check];
    }
}

fn asks_with_headers(check: &HealthCheck) -> bool {
    matches!(check.health_checker, Some(HealthChecker::HttpHealthCheck(_)))
}

fn check(conf: &Conf, checker: HealthChecker) -> HealthCheck {
    let threshold = |value: i32| Some(UInt32Value { value: value.max(0).unsigned_abs() });
    let event_sink = |path: &String| TypedExtensionConfig {
        name: FILE_SINK.to_owned(),
        typed_config: Some(pack(&HealthCheckEventFileSink { event_log_path: path.clone() })),
    };
    HealthCheck {
        interval: Some(conf.interval.unwrap_or(INTERVAL).to_proto()),
        timeout: Some(conf.timeout.unwrap_or(TIMEOUT).to_proto()),
        unhealthy_threshold: threshold(conf.unhealthy_threshold.unwrap_or(UNHEALTHY_THRESHOLD)),
        healthy_threshold: threshold(conf.healthy_threshold.unwrap_or(HEALTHY_THRESHOLD)),
        initial_jitter: conf.initial_jitter.map(GoDuration::to_proto),
        interval_jitter: conf.interval_jitter.map(GoDuration::to_proto),
        interval_jitter_percent: conf.interval_jitter_percent.unwrap_or_default().max(0).unsigned_abs(),
        event_logger: conf.event_log_path.iter().map(event_sink).collect(),
        always_log_health_check_failures: conf.always_log_health_check_failures.unwrap_or_default(),
        no_traffic_interval: conf.no_traffic_interval.map(GoDuration::to_proto),
        reuse_connection: conf.reuse_connection.map(|value| BoolValue { value }),
        health_checker: Some(checker),
        ..HealthCheck::default()
    }
}

/// What is sent and received counts as it is written, although documented as base64, as in Kuma.
fn of_connections(conf: &Tcp) -> HealthChecker {
    HealthChecker::TcpHealthCheck(TcpHealthCheck {
        send: conf.send.as_ref().filter(|text| !text.is_empty()).map(|text| payload(text.as_bytes())),
        receive: conf
            .receive
            .iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .map(|text| payload(text.as_bytes()))
            .collect(),
        ..TcpHealthCheck::default()
    })
}

fn of_requests(conf: &Http) -> HealthChecker {
    let headers = conf.request_headers_to_add.as_ref();
    let list = |list: Option<&Vec<HeaderKeyValue>>| list.cloned().unwrap_or_default();
    let added = list(headers.and_then(|headers| headers.add.as_ref()));
    let set = list(headers.and_then(|headers| headers.set.as_ref()));
    // Envoy refuses to be told the host as a header.
    let (mut hosts, mut others) = (Vec::new(), Vec::new());
    for (list, append) in [(added, true), (set, false)] {
        let (of_host, rest): (Vec<_>, Vec<_>) = list.into_iter().partition(|header| header.name == "host");
        hosts.extend(of_host);
        others.extend(headers_to_add(&rest, append));
    }
    HealthChecker::HttpHealthCheck(HttpHealthCheck {
        host: hosts.pop().map(|header| header.value).unwrap_or_default(),
        path: conf.path.clone().unwrap_or_else(|| PATH.to_owned()),
        request_headers_to_add: others,
        expected_statuses: conf.expected_statuses.iter().flatten().map(|code| status((*code).into())).collect(),
        ..HttpHealthCheck::default()
    })
}

fn of_calls(conf: &Grpc) -> HealthChecker {
    HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
        service_name: conf.service_name.clone().unwrap_or_default(),
        authority: conf.authority.clone().unwrap_or_default(),
        ..GrpcHealthCheck::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checks(conf: Value) -> Checks {
        Checks::new(&serde_json::from_value(conf).expect("a configuration"))
    }

    /// The checks that a cluster gets.
    fn set(conf: Value, protocol: Protocol) -> Vec<HealthCheck> {
        let mut cluster = ClusterDraft::default();
        checks(conf).set_cluster(protocol, Some("&team=a&"), &mut cluster);
        cluster.message.health_checks
    }

    fn checker(conf: Value, protocol: Protocol) -> &'static str {
        match set(conf, protocol).first().and_then(|check| check.health_checker.clone()) {
            Some(HealthChecker::HttpHealthCheck(_)) => "http",
            Some(HealthChecker::GrpcHealthCheck(_)) => "grpc",
            Some(HealthChecker::TcpHealthCheck(_)) => "tcp",
            _ => "none",
        }
    }

    #[test]
    fn endpoints_are_checked_by_what_they_speak() {
        let all = json!({"http": {}, "grpc": {}, "tcp": {}});
        let of_protocol = [
            (Protocol::Http, "http"),
            (Protocol::Http2, "http"),
            (Protocol::Grpc, "grpc"),
            (Protocol::Tcp, "tcp"),
            (Protocol::Kafka, "none"),
            (Protocol::Unknown, "none"),
        ];
        for (protocol, expected) in of_protocol {
            assert_eq!(checker(all.clone(), protocol), expected, "{protocol:?}");
        }
        let off = json!({"disabled": true});
        assert_eq!(checker(json!({"http": off, "tcp": {}}), Protocol::Http), "tcp");
        assert_eq!(checker(json!({"grpc": off, "tcp": {}}), Protocol::Grpc), "tcp");
        assert_eq!(checker(json!({"grpc": off, "tcp": {}}), Protocol::Http), "none");
        assert_eq!(checker(json!({"tcp": {}}), Protocol::Http), "none");
        assert_eq!(checker(json!({"http": off, "tcp": off}), Protocol::Http), "none");
        assert_eq!(checker(json!({"http": off}), Protocol::Http), "none");
        assert_eq!(checker(json!({"tcp": off}), Protocol::Tcp), "none");
    }

    #[test]
    fn requests_tell_the_tags_of_the_proxy_first() {
        let conf = json!({"http": {"requestHeadersToAdd": {
            "set": [{"name": "x-c", "value": "3"}, {"name": "host", "value": "a"}],
            "add": [{"name": "x-b", "value": "1,2"}],
        }}});
        assert!(checks(conf.clone()).tell_tags(Protocol::Http2));
        assert!(!checks(conf.clone()).tell_tags(Protocol::Tcp));
        let check = set(conf, Protocol::Http2).remove(0);
        let Some(HealthChecker::HttpHealthCheck(http)) = check.health_checker else { panic!("a check by request") };
        let headers: Vec<_> = http
            .request_headers_to_add
            .iter()
            .map(|option| {
                let header = option.header.clone().unwrap_or_default();
                (header.key, header.value, option.append_action)
            })
            .collect();
        let header = |key: &str, value: &str, action: i32| (key.to_owned(), value.to_owned(), action);
        let expected =
            [header(TAGS_HEADER, "&team=a&", 0), header("x-b", "1", 0), header("x-b", "2", 0), header("x-c", "3", 2)];
        assert_eq!(headers, expected);
        assert_eq!(http.host, "a");
        assert_eq!((http.path.as_str(), http.codec_client_type), ("/", codec(Protocol::Http2).into()));
    }

    #[test]
    fn a_cluster_has_one_check() {
        let mut cluster = ClusterDraft::default();
        checks(json!({"tcp": {}})).set_cluster(Protocol::Tcp, None, &mut cluster);
        checks(json!({"tcp": {}, "interval": "1s"})).set_cluster(Protocol::Tcp, None, &mut cluster);
        let intervals: Vec<_> =
            cluster.message.health_checks.iter().map(|check| check.interval.map(|interval| interval.seconds)).collect();
        assert_eq!(intervals, [Some(1)]);
    }

    #[test]
    fn requests_cannot_be_made_to_fail_where_localities_are_weighed() {
        use crate::envoy::pb::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
        let conf = json!({"tcp": {}, "failTrafficOnPanic": true});
        let mut cluster = ClusterDraft::default();
        let weighted = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig::default());
        cluster.common_lb_mut().locality_config_specifier = Some(weighted);
        checks(conf.clone()).set_cluster(Protocol::Tcp, None, &mut cluster);
        assert_eq!(cluster.common_lb_mut().locality_config_specifier, Some(weighted));
        cluster.common_lb_mut().locality_config_specifier = None;
        checks(conf).set_cluster(Protocol::Tcp, None, &mut cluster);
        let specifier = &cluster.common_lb_mut().locality_config_specifier;
        assert!(matches!(specifier, Some(LocalityConfigSpecifier::ZoneAwareLbConfig(of)) if of.fail_traffic_on_panic));
    }
}
