//! Validation of MeshFaultInjection.
//!
//! Source: Kuma `pkg/plugins/policies/meshfaultinjection/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    GATEWAYS_NEED_TO, TargetRules, Validate, includes_gateways, list, not_negative, percentage, service_clients, spec,
    spiffe_matches, status_code, target_deprecation, target_ref,
};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const FROM: &[TargetKind] = &[Mesh, MeshSubset, MeshServiceSubset, MeshService];

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let (to, from, rules) = (list(&self.to), list(&self.from), list(&self.rules));
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = match role {
                Role::System => TargetRules::kinds(TOP_OF_SYSTEM).with_listener_tags(),
                _ => TargetRules::kinds(TOP_OF_OTHERS),
            };
            let allowed = allowed.inbound(!rules.is_empty() || !from.is_empty());
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        if !from.is_empty() && !rules.is_empty() {
            violations.add(&path, "field 'from' must be empty when 'rules' is defined");
        }
        for (index, rule) in rules.iter().enumerate() {
            let path = path.field("rules").index(index);
            spiffe_matches(list(&rule.matches), &path.field("matches"), violations);
            conf(&rule.default, &path.field("default"), violations);
        }
        let gateways = includes_gateways(self.target_ref.as_ref());
        if gateways && !from.is_empty() {
            violations.add(&path.field("from"), GATEWAYS_NEED_TO);
        } else {
            for (index, item) in from.iter().enumerate() {
                let path = path.field("from").index(index);
                target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(FROM), violations);
                conf(&item.default, &path.field("default"), violations);
            }
        }
        if !gateways && !to.is_empty() {
            violations.add(&path.field("to"), "must not be defined");
        } else {
            for (index, item) in to.iter().enumerate() {
                let path = path.field("to").index(index);
                target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(&[Mesh]), violations);
                conf(&item.default, &path.field("default"), violations);
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let from = list(&self.from).iter().map(|item| &item.target_ref);
        target_deprecation(self.target_ref.as_ref()).into_iter().chain(service_clients(from)).collect()
    }
}

/// Clients of Kuma know the index of a fault behind its kind.
fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    let path = path.field("http");
    for (index, fault) in list(&conf.http).iter().enumerate() {
        if let Some(abort) = &fault.abort {
            let path = path.field("abort").index(index);
            status_code(&path.field("httpStatus"), abort.http_status, violations);
            percentage(&path.field("percentage"), Some(&abort.percentage), violations);
        }
        if let Some(delay) = &fault.delay {
            let path = path.field("delay").index(index);
            not_negative(&path.field("value"), Some(delay.value), violations);
            percentage(&path.field("percentage"), Some(&delay.percentage), violations);
        }
        if let Some(bandwidth) = &fault.response_bandwidth {
            let path = path.field("responseBandwidth").index(index);
            limit(&bandwidth.limit, &path.field("limit"), violations);
            percentage(&path.field("percentage"), Some(&bandwidth.percentage), violations);
        }
    }
}

fn limit(limit: &str, path: &Path, violations: &mut Violations) {
    let unit = limit.trim_start_matches(|c: char| c.is_ascii_digit());
    let unit = unit.strip_prefix(char::is_whitespace).unwrap_or(unit);
    let prefix = unit.strip_suffix("bps").unwrap_or_default();
    if limit.is_empty() {
        violations.add(path, "must be defined");
    } else if prefix.is_empty() || !prefix.chars().all(|c| "GMk".contains(c)) {
        violations.add(path, "must be in kbps/Mbps/Gbps units");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshFaultInjection;

    #[test]
    fn bandwidths_have_units() {
        for limit in ["100kbps", "10 Mbps", "1Gbps"] {
            let mut spec = json!({"rules": [{"default": {"http": [
                {"responseBandwidth": {"limit": limit, "percentage": 50}}]}}]});
            assert_eq!(check(MeshFaultInjection, &mut spec), "", "{limit}");
        }
    }

    #[test]
    fn violations() {
        refused(
            MeshFaultInjection,
            json!({"rules": [{
                "matches": [{"spiffeID": {"type": "Exact", "value": "x"}}],
                "default": {"http": [{
                    "abort": {"httpStatus": 600, "percentage": "x"},
                    "delay": {"value": "-1s", "percentage": 101},
                    "responseBandwidth": {"limit": "100", "percentage": 1}
                }]}
            }]}),
            &[
                "spec.rules[0].matches[0].spiffeID: must be a valid Spiffe ID",
                "spec.rules[0].default.http.abort[0].httpStatus: must be in inclusive range [100, 599]",
                "spec.rules[0].default.http.abort[0].percentage: string must be a valid number",
                "spec.rules[0].default.http.delay[0].value: must not be negative when defined",
                "spec.rules[0].default.http.delay[0].percentage: must be in inclusive range [0.0, 100.0]",
                "spec.rules[0].default.http.responseBandwidth[0].limit: must be in kbps/Mbps/Gbps units",
            ],
        );
    }
}
