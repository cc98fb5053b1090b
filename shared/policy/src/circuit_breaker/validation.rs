//! Validation of MeshCircuitBreaker.
//!
//! Source: Kuma `pkg/plugins/policies/meshcircuitbreaker/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, ConnectionLimits, Detectors, OutlierDetection, Spec};
use crate::role::Role;
use crate::schema::Decimal;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, external_service_only_from_mesh, from_deprecation, greater_than_zero, int_greater_than_zero,
    int_percentage, list, percentage, spec, target_deprecation, target_ref, top_kind,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshGateway, MeshServiceSubset, Dataplane];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshMultiZoneService];

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let (to, from, rules) = (list(&self.to), list(&self.from), list(&self.rules));
        let path = spec();
        if let Some(target) = &self.target_ref {
            let inbound = !rules.is_empty() || !from.is_empty();
            let allowed = TargetRules::kinds(TOP).with_listener_tags().inbound(inbound);
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        if rules.is_empty() && to.is_empty() && from.is_empty() {
            violations.add(&path, "at least one of 'from', 'to' or 'rules' has to be defined");
        }
        if !rules.is_empty() && to.len() + from.len() > 0 {
            violations.add(&path, "fields 'to' and 'from' must be empty when 'rules' is defined");
        }
        // Clients of Kuma know violations of `rules` under the path of `from`.
        for (index, item) in rules.iter().enumerate() {
            conf(&item.default, &path.field("from").index(index).field("default"), violations);
        }
        for (index, item) in from.iter().enumerate() {
            let path = path.field("from").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(&[Mesh]), violations);
            conf(&item.default, &path.field("default"), violations);
        }
        let top = top_kind(self.target_ref.as_ref());
        for (index, item) in to.iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(TO), violations);
            external_service_only_from_mesh(item.target_ref.kind, top, &path, violations);
            conf(&item.default, &path.field("default"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let from = from_deprecation(!list(&self.from).is_empty());
        from.into_iter().chain(target_deprecation(self.target_ref.as_ref())).collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    if conf.connection_limits.is_none() && conf.outlier_detection.is_none() {
        violations.add(path, "at least one of: 'connectionLimits' or 'outlierDetection' should be configured");
    }
    if let Some(limits) = &conf.connection_limits {
        connection_limits(limits, &path.field("connectionLimits"), violations);
    }
    if let Some(detection) = &conf.outlier_detection {
        outlier_detection(detection, &path.field("outlierDetection"), violations);
    }
}

fn connection_limits(limits: &ConnectionLimits, path: &Path, violations: &mut Violations) {
    let mut limit = |name, value| int_greater_than_zero(&path.field(name), value, violations);
    limit("maxConnections", limits.max_connections);
    limit("maxConnectionPools", limits.max_connection_pools);
    limit("maxPendingRequests", limits.max_pending_requests);
    limit("maxRetries", limits.max_retries);
    limit("maxRequests", limits.max_requests);
}

fn outlier_detection(detection: &OutlierDetection, path: &Path, violations: &mut Violations) {
    greater_than_zero(&path.field("interval"), detection.interval, violations);
    greater_than_zero(&path.field("baseEjectionTime"), detection.base_ejection_time, violations);
    int_percentage(&path.field("maxEjectionPercent"), detection.max_ejection_percent, violations);
    percentage(&path.field("healthyPanicThreshold"), detection.healthy_panic_threshold.as_ref(), violations);
    detectors(detection.detectors.as_ref(), &path.field("detectors"), violations);
}

fn detectors(detectors: Option<&Detectors>, path: &Path, violations: &mut Violations) {
    let Some(detectors) = detectors else {
        violations.add(path, "must be defined");
        return;
    };
    if *detectors == Detectors::default() {
        violations.add(
            path,
            "must have at least one defined: totalFailures, gatewayFailures, localOriginFailures, successRate, \
             failurePercentage",
        );
        return;
    }
    for (name, detector) in [
        ("totalFailures", &detectors.total_failures),
        ("gatewayFailures", &detectors.gateway_failures),
        ("localOriginFailures", &detectors.local_origin_failures),
    ] {
        let consecutive = detector.as_ref().and_then(|detector| detector.consecutive);
        int_greater_than_zero(&path.field(name).field("consecutive"), consecutive, violations);
    }
    if let Some(detector) = &detectors.success_rate {
        let path = path.field("successRate");
        int_greater_than_zero(&path.field("minimumHosts"), detector.minimum_hosts, violations);
        int_greater_than_zero(&path.field("requestVolume"), detector.request_volume, violations);
        match detector.standard_deviation_factor.as_ref().map(|factor| factor.decimal()) {
            Some(None) => violations.add(&path.field("standardDeviationFactor"), "invalid number"),
            Some(Some(factor)) if factor <= Decimal::from_int(0) => {
                violations.add(&path.field("standardDeviationFactor"), "must be greater than 0");
            }
            _ => {}
        }
    }
    if let Some(detector) = &detectors.failure_percentage {
        let path = path.field("failurePercentage");
        int_greater_than_zero(&path.field("minimumHosts"), detector.minimum_hosts, violations);
        int_greater_than_zero(&path.field("requestVolume"), detector.request_volume, violations);
        int_percentage(&path.field("threshold"), detector.threshold, violations);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::refused;
    use serde_json::json;
    use tandem_model::kind::Kind::MeshCircuitBreaker;

    #[test]
    fn violations() {
        let mesh = json!({"kind": "Mesh"});
        refused(
            MeshCircuitBreaker,
            json!({"rules": [{"default": {}}]}),
            &["spec.from[0].default: at least one of: 'connectionLimits' or 'outlierDetection' should be configured"],
        );
        refused(
            MeshCircuitBreaker,
            json!({
                "targetRef": {"kind": "MeshService", "name": "a"},
                "to": [
                    {"targetRef": {"kind": "MeshExternalService", "name": "x"},
                     "default": {"connectionLimits": {"maxConnections": 0}}},
                    {"targetRef": mesh, "default": {"outlierDetection": {
                        "maxEjectionPercent": 101, "healthyPanicThreshold": "many", "interval": "0s"}}},
                    {"targetRef": mesh, "default": {"outlierDetection": {"detectors": {}}}},
                    {"targetRef": mesh, "default": {"outlierDetection": {"detectors": {
                        "totalFailures": {"consecutive": 0},
                        "successRate": {"standardDeviationFactor": "0"},
                        "failurePercentage": {"threshold": 200}}}}}
                ]
            }),
            &[
                "spec.to[0].targetRef.kind: value 'MeshExternalService' is not supported",
                "spec.to[0].targetRef.kind: kind MeshExternalService is only allowed with targetRef.kind: Mesh as it is \
                 configured on the Zone Egress and shared by all clients in the mesh",
                "spec.to[0].default.connectionLimits.maxConnections: must be greater than 0",
                "spec.to[1].default.outlierDetection.interval: must be greater than zero when defined",
                "spec.to[1].default.outlierDetection.maxEjectionPercent: must be in inclusive range [0, 100]",
                "spec.to[1].default.outlierDetection.healthyPanicThreshold: string must be a valid number",
                "spec.to[1].default.outlierDetection.detectors: must be defined",
                "spec.to[2].default.outlierDetection.detectors: must have at least one defined: totalFailures, \
                 gatewayFailures, localOriginFailures, successRate, failurePercentage",
                "spec.to[3].default.outlierDetection.detectors.totalFailures.consecutive: must be greater than 0",
                "spec.to[3].default.outlierDetection.detectors.successRate.standardDeviationFactor: must be greater \
                 than 0",
                "spec.to[3].default.outlierDetection.detectors.failurePercentage.threshold: must be in inclusive range \
                 [0, 100]",
            ],
        );
    }
}
