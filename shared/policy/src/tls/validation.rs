//! Validation of MeshTLS.
//!
//! Source: Kuma `pkg/plugins/policies/meshtls/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, Spec, TlsVersion};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, from_deprecation, list, spec, target_deprecation, target_ref, top_kind,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, Dataplane];

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
        let top = top_kind(self.target_ref.as_ref());
        for (index, item) in rules.iter().enumerate() {
            conf(&item.default, top, &path.field("rules").index(index).field("default"), violations);
        }
        for (index, item) in from.iter().enumerate() {
            let path = path.field("from").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(&[Mesh]), violations);
            conf(&item.default, top, &path.field("default"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let from = from_deprecation(!list(&self.from).is_empty());
        from.into_iter().chain(target_deprecation(self.target_ref.as_ref())).collect()
    }
}

fn conf(conf: &Conf, top: TargetKind, path: &Path, violations: &mut Violations) {
    if !list(&conf.tls_ciphers).is_empty() && top != Mesh {
        let text = "tlsCiphers can only be defined with top level targetRef kind: Mesh";
        violations.add(&path.field("tlsCiphers"), text);
    }
    let Some(versions) = &conf.tls_version else { return };
    let path = path.field("tlsVersion");
    if top != Mesh {
        violations.add(&path, "tlsVersion can only be defined with top level targetRef kind: Mesh");
    } else if versions.max != TlsVersion::Auto && versions.min > versions.max {
        violations.add(&path.field("min"), "min version must be lower than max");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshTLS;

    #[test]
    fn defaults_are_applied() {
        let mut spec = json!({"rules": [{"default": {"tlsVersion": {"max": "TLS13"}, "mode": "Strict"}}]});
        assert_eq!(check(MeshTLS, &mut spec), "");
        assert_eq!(spec["rules"][0]["default"]["tlsVersion"], json!({"min": "TLSAuto", "max": "TLS13"}));
    }

    #[test]
    fn violations() {
        refused(
            MeshTLS,
            json!({
                "targetRef": {"kind": "Dataplane"},
                "rules": [{"default": {
                    "tlsCiphers": ["ECDHE-RSA-AES128-GCM-SHA256"], "tlsVersion": {"min": "TLS13", "max": "TLS12"}}}]
            }),
            &[
                "spec.rules[0].default.tlsCiphers: tlsCiphers can only be defined with top level targetRef kind: Mesh",
                "spec.rules[0].default.tlsVersion: tlsVersion can only be defined with top level targetRef kind: Mesh",
            ],
        );
        refused(
            MeshTLS,
            json!({"rules": [{"default": {"tlsVersion": {"min": "TLS13", "max": "TLS12"}}}]}),
            &["spec.rules[0].default.tlsVersion.min: min version must be lower than max"],
        );
    }
}
