//! Validation of specifications: the rules beyond the schema, with the field paths and texts of Kuma.
//!
//! Policies selected by `targetRef` are validated where they are defined, not here. Some paths look odd
//! (`networking.transparentProxing`, `mtls.dpcert.rotation.expiration`, `logging.backends[0].config`); clients know them
//! that way. Source of rules and texts: Kuma `pkg/core/resources/apis/mesh/*_validator.go`.

use crate::core;
use crate::resource::Resource;
use crate::violation::Violations;

/// Validates the specification of a resource. Kinds without rules are valid.
///
/// The name and labels of the resource are not looked at, but for the display names that become host names.
pub fn validate(resource: &Resource) -> Violations {
    core::validate(resource)
}
