//! Validation of MeshTrafficPermission.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrafficpermission/api/v1alpha1/validator.go`.

use tandem_model::violation::Violations;

use super::schema::Spec;
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, list, service_clients, spec, spiffe_matches, target_deprecation, target_ref,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const FROM: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset];

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let (from, rules) = (list(&self.from), list(&self.rules));
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = TargetRules::kinds(TOP).inbound(!rules.is_empty() || !from.is_empty());
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        if !from.is_empty() && !rules.is_empty() {
            violations.add(&path, "field 'from' must be empty when 'rules' is defined");
        }
        if from.is_empty() && rules.is_empty() {
            violations.add(&path, "at least one of 'from' or 'rules' has to be defined");
        }
        for (index, rule) in rules.iter().enumerate() {
            let path = path.field("rules").index(index);
            let conf = &rule.default;
            // Clients of Kuma know the lists directly below the rule.
            let lists = [
                ("allow", list(&conf.allow)),
                ("allowWithShadowDeny", list(&conf.allow_with_shadow_deny)),
                ("deny", list(&conf.deny)),
            ];
            if lists.iter().all(|(_, matches)| matches.is_empty()) {
                let text = "at least one of 'allow', 'allowWithShadowDeny', 'deny' has to be defined";
                violations.add(&path, text);
            }
            for (name, matches) in lists {
                spiffe_matches(matches, &path.field(name), violations);
            }
        }
        for (index, item) in from.iter().enumerate() {
            let path = path.field("from").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(FROM), violations);
            if item.default.action.is_none() {
                violations.add(&path.field("default").field("action"), "must be defined");
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let clients = list(&self.from).iter().map(|item| &item.target_ref);
        target_deprecation(self.target_ref.as_ref()).into_iter().chain(service_clients(clients)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::refused;
    use serde_json::json;
    use tandem_model::kind::Kind::MeshTrafficPermission;

    #[test]
    fn violations() {
        refused(
            MeshTrafficPermission,
            json!({"targetRef": {"kind": "MeshGateway", "name": "g"}}),
            &[
                "spec.targetRef.kind: value 'MeshGateway' is not supported",
                "spec: at least one of 'from' or 'rules' has to be defined",
            ],
        );
        refused(
            MeshTrafficPermission,
            json!({
                "from": [{"targetRef": {"kind": "Mesh"}, "default": {}}],
                "rules": [
                    {"default": {}},
                    {"default": {"deny": [{"spiffeID": {"type": "Exact", "value": "backend"}}]}}
                ]
            }),
            &[
                "spec: field 'from' must be empty when 'rules' is defined",
                "spec.rules[0]: at least one of 'allow', 'allowWithShadowDeny', 'deny' has to be defined",
                "spec.rules[1].deny[0].spiffeID: must be a valid Spiffe ID",
                "spec.from[0].default.action: must be defined",
            ],
        );
        refused(
            MeshTrafficPermission,
            json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Maybe"}}]}),
            &["spec.from[0].default.action: in body should be one of [Allow Deny AllowWithShadowDeny]"],
        );
    }

    #[test]
    fn services_as_clients_are_deprecated() {
        let mut spec = json!({
            "targetRef": {"kind": "MeshSubset", "tags": {"a": "b"}},
            "from": [{"targetRef": {"kind": "MeshService", "name": "a"}, "default": {"action": "Allow"}}]
        });
        let checked = crate::check(MeshTrafficPermission, &mut spec);
        assert!(checked.violations.is_empty());
        assert_eq!(
            checked.warnings,
            [
                "MeshSubset value for 'targetRef.kind' is deprecated, use Dataplane with labels instead",
                "MeshService value for 'from[].targetRef.kind' is deprecated, use MeshSubset with 'kuma.io/service' \
                 instead",
            ]
        );
    }
}
