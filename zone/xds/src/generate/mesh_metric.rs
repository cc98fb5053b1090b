//! What a MeshMetric makes of a proxy: listeners at which metrics are fetched, ways by which kuma-dp sends them to collectors, and
//! the settings by which kuma-dp gathers them.
//!
//! Source: Kuma `pkg/plugins/policies/meshmetric/plugin`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::WORKLOAD;
use tandem_policy::envoy::pb::{listener, route};
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, EndpointAddress, ListenerDraft, NetworkFilter, Origin};
use tandem_policy::metric::{self, Rules};

use super::dynconf::Document;
use super::http::{grpc_stats, host_itself, manager, prefix, route_table, to_cluster};
use super::names::Naming;
use super::prometheus::Endpoint;
use super::shape::{HttpVersion, is_ipv6, look_up, pipe_address, single_endpoint, speak_http};
use crate::index::DataplaneView;
use crate::metadata::ProxyMetadata;

/// Everything the resources are built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Metrics {
    endpoints: Vec<Endpoint>,
    collectors: Vec<Collector>,
    /// Settings for kuma-dp.
    pub document: Document,
}

/// A collector that kuma-dp sends metrics to, through a socket of Envoy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Collector {
    /// Name of listener and cluster.
    name: String,
    socket: String,
    host: String,
    port: u32,
    /// The other address family is left out when the host is a name.
    prefer_ipv4: bool,
    /// The host of the proxy has IPv6.
    ipv6: bool,
}

impl Metrics {
    /// What the policies of a proxy say; `warn` is told what is without effect.
    pub fn of(
        rules: &Rules,
        dataplane: &DataplaneView,
        metadata: &ProxyMetadata,
        naming: Naming,
        mut warn: impl FnMut(String),
    ) -> Self {
        let conf = &rules.conf;
        let endpoint = |backend| Endpoint::of_policy(backend, dataplane, metadata, naming, &mut warn);
        let endpoints = conf.prometheus().map(endpoint).collect();
        let mut collectors = Vec::new();
        for backend in conf.collectors() {
            let Some((host, port)) = backend.target() else {
                let endpoint = &backend.endpoint;
                warn(format!(
                    "metrics are not sent to {endpoint:?}: write a host, or a host and a port as in otel:4317"
                ));
                continue;
            };
            collectors.push(Collector {
                name: naming.metrics_collector(&backend.name()),
                socket: socket(metadata, &backend.name()),
                host: host.to_owned(),
                port,
                prefer_ipv4: !is_ipv6(dataplane.address()),
                ipv6: metadata.ipv6_enabled,
            });
        }
        let body = metric::document(conf, &labels(dataplane, naming), |name| socket(metadata, name));
        Self { endpoints, collectors, document: Document { path: metric::PATH, body } }
    }

    /// Adds the resources, but for the settings.
    pub fn generate(&self, set: &mut DraftSet) {
        self.endpoints.iter().for_each(|endpoint| endpoint.generate(set));
        self.collectors.iter().for_each(|collector| collector.generate(set));
    }
}

/// Socket at which Envoy takes metrics for a collector.
fn socket(metadata: &ProxyMetadata, collector: &str) -> String {
    metadata.socket(&format!("kuma-otel-{collector}"))
}

impl Collector {
    fn generate(&self, set: &mut DraftSet) {
        let Self { name, host, .. } = self;
        let mut cluster = single_endpoint(name, EndpointAddress::Socket(host.clone(), self.port));
        if host.parse::<IpAddr>().is_err() {
            look_up(&mut cluster, self.prefer_ipv4);
        }
        speak_http(&mut cluster, HttpVersion::Two);
        set.add_cluster(Draft::new(Origin::OpenTelemetry, cluster));
        let route = route::Route {
            r#match: prefix("/"),
            action: Some(route::route::Action::Route(to_cluster(name))),
            ..Default::default()
        };
        let table = route_table(String::new(), name.clone(), vec![route]);
        let manager = manager(name, host_itself(self.ipv6), table, vec![grpc_stats()]);
        let listener = ListenerDraft {
            message: listener::Listener {
                name: name.clone(),
                address: Some(pipe_address(self.socket.clone())),
                ..Default::default()
            },
            chains: vec![ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() }],
            ..Default::default()
        };
        set.add_listener(Draft::new(Origin::OpenTelemetry, listener));
    }
}

/// Labels that kuma-dp adds to all metrics: which proxy they are of. With unified names, the names of resources tell most of it.
///
/// Source: Kuma `pkg/mads/util.go`.
fn labels(dataplane: &DataplaneView, naming: Naming) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if let Some(workload) = dataplane.resource.label(WORKLOAD).filter(|workload| !workload.is_empty()) {
        labels.insert("kuma.workload".to_owned(), workload.to_owned());
    }
    if naming == Naming::Unified {
        return labels;
    }
    labels.extend(dataplane.tag_labels());
    let key = &dataplane.resource.key;
    labels.insert("mesh".to_owned(), key.mesh.clone());
    labels.insert("dataplane".to_owned(), key.name.clone());
    labels.insert("service".to_owned(), dataplane.spec.identifying_service().to_owned());
    labels
}
