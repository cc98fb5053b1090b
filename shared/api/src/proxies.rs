//! What the API asks about proxies; the program that serves the API provides the answers.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use tandem_model::{AdminOperation, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;

/// Where answers about proxies come from.
#[derive(Clone)]
pub struct Proxies {
    /// Asks running Envoys.
    pub envoys: Arc<dyn EnvoyAdmin>,
    /// Makes configurations; `None` on a control plane that makes none.
    pub configurations: Option<Arc<dyn ProxyConfigurations>>,
}

/// Asks the administration interfaces of Envoys.
#[async_trait]
pub trait EnvoyAdmin: Send + Sync + 'static {
    /// What the Envoy of `proxy`, a Dataplane, ZoneIngress or ZoneEgress, answered.
    ///
    /// # Errors
    /// See [`EnvoyAdminError`].
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, EnvoyAdminError>;
}

/// Why an Envoy gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvoyAdminError {
    /// The zone of the proxy cannot be asked (yet); the text is for the client.
    NotConnected(String),
    /// The question did not come back from the zone with an answer; the text is for the client.
    Unanswered(String),
    /// Envoy cannot be reached or answers with an error; the text is for the log.
    Failed(String),
}

/// Makes the configuration of a proxy as it would be sent now.
pub trait ProxyConfigurations: Send + Sync + 'static {
    /// The resources of a Dataplane in JSON: by type URL, then by name. `insight` tells what the proxy said of itself.
    /// Shadow policies take effect only if `with_shadow`. Keys and certificates are replaced by placeholders.
    ///
    /// # Errors
    /// See [`ProxyConfigurationError`].
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError>;

    /// The resources that are left out of every configuration, wholly or in part, with the reasons.
    fn left_out(&self) -> Vec<(ResourceKey, Vec<String>)> {
        Vec::new()
    }
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyConfigurationError {
    /// There is no such Dataplane.
    NotFound,
    /// It cannot be made; the text is for the log.
    Failed(String),
}
