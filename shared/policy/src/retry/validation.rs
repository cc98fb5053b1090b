//! Validation of MeshRetry.
//!
//! Source: Kuma `pkg/plugins/policies/meshretry/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::conditions::HttpRetryOn;
use super::schema::{BackOff, Conf, Predicate, PredicateType, RateLimitedBackOff, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{TargetRules, Validate, list, spec, target_deprecation, target_ref, top_kind};

const TOP_OF_SYSTEM: &[TargetKind] =
    &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, MeshHTTPRoute, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
const TO_OF_ROUTES_AND_GATEWAYS: &[TargetKind] = &[Mesh, MeshExternalService];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshExternalService, MeshMultiZoneService, MeshHTTPRoute];

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
        if list(&self.to).is_empty() {
            violations.add(&path.field("to"), "needs at least one item");
        }
        let allowed = TargetRules::kinds(match top_kind(self.target_ref.as_ref()) {
            MeshHTTPRoute | MeshGateway => TO_OF_ROUTES_AND_GATEWAYS,
            _ => TO,
        });
        for (index, item) in list(&self.to).iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            // Clients of Kuma know violations of the configuration with this further member in their path.
            conf(&item.default, &path.field("default").field("conf"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    const EMPTY: &str = "must not be empty";
    if conf.tcp.is_none() && conf.http.is_none() && conf.grpc.is_none() {
        violations.add(path, "at least one of the 'tcp', 'http', 'grpc' must be specified");
    }
    if let Some(tcp) = &conf.tcp {
        let path = path.field("tcp");
        match tcp.max_connect_attempt {
            None => violations.add(&path, EMPTY),
            Some(0) => violations.add(&path.field("maxConnectAttempt"), "must be greater than 0"),
            Some(_) => {}
        }
    }
    if let Some(http) = &conf.http {
        let path = path.field("http");
        let mut rest = http.clone();
        rest.host_selection_max_attempts = None;
        if rest == Default::default() {
            violations.add(&path, EMPTY);
        }
        back_off(http.back_off.as_ref(), &path, violations);
        rate_limited_back_off(http.rate_limited_back_off.as_ref(), &path, violations);
        for (index, item) in list(&http.retry_on).iter().enumerate() {
            if HttpRetryOn::parse(item).is_none() {
                violations.add(&path.field("retryOn").index(index), format!("unknown item '{item}'"));
            }
        }
        host_selection(list(&http.host_selection), &path.field("hostSelection"), violations);
    }
    if let Some(grpc) = &conf.grpc {
        let path = path.field("grpc");
        if *grpc == Default::default() {
            violations.add(&path, EMPTY);
        }
        back_off(grpc.back_off.as_ref(), &path, violations);
        rate_limited_back_off(grpc.rate_limited_back_off.as_ref(), &path, violations);
    }
}

fn back_off(back_off: Option<&BackOff>, path: &Path, violations: &mut Violations) {
    if back_off.is_some_and(|back_off| *back_off == BackOff::default()) {
        violations.add(&path.field("backOff"), "must not be empty");
    }
}

fn rate_limited_back_off(back_off: Option<&RateLimitedBackOff>, path: &Path, violations: &mut Violations) {
    let Some(back_off) = back_off else { return };
    let path = path.field("rateLimitedBackOff");
    if back_off.max_interval.is_some_and(|interval| interval.0 <= 0) {
        violations.add(&path.field("maxInterval"), "must be defined and greater than zero");
    }
    let path = path.field("resetHeaders");
    if back_off.reset_headers.is_none() {
        violations.add(&path, "must be defined");
    }
    for (index, header) in list(&back_off.reset_headers).iter().enumerate() {
        if header.name.is_empty() {
            violations.add(&path.index(index).field("name"), "must be defined");
        }
    }
}

fn host_selection(predicates: &[Predicate], path: &Path, violations: &mut Violations) {
    let mut priorities_seen = false;
    for (index, predicate) in predicates.iter().enumerate() {
        let path = path.index(index);
        match predicate.predicate {
            PredicateType::OmitPreviousHosts => {}
            PredicateType::OmitHostsWithTags => {
                if predicate.tags.is_none() {
                    violations.add(&path.field("tags"), "must be defined");
                }
            }
            PredicateType::OmitPreviousPriorities => {
                if priorities_seen {
                    violations.add(&path.field("predicate"), "OmitPreviousPriorities must only be specified once");
                }
                if predicate.update_frequency <= 0 {
                    violations.add(&path.field("updateFrequency"), "must be defined and greater than zero");
                }
                priorities_seen = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshRetry;

    #[test]
    fn defaults_are_applied() {
        let mut spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {
            "retryOn": ["5xx", "503", "HttpMethodGet"],
            "hostSelection": [{"predicate": "OmitPreviousHosts"}],
            "retriableRequestHeaders": [{"name": "x"}]}}}]});
        assert_eq!(check(MeshRetry, &mut spec), "");
        let http = &spec["to"][0]["default"]["http"];
        assert_eq!(http["hostSelection"], json!([{"predicate": "OmitPreviousHosts", "updateFrequency": 2}]));
        assert_eq!(http["retriableRequestHeaders"], json!([{"type": "Exact", "name": "x"}]));
    }

    #[test]
    fn violations() {
        refused(MeshRetry, json!({}), &["spec.to: needs at least one item"]);
        let to = |conf: serde_json::Value| json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]});
        refused(
            MeshRetry,
            to(json!({})),
            &["spec.to[0].default.conf: at least one of the 'tcp', 'http', 'grpc' must be specified"],
        );
        refused(
            MeshRetry,
            to(json!({
                "tcp": {"maxConnectAttempt": 0},
                "http": {
                    "backOff": {},
                    "rateLimitedBackOff": {"maxInterval": "0s"},
                    "retryOn": ["5xx", "299", "Sometimes"],
                    "hostSelection": [
                        {"predicate": "OmitHostsWithTags"},
                        {"predicate": "OmitPreviousPriorities"},
                        {"predicate": "OmitPreviousPriorities", "updateFrequency": 0}
                    ]
                },
                "grpc": {}
            })),
            &[
                "spec.to[0].default.conf.tcp.maxConnectAttempt: must be greater than 0",
                "spec.to[0].default.conf.http.backOff: must not be empty",
                "spec.to[0].default.conf.http.rateLimitedBackOff.maxInterval: must be defined and greater than zero",
                "spec.to[0].default.conf.http.rateLimitedBackOff.resetHeaders: must be defined",
                "spec.to[0].default.conf.http.retryOn[1]: unknown item '299'",
                "spec.to[0].default.conf.http.retryOn[2]: unknown item 'Sometimes'",
                "spec.to[0].default.conf.http.hostSelection[0].tags: must be defined",
                "spec.to[0].default.conf.http.hostSelection[2].predicate: OmitPreviousPriorities must only be specified \
                 once",
                "spec.to[0].default.conf.http.hostSelection[2].updateFrequency: must be defined and greater than zero",
                "spec.to[0].default.conf.grpc: must not be empty",
            ],
        );
        refused(
            MeshRetry,
            to(json!({"http": {"hostSelectionMaxAttempts": 2}})),
            &["spec.to[0].default.conf.http: must not be empty"],
        );
        refused(
            MeshRetry,
            to(json!({"http": {"retryOn": [503]}})),
            &["spec.to[0].default.http.retryOn[0]: in body must be of type string: \"number\""],
        );
    }
}
