//! What proxies are served with.

use std::sync::Arc;
use std::time::Duration;

use tandem_admission::Admission;
use tandem_store::SharedStore;
use tandem_xds::Cache;
use tokio_util::sync::CancellationToken;

use super::authentication::Authentication;
use super::insight::Insights;
use super::registry::Registry;
use crate::envoy_admin::EnvoyAdmin;
use crate::identity::Identities;
use crate::left_out::LeftOut;
use crate::mesh_state::CurrentSnapshot;
use crate::workload_identity::WorkloadIdentities;

/// What all sessions share.
pub struct ProxyContext {
    /// The store.
    pub store: SharedStore,
    /// Rules for resources that proxies bring.
    pub admission: Arc<Admission>,
    /// Rules for tokens.
    pub authentication: Authentication,
    /// Who is connected.
    pub registry: Arc<Registry>,
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
    /// Issuer of the certificates of admin listeners.
    pub envoy_admin: EnvoyAdmin,
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
}
