//! What proxies are served with.

use std::sync::Arc;
use std::time::Duration;

use tandem_admission::Admission;
use tandem_store::SharedStore;
use tandem_xds::Cache;
use tokio_util::sync::CancellationToken;

use super::arrivals::Arrivals;
use super::authentication::Authentication;
use super::insight::Insights;
use super::registry::Registry;
use super::returning::Returning;
use crate::envoy_admin::EnvoyAdmin;
use crate::identity::Identities;
use crate::issuing::Issuing;
use crate::left_out::LeftOut;
use crate::mesh_state::CurrentSnapshot;
use crate::refusals::Refusals;
use crate::workload_identity::WorkloadIdentities;

/// What all sessions share.
pub struct ProxyContext {
    /// The store.
    pub store: SharedStore,
    /// Rules for resources that proxies bring.
    pub admission: Arc<Admission>,
    /// Rules for tokens.
    pub authentication: Authentication,
    /// Who is let in next.
    pub arrivals: Arc<Arrivals>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// What proxies left behind that may come back.
    pub returning: Arc<Returning>,
    /// Writer of insights.
    pub insights: Arc<Insights>,
    /// State of the meshes.
    pub snapshot: CurrentSnapshot,
    /// Parts of configurations that proxies share.
    pub cache: Cache,
    /// Who wants to know what is left out of configurations.
    pub left_out: LeftOut,
    /// Issuer of certificates.
    pub identities: Identities,
    /// Issuer of certificates from MeshIdentities.
    pub workload_identities: WorkloadIdentities,
    /// Makes certificates.
    pub issuing: Issuing,
    /// Issuer of the certificates of admin listeners.
    pub envoy_admin: EnvoyAdmin,
    /// Counters of who is turned away.
    pub refusals: Refusals,
    /// Settings.
    pub settings: ProxySettings,
    /// Cancelled when this control plane stops.
    pub shutdown: CancellationToken,
}

/// Settings of sessions.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// This instance.
    pub instance_id: String,
    /// How long the resource of a proxy stays after it disconnected.
    pub deregistration_delay: Duration,
    /// What a stream may use up.
    pub limits: StreamLimits,
}

/// What a stream of a proxy may use up.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// How long a client may take for its first request (`dpServer.limits.firstRequestTimeout`).
    pub first_request: Duration,
    /// Bytes in which a proxy may describe itself and the resource it brings (`dpServer.limits.maxNodeSize`).
    pub node: usize,
    /// Bytes of the names that a stream may ask for (`dpServer.limits.maxSubscriptionSize`).
    pub subscription: usize,
}

/// The defaults of the configuration.
impl Default for StreamLimits {
    fn default() -> Self {
        Self { first_request: Duration::from_secs(30), node: 1 << 20, subscription: 8 << 20 }
    }
}
