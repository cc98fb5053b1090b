//! What proxies tell of their traffic to collectors of logs and spans: to those of their mesh, and to those that policies name.
//!
//! Source: Kuma `pkg/xds/context/context.go` (backends that do not exist are passed over), `pkg/xds/generator`,
//! `pkg/plugins/policies/{meshaccesslog,meshtrace}/plugin`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_policy::access_log::{self, AccessLog, Connection, Needs, TrafficDirection};
use tandem_policy::endpoint::Endpoint;
use tandem_policy::legacy::traffic_log::access_log;
use tandem_policy::reporter::Reporter;
use tandem_policy::trace::Tracing;
use tandem_policy::{InboundPolicies, ProxyPolicies, legacy};

use super::collect::Collector;
use super::names::Naming;
use crate::index::{DataplaneView, MeshView};
use crate::metadata::ProxyMetadata;

/// Path at which kuma-dp reads logs to be sent on.
fn pipe(dataplane: &DataplaneView, metadata: &ProxyMetadata) -> String {
    let key = &dataplane.resource.key;
    metadata.socket(&format!("kuma-al-{}-{}", key.name, key.mesh))
}

/// The access logs of a proxy at backends of its mesh.
#[derive(Debug)]
pub(crate) struct Logging<'a> {
    mesh: &'a MeshView,
    dataplane: &'a DataplaneView,
    policies: &'a legacy::OutboundPolicies,
    /// Path at which kuma-dp reads logs to be sent on.
    pipe: String,
}

impl<'a> Logging<'a> {
    /// Those of a proxy with these policies.
    pub fn new(
        mesh: &'a MeshView,
        dataplane: &'a DataplaneView,
        policies: &'a legacy::OutboundPolicies,
        metadata: &ProxyMetadata,
    ) -> Self {
        Self { mesh, dataplane, policies, pipe: pipe(dataplane, metadata) }
    }

    /// The log of connections to a service, or to [`legacy::PASS_THROUGH`]; it calls their destination `destination`. `None` when
    /// they are not logged.
    pub fn of(
        &self,
        service: &str,
        destination: &str,
        direction: TrafficDirection,
        collector: &mut Collector<'_>,
    ) -> Option<AccessLog> {
        let policy = self.policies.traffic_logs.of(service)?;
        let connection = Connection {
            mesh: &self.mesh.name,
            source_service: self.dataplane.spec.identifying_service(),
            source_address: self.dataplane.advertised_address(),
            destination_service: destination,
            direction,
        };
        match access_log(&self.mesh.spec, policy, &connection, &self.pipe) {
            Ok(log) => Some(log),
            Err(reason) => {
                collector.warn(&[reason]);
                None
            }
        }
    }
}

/// How the requests of a proxy with these policies are traced; `None` when they are not.
pub(crate) fn tracing(
    mesh: &MeshView,
    policies: &legacy::ProxyPolicies,
    collector: &mut Collector<'_>,
) -> Option<Arc<Tracing>> {
    match legacy::traffic_trace::tracing(&mesh.spec, policies.traffic_trace.as_ref()?) {
        Ok(tracing) => Some(Arc::new(tracing)),
        Err(reason) => {
            collector.warn(&[reason]);
            None
        }
    }
}

/// What the logs and traces that MeshAccessLogs and a MeshTrace ask for say of a proxy.
#[derive(Debug)]
pub(crate) struct Reporting {
    /// All there is to say; `None` when nobody asks.
    all: Option<Reporter>,
    /// What those of outgoing traffic say.
    pub outgoing: Option<Arc<Reporter>>,
}

impl Reporting {
    /// That of a proxy with these policies.
    pub fn of(
        mesh: &MeshView,
        dataplane: &DataplaneView,
        policies: &ProxyPolicies,
        metadata: &ProxyMetadata,
        naming: Naming,
        collector: &mut Collector<'_>,
    ) -> Self {
        let inbounds = (0..dataplane.spec.inbounds().len()).map(|index| policies.inbound(index));
        let incoming = inbounds.filter_map(|policies| policies.access_log.as_ref());
        let outgoing = policies.outbound.access_logs.values();
        let endpoints = incoming.clone().chain(outgoing.clone()).flat_map(access_log::Conf::collectors);
        let tracing = policies.own.trace.as_ref().and_then(|rules| {
            let tracing = Tracing::of_policy(&rules.conf, |kind, written| naming.trace_collector(kind, written));
            tracing.unwrap_or_else(|reason| {
                rules.policies.iter().for_each(|policy| collector.left_out(policy, &reason));
                None
            })
        });
        let is_logged = Needs::of(incoming.clone().chain(outgoing.clone())).is_some();
        if !is_logged && tracing.is_none() {
            return Self { all: None, outgoing: None };
        }
        let all = Reporter {
            mesh: mesh.name.clone(),
            service: dataplane.spec.identifying_service().into(),
            address: dataplane.advertised_address().into(),
            pipe: pipe(dataplane, metadata).into(),
            collectors: Arc::new(log_collectors(endpoints, naming)),
            tracing: tracing.map(Arc::new),
        };
        let outgoing = all.limited_to(Needs::of(outgoing)).map(Arc::new);
        Self { all: Some(all), outgoing }
    }

    /// What those of an inbound with these policies say.
    pub fn incoming(&self, policies: &InboundPolicies) -> Option<Arc<Reporter>> {
        self.all.as_ref()?.limited_to(Needs::of(&policies.access_log)).map(Arc::new)
    }

    /// OpenTelemetry collectors of logs, with the names of their clusters.
    pub fn log_collectors(&self) -> impl Iterator<Item = (&Endpoint, &String)> {
        self.all.iter().flat_map(|reporter| reporter.collectors.iter())
    }

    /// How requests are traced; `None` when they are not.
    pub fn tracing(&self) -> Option<&Arc<Tracing>> {
        self.all.as_ref()?.tracing.as_ref()
    }
}

/// Names of the clusters of collectors, numbered in the order in which policies name them. Kuma numbers them as it comes by listeners
/// that use them. What is no collector is left out; [`ProxyPolicies::warnings`] tells.
fn log_collectors<'a>(endpoints: impl Iterator<Item = &'a str>, naming: Naming) -> BTreeMap<Endpoint, String> {
    let mut names = BTreeMap::new();
    for endpoint in endpoints.filter_map(|endpoint| Endpoint::open_telemetry(endpoint).ok()) {
        let name = naming.log_collector(names.len(), &endpoint.host, endpoint.port);
        names.entry(endpoint).or_insert(name);
    }
    names
}
