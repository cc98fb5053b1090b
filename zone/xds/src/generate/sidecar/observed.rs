//! What a sidecar tells of itself and its traffic: metrics, traces and access logs, to the backends of its mesh.

use std::sync::Arc;

use tandem_policy::legacy::traffic_trace::Tracing;

use super::super::observability::{self, Logging};
use super::super::outbounds::Address;
use super::super::prometheus::Endpoint;
use super::super::shape::is_ipv6;
use super::super::tracing::tracing;
use super::{Collector, Sidecar, infallible};

impl Sidecar<'_> {
    /// Adds the listener at which metrics are fetched.
    pub(super) fn metrics(&self, collector: &mut Collector<'_>, outbounds: &[Address]) {
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

    /// Adds the cluster to which spans are sent. The result says how requests are traced; `None` when they are not.
    pub(super) fn tracing(&self, collector: &mut Collector<'_>) -> Option<Arc<Tracing>> {
        let settings = observability::tracing(self.mesh, &self.legacy, collector)?;
        let prefer_ipv4 = !is_ipv6(self.dataplane.address());
        infallible(collector.own("tracing", (&settings, prefer_ipv4), |set| {
            tracing(set, &settings, prefer_ipv4);
            Ok(())
        }));
        Some(settings)
    }

    /// The access logs of its connections.
    pub(super) fn logging(&self) -> Logging<'_> {
        Logging::new(self.mesh, self.dataplane, &self.legacy.outbound, self.metadata)
    }
}
