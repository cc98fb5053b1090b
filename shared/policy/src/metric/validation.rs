//! Validation of MeshMetric.
//!
//! Source: Kuma `pkg/plugins/policies/meshmetric/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Backend, BackendType, Selector, SelectorType, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{TargetRules, Validate, is_url, list, spec, target_deprecation, target_ref};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, MeshGateway, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, Dataplane, MeshServiceSubset];

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
        let path = path.field("default");
        if let Some(profiles) = self.default.sidecar.as_ref().and_then(|sidecar| sidecar.profiles.as_ref()) {
            let path = path.field("sidecar").field("profiles");
            selectors(list(&profiles.exclude), &path.field("exclude"), violations);
            selectors(list(&profiles.include), &path.field("include"), violations);
        }
        // Clients of Kuma know the elements of both lists with this further member in their path.
        for (index, application) in list(&self.default.applications).iter().enumerate() {
            port(application.port, &path.field("applications").field("application").index(index), violations);
        }
        for (index, item) in list(&self.default.backends).iter().enumerate() {
            backend(item, &path.field("backends").field("backend").index(index), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

fn selectors(selectors: &[Selector], path: &Path, violations: &mut Violations) {
    for (index, selector) in selectors.iter().enumerate() {
        if selector.kind == SelectorType::Regex && regex::Regex::new(&selector.matches).is_err() {
            violations.add(&path.index(index).field("match"), "invalid regex");
        }
    }
}

fn port(port: u32, path: &Path, violations: &mut Violations) {
    if !(1..=65535).contains(&port) {
        violations.add(path, "port must be a valid (1-65535)");
    }
}

fn backend(backend: &Backend, path: &Path, violations: &mut Violations) {
    match backend.kind {
        BackendType::Prometheus => match &backend.prometheus {
            None => violations.add(&path.field("prometheus"), "must be defined"),
            Some(endpoint) => port(endpoint.port, &path.field("port"), violations),
        },
        BackendType::OpenTelemetry => {
            let path = path.field("openTelemetry");
            let Some(collector) = &backend.open_telemetry else { return violations.add(&path, "must be defined") };
            let path = path.field("endpoint");
            if !is_url(&collector.endpoint) {
                violations.add(&path, "must be a valid url");
            }
            if ["http://", "https://"].iter().any(|scheme| collector.endpoint.starts_with(scheme)) {
                violations.add(&path, "must not use schema");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshMetric;

    #[test]
    fn defaults_are_applied() {
        let mut spec = json!({"default": {
            "applications": [{"port": 80}], "backends": [{"type": "Prometheus", "prometheus": {"tls": {}}}]}});
        assert_eq!(check(MeshMetric, &mut spec), "");
        let expected = json!({
            "applications": [{"path": "/metrics", "port": 80}],
            "backends": [{"type": "Prometheus", "prometheus":
                {"port": 5670, "path": "/metrics", "tls": {"mode": "Disabled"}}}]
        });
        assert_eq!(spec["default"], expected);
    }

    #[test]
    fn violations() {
        refused(
            MeshMetric,
            json!({"default": {
                "sidecar": {"profiles": {"include": [{"type": "Regex", "match": "("}]}},
                "applications": [{"port": 0}],
                "backends": [
                    {"type": "Prometheus"},
                    {"type": "OpenTelemetry", "openTelemetry": {"endpoint": "http://otel:4317"}}
                ]
            }}),
            &[
                "spec.default.sidecar.profiles.include[0].match: invalid regex",
                "spec.default.applications.application[0]: port must be a valid (1-65535)",
                "spec.default.backends.backend[0].prometheus: must be defined",
                "spec.default.backends.backend[1].openTelemetry.endpoint: must not use schema",
            ],
        );
    }
}
