//! Validation of MeshTCPRoute.
//!
//! Source: Kuma `pkg/plugins/policies/meshtcproute/api/v1alpha1/validator.go`.

use tandem_model::violation::Violations;

use super::schema::Spec;
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    BACKENDS, TargetRules, Validate, backend_ref, list, spec, target_deprecation, target_ref, top_kind,
};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const TO: &[TargetKind] = &[MeshService, MeshExternalService, MeshMultiZoneService];

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = match role {
                Role::System => TargetRules::kinds(TOP_OF_SYSTEM).with_listener_tags(),
                _ => TargetRules::kinds(TOP_OF_OTHERS),
            };
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        let top = top_kind(self.target_ref.as_ref());
        let allowed = TargetRules::kinds(if top == MeshGateway { &[Mesh] } else { TO });
        for (index, item) in list(&self.to).iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            for (index, rule) in item.rules.iter().enumerate() {
                let path = path.field("rules").index(index).field("default").field("backendRefs");
                let backends = list(&rule.default.backend_refs);
                if backends.is_empty() {
                    violations.add(&path, "must be defined");
                }
                for (index, backend) in backends.iter().enumerate() {
                    backend_ref(backend, &path.index(index), &TargetRules::kinds(BACKENDS), violations);
                }
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::refused;
    use serde_json::json;
    use tandem_model::kind::Kind::MeshTCPRoute;

    #[test]
    fn violations() {
        refused(MeshTCPRoute, json!({"to": []}), &["spec.to: in body should have at least 1 items"]);
        let service = json!({"kind": "MeshService", "name": "a"});
        refused(
            MeshTCPRoute,
            json!({"to": [{"targetRef": service, "rules": [{"default": {}}, {"default": {"backendRefs": [service]}}]}]}),
            &["spec.to[0].rules: in body should have at most 1 items"],
        );
    }
}
