//! Validation of MeshRateLimit.
//!
//! Source: Kuma `pkg/plugins/policies/meshratelimit/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Conf, LocalHttp, LocalTcp, Rate, Spec};
use crate::role::Role;
use crate::schema::GoDuration;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    GATEWAYS_NEED_TO, TargetRules, Validate, from_deprecation, includes_gateways, int_greater_than_zero, list, spec,
    target_deprecation, target_ref,
};

const TOP_OF_SYSTEM: &[TargetKind] =
    &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, MeshHTTPRoute, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];
/// Envoy fills its bucket no more often than this.
const SHORTEST_INTERVAL: GoDuration = GoDuration::from_millis(50);

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let (to, from, rules) = (list(&self.to), list(&self.from), list(&self.rules));
        let path = spec();
        if !rules.is_empty() && to.len() + from.len() > 0 {
            violations.add(&path, "fields 'to' and 'from' must be empty when 'rules' is defined");
        }
        if let Some(target) = &self.target_ref {
            let allowed = match role {
                Role::System => TargetRules::kinds(TOP_OF_SYSTEM).with_listener_tags(),
                _ => TargetRules::kinds(TOP_OF_OTHERS),
            };
            let allowed = allowed.inbound(!rules.is_empty() || !from.is_empty());
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        let gateways = includes_gateways(self.target_ref.as_ref());
        let only_mesh = TargetRules::kinds(&[Mesh]);
        if gateways && !rules.is_empty() {
            violations.add(&path.field("rules"), "must not be defined");
        } else {
            for (index, item) in rules.iter().enumerate() {
                conf(&item.default, &path.field("rules").index(index).field("default"), violations);
            }
        }
        if gateways && !from.is_empty() {
            violations.add(&path.field("from"), GATEWAYS_NEED_TO);
        } else {
            for (index, item) in from.iter().enumerate() {
                let path = path.field("from").index(index);
                target_ref(&item.target_ref, &path.field("targetRef"), &only_mesh, violations);
                conf(&item.default, &path.field("default"), violations);
            }
        }
        if !gateways && !to.is_empty() {
            violations.add(&path.field("to"), "must not be defined");
        } else {
            for (index, item) in to.iter().enumerate() {
                let path = path.field("to").index(index);
                target_ref(&item.target_ref, &path.field("targetRef"), &only_mesh, violations);
                conf(&item.default, &path.field("default"), violations);
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let confs = |name: &'static str, confs: Vec<&Conf>| {
            let low = |conf: &Conf| {
                let http = conf.local.as_ref().and_then(|local| local.http.as_ref());
                http.and_then(|http| http.on_rate_limit.as_ref()?.status).is_some_and(|status| status < 400)
            };
            let indexes: Vec<usize> = (0..confs.len()).filter(|index| low(confs[*index])).collect();
            indexes.into_iter().map(move |index| {
                format!(
                    "'spec.{name}[{index}].default.local.http.requestRate.status' must be 400 or higher. Please update \
                     your configuration."
                )
            })
        };
        from_deprecation(!list(&self.from).is_empty())
            .into_iter()
            .chain(confs("from", list(&self.from).iter().map(|item| &item.default).collect()))
            .chain(confs("rules", list(&self.rules).iter().map(|item| &item.default).collect()))
            .chain(confs("to", list(&self.to).iter().map(|item| &item.default).collect()))
            .chain(target_deprecation(self.target_ref.as_ref()))
            .collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    let path = path.field("local");
    let Some(local) = &conf.local else { return violations.add(&path, "must be defined") };
    if local.http.is_none() && local.tcp.is_none() {
        violations.add(&path, "must have at least one defined: tcp, http");
    }
    if let Some(limit) = &local.http {
        http(limit, &path.field("http"), violations);
    }
    if let Some(limit) = &local.tcp {
        tcp(limit, &path.field("tcp"), violations);
    }
}

fn http(limit: &LocalHttp, path: &Path, violations: &mut Violations) {
    if *limit == LocalHttp::default() {
        violations.add(path, "must have at least one defined: disabled, requestRate, onRateLimit");
    }
    rate(limit.request_rate.as_ref(), &path.field("requestRate"), violations);
    if let Some(answer) = &limit.on_rate_limit {
        let path = path.field("onRateLimit");
        int_greater_than_zero(&path.field("status"), answer.status, violations);
    }
}

fn tcp(limit: &LocalTcp, path: &Path, violations: &mut Violations) {
    if *limit == LocalTcp::default() {
        violations.add(path, "must have at least one defined: disabled, connectionRate");
    }
    rate(limit.connection_rate.as_ref(), &path.field("connectionRate"), violations);
}

fn rate(rate: Option<&Rate>, path: &Path, violations: &mut Violations) {
    let Some(rate) = rate else { return };
    int_greater_than_zero(&path.field("num"), Some(rate.num), violations);
    if rate.interval <= SHORTEST_INTERVAL {
        violations.add(&path.field("interval"), "must be greater than: 50ms");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshRateLimit;

    #[test]
    fn low_status_codes_are_warned_about() {
        let mut spec = json!({
            "targetRef": {"kind": "Dataplane"},
            "rules": [{"default": {"local": {"http": {
                "requestRate": {"num": 1, "interval": "1s"}, "onRateLimit": {"status": 200}}}}}]
        });
        assert_eq!(check(MeshRateLimit, &mut spec), "");
        assert_eq!(
            crate::check(MeshRateLimit, &mut spec).warnings,
            ["'spec.rules[0].default.local.http.requestRate.status' must be 400 or higher. Please update your \
              configuration."]
        );
    }

    #[test]
    fn violations() {
        let conf = json!({"local": {"http": {}, "tcp": {"connectionRate": {"num": 0, "interval": "50ms"}}}});
        refused(
            MeshRateLimit,
            json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": conf}]}),
            &["spec.from: must not be defined when the scope includes a Gateway, select only proxyType Sidecar or \
               select only gateways and use spec.to"],
        );
        refused(
            MeshRateLimit,
            json!({
                "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
                "from": [{"targetRef": {"kind": "MeshSubset"}, "default": conf}],
                "to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]
            }),
            &[
                "spec.from[0].targetRef.kind: value 'MeshSubset' is not supported",
                "spec.from[0].default.local.http: must have at least one defined: disabled, requestRate, onRateLimit",
                "spec.from[0].default.local.tcp.connectionRate.num: must be greater than 0",
                "spec.from[0].default.local.tcp.connectionRate.interval: must be greater than: 50ms",
                "spec.to: must not be defined",
            ],
        );
    }
}
