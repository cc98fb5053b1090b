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

/// The checks of a Dataplane: Envoy itself, and every inbound with a probe.
pub fn specifier(
    dataplane: &pb::Dataplane,
    admin_port: u32,
    unified_naming: bool,
    settings: &HdsSettings,
) -> hds::HealthCheckSpecifier {
    let http = HealthChecker::HttpHealthCheck(HttpHealthCheck { path: "/ready".to_owned(), ..Default::default() });
    let mut checks =
        vec![cluster_check(admin_cluster(unified_naming), "127.0.0.1", admin_port, health_check(http, None, settings))];
    let transparent = dataplane.networking.as_ref().is_some_and(|networking| networking.transparent_proxying.is_some());
    for inbound in dataplane.inbounds() {
        let Some(probe) = &inbound.service_probe else { continue };
        let interface = dataplane.inbound_interface(inbound);
        let tcp = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
        let cluster = format!("localhost:{}", interface.workload_port);
        let check = health_check(tcp, Some(probe), settings);
        let mut check = cluster_check(&cluster, &interface.workload_address, interface.workload_port, check);
        check.upstream_bind_config = bind_config(transparent, &interface);
        checks.push(check);
    }
    hds::HealthCheckSpecifier { cluster_health_checks: checks, interval: Some(duration(settings.interval)) }
}

/// With a transparent proxy, probes come from the address whose traffic is not redirected.
fn bind_config(transparent: bool, interface: &InboundInterface) -> Option<core::BindConfig> {
    let address: IpAddr = interface.workload_address.parse().ok()?;
    if !transparent || address.is_loopback() {
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
