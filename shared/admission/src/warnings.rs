//! What is accepted but should be written differently; returned with the answer to a write.
//!
//! Texts: Kuma `pkg/core/resources/apis/{mesh,system}/deprecated.go` and `apis/meshtrust/api/v1alpha1/deprecated.go`.
//! Policies bring their own.

use tandem_model::{Kind, Resource, Spec, name};

/// The warnings that a write of `resource` returns, for kinds that are no policies.
pub(crate) fn of(resource: &Resource) -> Vec<String> {
    let mut warnings: Vec<String> = name::dns_warning(resource.kind(), resource.display_name()).into_iter().collect();
    if let (Kind::MeshTrust, Spec::Json(spec)) = (resource.kind(), &resource.spec)
        && spec.get("origin").is_some()
    {
        warnings.push("setting spec.origin field is deprecated".to_owned());
    }
    warnings
}
