//! Asks the Envoys of zones for the HTTP API.

use async_trait::async_trait;
use bytes::Bytes;
use tandem_api::{EnvoyAdmin, EnvoyAdminError};
use tandem_kds::global::{AskError, Envoys};
use tandem_model::{AdminOperation, Resource};

/// The Envoys of all connected zones.
pub struct ZoneEnvoys(pub Envoys);

#[async_trait]
impl EnvoyAdmin for ZoneEnvoys {
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, EnvoyAdminError> {
        self.0.ask(proxy, operation).await.map_err(|error| explain(error, operation))
    }
}

/// The texts that clients know: Kuma `pkg/intercp/envoyadmin/forwarding_kds_client.go`,
/// `pkg/kds/envoyadmin/kds_client.go`.
fn explain(error: AskError, operation: AdminOperation) -> EnvoyAdminError {
    let (name, request) = match operation {
        AdminOperation::ConfigDump { .. } => ("XDS Config Dump", "XDSConfigRequest"),
        AdminOperation::Stats { .. } => ("Stats", "StatsRequest"),
        AdminOperation::Clusters { .. } => ("Clusters", "ClustersRequest"),
    };
    match error {
        AskError::Store(error) => EnvoyAdminError::Failed(error.to_string()),
        AskError::Offline => EnvoyAdminError::Unanswered(format!("couldn't execute {name} operation, zone is offline")),
        AskError::NotConnected(_) => {
            EnvoyAdminError::NotConnected(format!("stream to execute {name} operations is not yet connected"))
        }
        error
        @ (AskError::NoZone(_) | AskError::Elsewhere { .. } | AskError::Timeout { .. } | AskError::Refused(_)) => {
            EnvoyAdminError::Unanswered(format!("could not send {request}: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_clients_know() {
        let dump = AdminOperation::ConfigDump { include_eds: false };
        let stats = AdminOperation::Stats { json: false, used_only: true };
        let unanswered = |text: &str| EnvoyAdminError::Unanswered(text.to_owned());
        assert_eq!(
            explain(AskError::Offline, dump),
            unanswered("couldn't execute XDS Config Dump operation, zone is offline")
        );
        assert_eq!(
            explain(AskError::Refused("no such proxy".to_owned()), dump),
            unanswered("could not send XDSConfigRequest: no such proxy")
        );
        assert_eq!(
            explain(AskError::NotConnected("zone-1".to_owned()), stats),
            EnvoyAdminError::NotConnected("stream to execute Stats operations is not yet connected".to_owned())
        );
    }
}
