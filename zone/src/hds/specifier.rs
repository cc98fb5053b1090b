//! What a proxy is asked to probe.
//!
//! Source of the behaviour: Kuma `pkg/hds/tracker/healthcheck_generator.go`.

use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::health_check::{HealthChecker, HttpHealthCheck, TcpHealthCheck};
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::service::health::v3 as hds;
use envoy_types::pb::google::protobuf as wkt;
use tandem_model::dataplane::{DataplaneExt as _, InboundInterface};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::ServiceProbe;
use tandem_xds::{ProxyMetadata, is_redirected};

/// How probes are made where a Dataplane does not say.
#[derive(Debug, Clone)]
pub struct HdsSettings {
    /// How often a proxy reports.
    pub interval: Duration,
    /// Time a probe may take.
    pub check_timeout: Duration,
    /// Time between probes.
    pub check_interval: Duration,
    /// Time between probes of an endpoint without traffic.
    pub check_no_traffic_interval: Duration,
    /// Successes that make an endpoint healthy.
    pub healthy_threshold: u32,
    /// Failures that make an endpoint unhealthy.
    pub unhealthy_threshold: u32,
}

/// Name of the cluster that stands for Envoy itself.
pub fn admin_cluster(unified_naming: bool) -> &'static str {
    if unified_naming { "system_envoy_admin" } else { "kuma:envoy:admin" }
}

/// The checks of a Dataplane: Envoy itself, and every inbound with a probe. Inbounds of one workload port that are probed alike are
/// one check.
pub fn specifier(
    dataplane: &pb::Dataplane,
    metadata: &ProxyMetadata,
    settings: &HdsSettings,
) -> hds::HealthCheckSpecifier {
    let http = HealthChecker::HttpHealthCheck(HttpHealthCheck { path: "/ready".to_owned(), ..Default::default() });
    let envoy = admin_cluster(metadata.features.unified_naming);
    let mut checks = vec![cluster_check(envoy, "127.0.0.1", metadata.admin_port, health_check(http, None, settings))];
    let redirected = is_redirected(dataplane, metadata);
    for inbound in dataplane.inbounds() {
        let Some(probe) = &inbound.service_probe else { continue };
        let interface = dataplane.inbound_interface(inbound);
        let tcp = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
        let cluster = format!("localhost:{}", interface.workload_port);
        let check = health_check(tcp, Some(probe), settings);
        let mut check = cluster_check(&cluster, &interface.workload_address, interface.workload_port, check);
        check.upstream_bind_config = bind_config(redirected, &interface);
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    hds::HealthCheckSpecifier { cluster_health_checks: checks, interval: Some(duration(settings.interval)) }
}

/// Where traffic is redirected, probes come from the address whose traffic is not.
fn bind_config(redirected: bool, interface: &InboundInterface) -> Option<core::BindConfig> {
    let address: IpAddr = interface.workload_address.parse().ok()?;
    if !redirected || address.is_loopback() {
        return None;
    }
    let source = if address.is_ipv4() { "127.0.0.6" } else { "::6" };
    Some(core::BindConfig { source_address: Some(socket_address(source, 0)), ..Default::default() })
}

fn health_check(checker: HealthChecker, probe: Option<&ServiceProbe>, settings: &HdsSettings) -> core::HealthCheck {
    let from_proto = |d: &prost_types::Duration| wkt::Duration { seconds: d.seconds, nanos: d.nanos };
    let timeout = probe.and_then(|probe| probe.timeout.as_ref());
    // A probe that names its timeout is taken to name its interval, too.
    let interval = match (timeout, probe) {
        (Some(_), Some(probe)) => probe.interval.as_ref().map(from_proto),
        _ => Some(duration(settings.check_interval)),
    };
    let threshold = |own: Option<u32>, default: u32| Some(wkt::UInt32Value { value: own.unwrap_or(default) });
    core::HealthCheck {
        timeout: Some(timeout.map_or_else(|| duration(settings.check_timeout), from_proto)),
        interval,
        no_traffic_interval: Some(duration(settings.check_no_traffic_interval)),
        healthy_threshold: threshold(probe.and_then(|p| p.healthy_threshold), settings.healthy_threshold),
        unhealthy_threshold: threshold(probe.and_then(|p| p.unhealthy_threshold), settings.unhealthy_threshold),
        health_checker: Some(checker),
        ..Default::default()
    }
}

fn cluster_check(cluster: &str, address: &str, port: u32, check: core::HealthCheck) -> hds::ClusterHealthCheck {
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket_address(address, port))) };
    let endpoint = endpoint::Endpoint { address: Some(address), ..Default::default() };
    hds::ClusterHealthCheck {
        cluster_name: cluster.to_owned(),
        health_checks: vec![check],
        locality_endpoints: vec![hds::LocalityEndpoints { endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    }
}

fn socket_address(address: &str, port: u32) -> core::SocketAddress {
    core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    }
}

