//! What proxies tell of their traffic to the logging and tracing backends of their mesh.
//!
//! Source: Kuma `pkg/xds/context/context.go` (backends that do not exist are passed over), `pkg/xds/generator`.

use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_policy::legacy;
use tandem_policy::legacy::traffic_log::{AccessLog, Connection, TrafficDirection};
use tandem_policy::legacy::traffic_trace::Tracing;

use super::collect::Collector;
use crate::index::{DataplaneView, MeshView};
use crate::metadata::ProxyMetadata;

/// The access logs of a proxy.
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
        let key = &dataplane.resource.key;
        let pipe = metadata.socket(&format!("kuma-al-{}-{}", key.name, key.mesh));
        Self { mesh, dataplane, policies, pipe }
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
        let networking = self.dataplane.spec.networking.as_ref();
        let advertised = networking.map_or("", |networking| &networking.advertised_address);
        let connection = Connection {
            mesh: &self.mesh.name,
            source_service: self.dataplane.spec.identifying_service(),
            source_address: if advertised.is_empty() { self.dataplane.address() } else { advertised },
            destination_service: destination,
            direction,
        };
        match AccessLog::of(&self.mesh.spec, policy, &connection, &self.pipe) {
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
    match Tracing::of(&mesh.spec, policies.traffic_trace.as_ref()?) {
        Ok(tracing) => Some(Arc::new(tracing)),
        Err(reason) => {
            collector.warn(&[reason]);
            None
        }
    }
}
