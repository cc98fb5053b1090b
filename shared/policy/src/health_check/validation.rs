//! Validation of MeshHealthCheck.
//!
//! Source: Kuma `pkg/plugins/policies/meshhealthcheck/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, external_service_only_from_mesh, greater_than_zero, is_file_path, list, percentage, spec,
    status_code, target_deprecation, target_ref, top_kind,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshMultiZoneService];

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = TargetRules::kinds(TOP).with_listener_tags();
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        let top = top_kind(self.target_ref.as_ref());
        for (index, item) in list(&self.to).iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(TO), violations);
            external_service_only_from_mesh(item.target_ref.kind, top, &path, violations);
            conf(&item.default, &path.field("default"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let thresholds = list(&self.to).iter().filter(|item| item.default.healthy_panic_threshold.is_some());
        let moved = thresholds.map(|_| {
            "healthyPanicThreshold for 'to[].default' is deprecated. The setting has been moved to MeshCircuitBreaker \
             policy, please use MeshCircuitBreaker policy instead."
                .to_owned()
        });
        target_deprecation(self.target_ref.as_ref()).into_iter().chain(moved).collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    let threshold = |name: &str, value: Option<i32>, violations: &mut Violations| {
        if value.is_some_and(|value| value <= 0) {
            violations.add(&path.field(name), "must be greater than zero when defined");
        }
    };
    greater_than_zero(&path.field("interval"), conf.interval, violations);
    greater_than_zero(&path.field("timeout"), conf.timeout, violations);
    threshold("unhealthyThreshold", conf.unhealthy_threshold, violations);
    threshold("healthyThreshold", conf.healthy_threshold, violations);
    greater_than_zero(&path.field("initialJitter"), conf.initial_jitter, violations);
    greater_than_zero(&path.field("intervalJitter"), conf.interval_jitter, violations);
    if conf.interval_jitter_percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
        violations.add(&path.field("intervalJitterPercent"), "must be in inclusive range [0, 100]");
    }
    percentage(&path.field("healthyPanicThreshold"), conf.healthy_panic_threshold.as_ref(), violations);
    greater_than_zero(&path.field("noTrafficInterval"), conf.no_traffic_interval, violations);
    if conf.event_log_path.as_ref().is_some_and(|path| !is_file_path(path)) {
        violations.add(&path.field("eventLogPath"), "must be a valid path when defined");
    }
    if let Some(http) = &conf.http {
        let path = path.field("http");
        if http.path.as_ref().is_some_and(String::is_empty) {
            violations.add(&path.field("path"), "must be defined");
        }
        for (index, status) in list(&http.expected_statuses).iter().enumerate() {
            status_code(&path.field("expectedStatuses").index(index), *status, violations);
        }
    }
    if conf.http.is_none() && conf.tcp.is_none() && conf.grpc.is_none() {
        violations.add(path, "must have at least one defined: http, tcp, grpc");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::refused;
    use serde_json::json;
    use tandem_model::kind::Kind::MeshHealthCheck;

    #[test]
    fn violations() {
        refused(
            MeshHealthCheck,
            json!({"to": [
                {"targetRef": {"kind": "Mesh"}, "default": {"interval": "0s", "intervalJitterPercent": 101}},
                {"targetRef": {"kind": "Mesh"}, "default": {
                    "unhealthyThreshold": 0, "eventLogPath": "#x", "http": {"path": "", "expectedStatuses": [99]}}}
            ]}),
            &[
                "spec.to[0].default.interval: must be greater than zero when defined",
                "spec.to[0].default.intervalJitterPercent: must be in inclusive range [0, 100]",
                "spec.to[0].default: must have at least one defined: http, tcp, grpc",
                "spec.to[1].default.unhealthyThreshold: must be greater than zero when defined",
                "spec.to[1].default.eventLogPath: must be a valid path when defined",
                "spec.to[1].default.http.path: must be defined",
                "spec.to[1].default.http.expectedStatuses[0]: must be in inclusive range [100, 599]",
            ],
        );
    }
}
