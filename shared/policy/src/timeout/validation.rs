//! Validation of MeshTimeout.
//!
//! Source: Kuma `pkg/plugins/policies/meshtimeout/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, Http, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, from_deprecation, greater_than_zero, list, not_negative, spec, target_deprecation,
    target_ref, top_kind,
};

const TOP_OF_SYSTEM: &[TargetKind] =
    &[Mesh, MeshSubset, Dataplane, MeshGateway, MeshService, MeshServiceSubset, MeshHTTPRoute];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, Dataplane, MeshSubset, MeshService, MeshServiceSubset];
const TO_OF_ROUTES_AND_GATEWAYS: &[TargetKind] = &[Mesh, MeshExternalService];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshExternalService, MeshMultiZoneService, MeshHTTPRoute];

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
        if !rules.is_empty() && to.len() + from.len() > 0 {
            violations.add(&path, "fields 'to' and 'from' must be empty when 'rules' is defined");
        }
        if rules.is_empty() && to.is_empty() && from.is_empty() {
            violations.add(&path, "at least one of 'from', 'to' or 'rules' has to be defined");
        }
        let top = top_kind(self.target_ref.as_ref());
        let of_routes_or_gateways = matches!(top, MeshHTTPRoute | MeshGateway);
        let from_path = path.field("from");
        if of_routes_or_gateways && !from.is_empty() {
            violations.add(&from_path, "must not be defined");
        } else {
            for (index, item) in from.iter().enumerate() {
                let path = from_path.index(index);
                target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(&[Mesh]), violations);
                conf(&item.default, &path.field("default"), top, violations);
            }
        }
        let allowed = TargetRules::kinds(if of_routes_or_gateways { TO_OF_ROUTES_AND_GATEWAYS } else { TO });
        for (index, item) in to.iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            conf(&item.default, &path.field("default"), top, violations);
        }
        for (index, item) in rules.iter().enumerate() {
            conf(&item.default, &path.field("rules").index(index).field("default"), top, violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let from = from_deprecation(!list(&self.from).is_empty());
        from.into_iter().chain(target_deprecation(self.target_ref.as_ref())).collect()
    }
}

fn conf(conf: &Conf, path: &Path, top: TargetKind, violations: &mut Violations) {
    if conf.connection_timeout.is_none() && conf.idle_timeout.is_none() && conf.http.is_none() {
        violations.add(path, "at least one timeout should be configured");
        return;
    }
    if top == MeshHTTPRoute {
        let mut refuse = |path: Path, is_set: bool| {
            if is_set {
                let text = "can't be specified when top-level TargetRef is referencing MeshHTTPRoute";
                violations.add(&path, text);
            }
        };
        refuse(path.field("connectionTimeout"), conf.connection_timeout.is_some());
        refuse(path.field("idleTimeout"), conf.idle_timeout.is_some());
        if let Some(http) = &conf.http {
            let path = path.field("http");
            refuse(path.field("maxStreamDuration"), http.max_stream_duration.is_some());
            refuse(path.field("maxConnectionDuration"), http.max_connection_duration.is_some());
        }
    }
    greater_than_zero(&path.field("connectionTimeout"), conf.connection_timeout, violations);
    not_negative(&path.field("idleTimeout"), conf.idle_timeout, violations);
    if let Some(timeouts) = &conf.http {
        http(timeouts, &path.field("http"), violations);
    }
}

fn http(http: &Http, path: &Path, violations: &mut Violations) {
    let Http {
        request_timeout,
        stream_idle_timeout,
        max_stream_duration,
        max_connection_duration,
        request_headers_timeout,
    } = *http;
    if [request_timeout, stream_idle_timeout, max_stream_duration, max_connection_duration].iter().all(Option::is_none)
    {
        violations.add(path, "at least one timeout in this section should be configured");
    }
    let mut timeout = |name, value| not_negative(&path.field(name), value, violations);
    timeout("requestTimeout", request_timeout);
    timeout("streamIdleTimeout", stream_idle_timeout);
    timeout("maxStreamDuration", max_stream_duration);
    timeout("maxConnectionDuration", max_connection_duration);
    timeout("requestHeadersTimeout", request_headers_timeout);
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshTimeout;

    #[test]
    fn valid_policies_are_normalised() {
        let mut spec = json!({
            "targetRef": {"kind": "Dataplane", "labels": {"app": "a"}, "sectionName": "http"},
            "rules": [{"default": {"connectionTimeout": "100s", "http": {"requestTimeout": "0"}}}]
        });
        assert_eq!(check(MeshTimeout, &mut spec), "");
        let conf = json!({"connectionTimeout": "1m40s", "http": {"requestTimeout": "0s"}});
        assert_eq!(spec["rules"][0]["default"], conf);
    }

    #[test]
    fn violations() {
        let mesh = json!({"kind": "Mesh"});
        refused(
            MeshTimeout,
            json!({"targetRef": mesh}),
            &["spec: at least one of 'from', 'to' or 'rules' has to be defined"],
        );
        refused(
            MeshTimeout,
            json!({"to": [{"targetRef": mesh}], "rules": [{"default": {"idleTimeout": "-1s"}}]}),
            &[
                "spec: fields 'to' and 'from' must be empty when 'rules' is defined",
                "spec.to[0].default: at least one timeout should be configured",
                "spec.rules[0].default.idleTimeout: must not be negative when defined",
            ],
        );
        refused(
            MeshTimeout,
            json!({"to": [{"targetRef": mesh, "default": {"connectionTimeout": "0s", "http": {}}}]}),
            &[
                "spec.to[0].default.connectionTimeout: must be greater than zero when defined",
                "spec.to[0].default.http: at least one timeout in this section should be configured",
            ],
        );
        refused(
            MeshTimeout,
            json!({
                "targetRef": {"kind": "MeshHTTPRoute", "name": "r"},
                "from": [{"targetRef": mesh, "default": {"idleTimeout": "1s"}}],
                "to": [{"targetRef": {"kind": "MeshService", "name": "x"}, "default": {"idleTimeout": "1s"}}]
            }),
            &[
                "spec.from: must not be defined",
                "spec.to[0].targetRef.kind: value 'MeshService' is not supported",
                "spec.to[0].default.idleTimeout: can't be specified when top-level TargetRef is referencing MeshHTTPRoute",
            ],
        );
        refused(
            MeshTimeout,
            json!({"to": [{"targetRef": mesh, "default": {"idleTimeout": "soon"}}]}),
            &["spec.to[0].default.idleTimeout: time: invalid duration \"soon\""],
        );
    }
}
