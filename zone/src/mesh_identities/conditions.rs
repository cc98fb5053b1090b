//! How far a MeshIdentity got, as conditions.

use tandem_model::core::common::{Condition, ConditionStatus};
use tandem_model::spiffe::{PARTIALLY_READY, READY};

use ConditionStatus::{False, True};

/// Reason of the condition `Provider` when it is not known.
pub(super) const NOT_FOUND: &str = "ProviderNotFoundError";
/// Reason of the condition `Provider` when the authority is not there.
pub(super) const INITIALIZATION: &str = "ProviderInitializationError";
/// Reason of the condition `Provider` when the authority is not acceptable.
pub(super) const VALIDATION: &str = "ProviderValidationError";

/// How far a MeshIdentity got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The services of the mesh are not MeshServices only.
    NotExclusive,
    /// Another product issues the certificates.
    IdentitiesOnly,
    /// There is no acceptable authority.
    Failed { reason: &'static str, message: String },
    /// There is; and what became of the MeshTrust, if there is to be one.
    Provided { trust: Option<Result<(), String>> },
}

/// The conditions of a MeshIdentity; the last one sums them up.
pub(super) fn conditions(outcome: Outcome) -> Vec<Condition> {
    let mut conditions = match outcome {
        Outcome::NotExclusive => vec![condition(
            "DependenciesReady",
            False,
            "MeshServicesDisabled",
            "MeshIdentity requires MeshServices to be enabled on the mesh. To enable, set `spec.meshServices.mode: \
             Exclusive` on the mesh.",
        )],
        Outcome::IdentitiesOnly => {
            let only = "Providing only SpiffeIDs for services.";
            return vec![
                condition("SpiffeIDProvider", True, "SpiffeIDProvided", only),
                condition(READY, False, PARTIALLY_READY, "Running in SpiffeID providing only mode."),
            ];
        }
        Outcome::Failed { reason, message } => vec![condition("Provider", False, reason, message)],
        Outcome::Provided { trust } => {
            let provided = condition("Provider", True, "ProviderInitialized", "Provider successfully initialized");
            let trust = trust.map(|outcome| match outcome {
                Ok(()) => {
                    let text = "MeshTrust has been successfully created";
                    condition("MeshTrustCreated", True, "MeshTrustCreated", text)
                }
                Err(error) => condition("MeshTrustCreated", False, "MeshTrustCreationError", error),
            });
            std::iter::once(provided).chain(trust).collect()
        }
    };
    conditions.push(if conditions.iter().all(|condition| condition.status == True) {
        condition(READY, True, "Ready", "Successfully initialized")
    } else {
        condition(READY, False, "Failure", "One of initialization steps failed")
    });
    conditions
}

fn condition(kind: &str, status: ConditionStatus, reason: &str, message: impl Into<String>) -> Condition {
    Condition { kind: kind.to_owned(), status, reason: reason.to_owned(), message: message.into() }
}
