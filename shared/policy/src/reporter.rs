//! What logs and traces say of the proxy that writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access_log::{Connection, Needs, TrafficDirection};
use crate::endpoint::Endpoint;
use crate::trace::Tracing;

/// Service that incoming connections come from: which one is not known.
const UNKNOWN: &str = "unknown";

/// What logs and traces say of the proxy that writes them, and where they go. Of the proxy it has what they need and nothing
/// else, because proxies share their listeners where this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reporter {
    /// Name of the mesh.
    pub mesh: Arc<str>,
    /// Service of the proxy: that of its first inbound, or of the gateway.
    pub service: Arc<str>,
    /// Address under which others know the proxy.
    pub address: Arc<str>,
    /// Path of the pipe at which kuma-dp reads logs to be sent on.
    pub pipe: Arc<str>,
    /// Names of the clusters of OpenTelemetry collectors that take logs.
    pub collectors: Arc<BTreeMap<Endpoint, String>>,
    /// How requests are traced; `None` when they are not.
    pub tracing: Option<Arc<Tracing>>,
}

impl Reporter {
    /// The same for logs that need no more than this; `None` when there are neither logs nor traces.
    pub fn limited_to(&self, logs: Option<Needs>) -> Option<Self> {
        if logs.is_none() && self.tracing.is_none() {
            return None;
        }
        let needs = logs.unwrap_or_default();
        let tells_service = needs.service || self.tracing.as_ref().is_some_and(|tracing| tracing.tells_service());
        let only = |needed: bool, text: &Arc<str>| if needed { text.clone() } else { Arc::default() };
        Some(Self {
            mesh: self.mesh.clone(),
            service: only(tells_service, &self.service),
            address: only(needs.address, &self.address),
            pipe: only(needs.pipe, &self.pipe),
            collectors: if needs.collectors { self.collectors.clone() } else { Arc::default() },
            tracing: self.tracing.clone(),
        })
    }

    /// Connections from the workload to somewhere.
    pub fn outgoing<'a>(&'a self, destination: &'a str) -> Connection<'a> {
        Connection {
            mesh: &self.mesh,
            source_service: &self.service,
            source_address: &self.address,
            destination_service: destination,
            direction: TrafficDirection::Outbound,
        }
    }

    /// Connections to the workload. That the source has the address of the proxy is Kuma's doing.
    pub fn incoming(&self) -> Connection<'_> {
        Connection {
            mesh: &self.mesh,
            source_service: UNKNOWN,
            source_address: &self.address,
            destination_service: &self.service,
            direction: TrafficDirection::Inbound,
        }
    }
}
