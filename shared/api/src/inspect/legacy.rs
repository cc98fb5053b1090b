//! Policies of the older generation, read for inspection.

use tandem_model::Kind;
use tandem_policy::legacy::LegacyPolicies;
use tandem_store::Store;

use super::mesh::list;
use crate::problem::Problem;

/// The policies of some kinds in a mesh; those that do not decode are left out and logged.
///
/// # Errors
/// 500 under `title` when the store cannot be read.
pub async fn legacy_policies(
    store: &dyn Store,
    kinds: &[Kind],
    mesh: &str,
    title: &str,
) -> Result<LegacyPolicies, Problem> {
    let mut policies = LegacyPolicies::default();
    for kind in kinds {
        for resource in list(store, *kind, mesh, title).await? {
            if let Err(error) = policies.add(resource) {
                tracing::warn!(%error, "inspection leaves out a resource that does not decode");
            }
        }
    }
    Ok(policies)
}
