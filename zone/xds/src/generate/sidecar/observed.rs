//! What a sidecar tells of itself and its traffic: metrics, traces and access logs.

use std::sync::Arc;

use tandem_policy::access_log::{AccessLog, TrafficDirection};
use tandem_policy::envoy::{Draft, Origin};
use tandem_policy::legacy::PASS_THROUGH;
use tandem_policy::trace::Tracing;

use super::super::dynconf::Document;
use super::super::mesh_metric::Metrics;
use super::super::observability::{self, Logging};
use super::super::outbounds::Address;
use super::super::prometheus::Endpoint;
use super::super::shape::is_ipv6;
use super::super::tracing::{log_collector, span_collector};
use super::{Collector, Sidecar, infallible};

impl Sidecar<'_> {
    /// Adds the listeners at which metrics are fetched, and ways on which they are sent. The result is what kuma-dp is told of
    /// them. What a MeshMetric says replaces what the mesh says.
    pub(super) fn metrics(&self, collector: &mut Collector<'_>, outbounds: &[Address]) -> Option<Document> {
        let Self { dataplane, metadata, naming, .. } = *self;
        let Some(rules) = &self.policies.own.metric else {
            self.metrics_of_mesh(collector, outbounds);
            return None;
        };
        let warn = |warning| collector.left_out(&rules.policy, warning);
        let metrics = Metrics::of(rules, dataplane, metadata, naming, warn);
        infallible(collector.own("metrics of policies", &metrics, |set| {
            metrics.generate(set);
            Ok(())
        }));
        Some(metrics.document)
    }

    /// Adds the listener at which metrics are fetched that the mesh or the Dataplane asks for.
    fn metrics_of_mesh(&self, collector: &mut Collector<'_>, outbounds: &[Address]) {
        let Self { mesh, dataplane, metadata, credentials, .. } = self;
        let warn = |warning| collector.warn(&[warning]);
        let Some(endpoint) = Endpoint::of(mesh, dataplane, metadata, outbounds, credentials, warn) else { return };
        if let Some(credential) = endpoint.credential() {
            collector.secured_by(credential);
        }
        infallible(collector.own("metrics", &endpoint, |set| {
            endpoint.generate(set);
            Ok(())
        }));
    }

    /// Adds the cluster to which spans are sent as the mesh says. The result says how requests are traced; `None` when they are not.
    pub(super) fn tracing(&self, collector: &mut Collector<'_>) -> Option<Arc<Tracing>> {
        let settings = observability::tracing(self.mesh, &self.legacy, collector)?;
        let prefer_ipv4 = !is_ipv6(self.dataplane.address());
        infallible(collector.own("tracing", (&settings, prefer_ipv4), |set| {
            set.add_cluster(Draft::new(Origin::Tracing, span_collector(&settings, prefer_ipv4)));
            Ok(())
        }));
        Some(settings)
    }

    /// Adds the clusters to which logs and spans are sent as MeshAccessLogs and a MeshTrace say.
    pub(super) fn collectors(&self, collector: &mut Collector<'_>) {
        let prefer_ipv4 = !is_ipv6(self.dataplane.address());
        for of in self.reporting.log_collectors() {
            infallible(collector.own("log collector", (of, prefer_ipv4), |set| {
                let (endpoint, name) = of;
                set.add_cluster(Draft::new(Origin::MeshAccessLog, log_collector(name, endpoint, prefer_ipv4)));
                Ok(())
            }));
        }
        if let Some(tracing) = self.reporting.tracing() {
            infallible(collector.own("span collector", (tracing, prefer_ipv4), |set| {
                set.add_cluster(Draft::new(Origin::MeshTrace, span_collector(tracing, prefer_ipv4)));
                Ok(())
            }));
        }
    }

    /// The logs of connections that go on as they come. They call the destination `destination`; `direction` is what older logs say.
    pub(super) fn passthrough_logs(
        &self,
        destination: &str,
        direction: TrafficDirection,
        collector: &mut Collector<'_>,
    ) -> Vec<AccessLog> {
        let older = self.logging().of(PASS_THROUGH, destination, direction, collector);
        let newer = self
            .reporting
            .outgoing
            .iter()
            .flat_map(|reporter| tandem_policy::passthrough_logs(&self.outbound_policies, reporter, destination));
        older.into_iter().chain(newer).collect()
    }

    /// The access logs of its connections at backends of its mesh.
    pub(super) fn logging(&self) -> Logging<'_> {
        Logging::new(self.mesh, self.dataplane, &self.legacy.outbound, self.metadata)
    }
}
