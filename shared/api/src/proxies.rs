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
    /// Envoy cannot be reached or answers with an error; the text is for the client.
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

    /// Configurations in two states: after some changes of policies that nobody made, and after others. `None` where that is not
    /// known.
    fn suppose(&self, before: &[SupposedChange], after: &[SupposedChange]) -> Option<Box<dyn Supposition>> {
        let _ = (before, after);
        None
    }

    /// The resources that are left out of every configuration, wholly or in part, with the reasons.
    fn left_out(&self) -> Vec<(ResourceKey, Vec<String>)> {
        Vec::new()
    }
}

/// A change that nobody made: a key with what would be stored, or without anything for a deletion.
pub type SupposedChange = (ResourceKey, Option<Arc<Resource>>);

/// Configurations in two states of the same moment.
pub trait Supposition: Send + Sync {
    /// The proxies whose configuration can differ: Dataplanes and ZoneEgresses, sorted.
    fn concerned(&self) -> Vec<ResourceKey>;

    /// The configuration of a Dataplane in the first state, as [`ProxyConfigurations::make`] has it.
    ///
    /// # Errors
    /// See [`ProxyConfigurationError`].
    fn before(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
    ) -> Result<Map<String, Value>, ProxyConfigurationError>;

    /// The resources of a proxy that differ, in the same form; `None` when none do. `insight` tells what a Dataplane said of itself.
    ///
    /// # Errors
    /// See [`ProxyConfigurationError`].
    fn compare(
        &self,
        proxy: &ResourceKey,
        insight: &DataplaneInsight,
    ) -> Result<Option<Difference>, ProxyConfigurationError>;
}

/// The resources of a proxy that differ. Types of which the other side has resources are there on both, so that nobody takes a
/// resource for the only one of its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// In the first state.
    pub before: Map<String, Value>,
    /// In the second state.
    pub after: Map<String, Value>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyConfigurationError {
    /// There is no such Dataplane.
    #[error("there is no such proxy")]
    NotFound,
    /// It cannot be made; the text is for the log.
    #[error("{0}")]
    Failed(String),
}