fn duration(duration: Duration) -> wkt::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second is less than 2^31 ns");
    wkt::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_xds::Features;
    use tandem_xds::metadata::TransparentProxyMetadata;

    use super::*;

    fn settings() -> HdsSettings {
        HdsSettings {
            interval: Duration::from_secs(5),
            check_timeout: Duration::from_secs(2),
            check_interval: Duration::from_secs(1),
            check_no_traffic_interval: Duration::from_millis(1500),
            healthy_threshold: 1,
            unhealthy_threshold: 3,
        }
    }

    /// A Dataplane at 10.0.0.1 with these inbounds and further members of its networking.
    fn dataplane(inbounds: &[Value], more: Value) -> pb::Dataplane {
        let tags = json!({"kuma.io/service": "web"});
        let tagged = inbounds.iter().cloned().map(|mut inbound| {
            inbound["tags"] = tags.clone();
            inbound
        });
        let mut networking = json!({"address": "10.0.0.1", "inbound": tagged.collect::<Vec<_>>()});
        if let (Some(networking), Value::Object(more)) = (networking.as_object_mut(), more) {
            networking.extend(more);
        }
        let document = json!({"type": "Dataplane", "mesh": "m", "name": "d", "networking": networking});
        let document = tandem_model::rest::from_json(document, None, tandem_model::rest::Unknown::Refuse);
        document.expect("a Dataplane").resource.proto().expect("of this kind")
    }

    fn probes(dataplane: &pb::Dataplane, metadata: &ProxyMetadata) -> Vec<hds::ClusterHealthCheck> {
        specifier(dataplane, metadata, &settings()).cluster_health_checks
    }

    fn target(check: &hds::ClusterHealthCheck) -> (String, u32) {
        let address = check.locality_endpoints[0].endpoints[0].address.clone().and_then(|address| address.address);
        let Some(core::address::Address::SocketAddress(socket)) = address else { panic!("a socket") };
        let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
            panic!("a port")
        };
        (socket.address, port)
    }

    fn seconds(duration: Option<&wkt::Duration>) -> Option<(i64, i32)> {
        duration.map(|duration| (duration.seconds, duration.nanos))
    }

    #[test]
    fn envoy_itself_comes_first_and_only_inbounds_with_a_probe_follow() {
        let inbounds = [json!({"port": 80, "servicePort": 8080, "serviceProbe": {"tcp": {}}}), json!({"port": 81})];
        let metadata = ProxyMetadata { admin_port: 9901, ..ProxyMetadata::default() };
        let specifier = specifier(&dataplane(&inbounds, json!({})), &metadata, &settings());
        assert_eq!(seconds(specifier.interval.as_ref()), Some((5, 0)));
        let [envoy, inbound] = &specifier.cluster_health_checks[..] else { panic!("two checks") };
        assert_eq!((envoy.cluster_name.as_str(), target(envoy)), ("kuma:envoy:admin", ("127.0.0.1".to_owned(), 9901)));
        let check = &envoy.health_checks[0];
        assert!(matches!(&check.health_checker, Some(HealthChecker::HttpHealthCheck(http)) if http.path == "/ready"));
        assert_eq!((inbound.cluster_name.as_str(), target(inbound)), ("localhost:8080", ("10.0.0.1".to_owned(), 8080)));
        assert!(matches!(inbound.health_checks[0].health_checker, Some(HealthChecker::TcpHealthCheck(_))));
        // With the feature Envoy has its other name, whatever the mesh says.
        let metadata = ProxyMetadata { features: Features { unified_naming: true, ..Features::default() }, ..metadata };
        let dataplane = dataplane(&inbounds, json!({}));
        assert_eq!(probes(&dataplane, &metadata)[0].cluster_name, "system_envoy_admin");
    }

    #[test]
    fn a_probe_that_names_its_timeout_is_taken_to_name_its_interval() {
        let times = |probe: Value| {
            let dataplane = dataplane(&[json!({"port": 80, "serviceProbe": probe})], json!({}));
            let check = probes(&dataplane, &ProxyMetadata::default())[1].health_checks[0].clone();
            (seconds(check.timeout.as_ref()), seconds(check.interval.as_ref()))
        };
        assert_eq!(times(json!({})), (Some((2, 0)), Some((1, 0))));
        assert_eq!(times(json!({"interval": "9s"})), (Some((2, 0)), Some((1, 0))));
        assert_eq!(times(json!({"timeout": "4s"})), (Some((4, 0)), None));
        assert_eq!(times(json!({"timeout": "4s", "interval": "9s"})), (Some((4, 0)), Some((9, 0))));
    }

    #[test]
    fn thresholds_are_those_of_the_probe_or_of_the_settings() {
        let thresholds = |probe: Value| {
            let dataplane = dataplane(&[json!({"port": 80, "serviceProbe": probe})], json!({}));
            let check = probes(&dataplane, &ProxyMetadata::default())[1].health_checks[0].clone();
            assert_eq!(seconds(check.no_traffic_interval.as_ref()), Some((1, 500_000_000)));
            [check.healthy_threshold, check.unhealthy_threshold].map(|threshold| threshold.map(|number| number.value))
        };
        assert_eq!(thresholds(json!({})), [Some(1), Some(3)]);
        assert_eq!(thresholds(json!({"healthyThreshold": 7, "unhealthyThreshold": 8})), [Some(7), Some(8)]);
    }

    /// From which address an inbound at an address is probed.
    fn source(address: &str, networking: Value, metadata: &ProxyMetadata) -> Option<String> {
        let inbound = json!({"port": 80, "address": address, "serviceAddress": address, "serviceProbe": {}});
        let check = probes(&dataplane(&[inbound], networking), metadata)[1].clone();
        let source = check.upstream_bind_config?.source_address?;
        assert_eq!(source.port_specifier, Some(core::socket_address::PortSpecifier::PortValue(0)));
        Some(source.address)
    }

    #[test]
    fn probes_past_a_redirection_come_from_the_address_that_is_not_redirected() {
        let redirected = json!({"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}});
        let plain = ProxyMetadata::default();
        assert_eq!(source("10.0.0.1", redirected.clone(), &plain).as_deref(), Some("127.0.0.6"));
        assert_eq!(source("fd00::1", redirected.clone(), &plain).as_deref(), Some("::6"));
        assert_eq!(source("10.0.0.1", json!({}), &plain), None);
        assert_eq!(source("127.0.0.1", redirected.clone(), &plain), None);
        // kuma-dp may tell of the redirection instead of the Dataplane, which counts for nothing then.
        let features = Features { transparent_proxy_in_metadata: true, ..Features::default() };
        let told = ProxyMetadata { features, ..ProxyMetadata::default() };
        assert_eq!(source("10.0.0.1", json!({}), &told).as_deref(), Some("127.0.0.6"));
        let mut off = TransparentProxyMetadata::default();
        (off.inbound.enabled, off.outbound.enabled) = (false, false);
        let off = ProxyMetadata { transparent_proxy: Some(off), ..told };
        assert_eq!(source("10.0.0.1", redirected, &off), None);
    }

    #[test]
    fn inbounds_of_one_workload_port_are_probed_once_unless_their_probes_differ() {
        let inbound = |port: u16, timeout: &str| json!({"port": port, "servicePort": 8080, "serviceProbe": {"timeout": timeout, "interval": "1s"}});
        let checks = |inbounds: &[Value]| probes(&dataplane(inbounds, json!({})), &ProxyMetadata::default()).len() - 1;
        assert_eq!(checks(&[inbound(80, "1s"), inbound(81, "1s")]), 1);
        assert_eq!(checks(&[inbound(80, "1s"), inbound(81, "2s")]), 2);
    }
}
