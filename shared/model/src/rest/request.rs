//! What must hold between a body, the address it was sent to, and the control plane that got it.

use super::Document;
use super::{MESH, NAME, TYPE};
use crate::label::{self, LabelContext};
use crate::name;
use crate::resource::ResourceKey;
use crate::violation::{Path, Violations};

/// Checks name, type, mesh and labels of a body sent to the address of `target`, in the order of Kuma.
///
/// Source: Kuma `pkg/api-server/resource_endpoints.go` `validateResourceRequest`.
pub fn validate_request(body: &Document, target: &ResourceKey, context: &LabelContext) -> Violations {
    let key = &body.resource.key;
    let mut violations = Violations::none();
    violations.extend(same(NAME, &key.name, &target.name));
    if context.mode.is_federated_zone() {
        violations.extend(name::validate_length_with_zone(&context.zone, &key.name));
    }
    violations.extend(same(TYPE, &body.type_name, target.kind.name()));
    if target.kind.is_mesh_scoped() {
        violations.extend(same(MESH, &key.mesh, &target.mesh));
    }
    violations.extend(label::validate(key, &body.resource.labels, context));
    violations.extend(name::validate_name(&key.name));
    if target.kind.is_mesh_scoped() {
        violations.extend(name::validate_mesh_name(&key.mesh));
    }
    violations
}

fn same(field: &str, sent: &str, wanted: &str) -> Violations {
    if sent == wanted {
        return Violations::none();
    }
    Violations::one(&Path::new(field), format!("{field} from the URL has to be the same as in body"))
}
