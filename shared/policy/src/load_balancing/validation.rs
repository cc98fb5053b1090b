//! Validation of MeshLoadBalancingStrategy.
//!
//! Source: Kuma `pkg/plugins/policies/meshloadbalancingstrategy/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{
    Conf, CrossZone, Failover, HashPolicy, HashPolicyType, LoadBalancer, LoadBalancerType, LocalZone, Spec, ToZoneType,
};
use crate::role::Role;
use crate::schema::{Decimal, ToItem};
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, external_service_only_from_mesh, int_greater_than_zero, list, percentage, spec,
    target_deprecation, target_ref, top_kind,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TO_OF_GATEWAYS: &[TargetKind] = &[Mesh, MeshService, MeshMultiZoneService];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshMultiZoneService, MeshHTTPRoute];
const EMPTY: &str = "must not be empty";
const DEFINED: &str = "must be defined";

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = TargetRules::kinds(TOP).with_listener_tags();
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        if list(&self.to).is_empty() {
            violations.add(&path.field("to"), "needs at least one item");
        }
        let top = top_kind(self.target_ref.as_ref());
        for (index, item) in list(&self.to).iter().enumerate() {
            let path = path.field("to").index(index);
            let allowed = match (top, &item.default.load_balancer) {
                (MeshGateway, Some(_)) => TargetRules {
                    other_kind: Some(
                        "value 'MeshGateway' is not supported, only Mesh is allowed if loadBalancer is set",
                    ),
                    ..TargetRules::kinds(&[Mesh])
                },
                (MeshGateway, None) => TargetRules::kinds(TO_OF_GATEWAYS),
                _ => TargetRules::kinds(TO),
            };
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            external_service_only_from_mesh(item.target_ref.kind, top, &path, violations);
            conf(item, &path.field("default"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, item) in list(&self.to).iter().enumerate() {
            let Some((name, policies)) = item.default.load_balancer.as_ref().and_then(inner_hash_policies) else {
                continue;
            };
            let inner = format!("spec.to[{index}].default.loadBalancer.{name}.hashPolicies");
            warnings.push(format!(
                "configuration '{inner}' is deprecated, use 'spec.to[{index}].default.hashPolicies' instead"
            ));
            for (index, _) in policies.iter().enumerate().filter(|(_, policy)| policy.kind == HashPolicyType::SourceIP)
            {
                warnings
                    .push(format!("SourceIP type for '{inner}[{index}].type' is deprecated, use Connection instead"));
            }
        }
        warnings.extend(target_deprecation(self.target_ref.as_ref()));
        warnings
    }
}

/// Hash policies in their older place, with the name of the algorithm.
fn inner_hash_policies(balancer: &LoadBalancer) -> Option<(&'static str, &[HashPolicy])> {
    let (name, policies) = match balancer.kind {
        LoadBalancerType::RingHash => ("ringHash", balancer.ring_hash.as_ref()?.hash_policies.as_deref()?),
        LoadBalancerType::Maglev => ("maglev", balancer.maglev.as_ref()?.hash_policies.as_deref()?),
        _ => return None,
    };
    Some((name, policies))
}

fn conf(item: &ToItem<Conf>, path: &Path, violations: &mut Violations) {
    let conf = &item.default;
    if item.target_ref.kind == MeshHTTPRoute {
        hash_policies(list(&conf.hash_policies), &path.field("hashPolicies"), violations);
        let fields =
            [("loadBalancer", conf.load_balancer.is_some()), ("localityAwareness", conf.locality_awareness.is_some())];
        for (name, _) in fields.iter().filter(|(_, is_set)| *is_set) {
            let text = "field is not allowed when targetRef.kind is MeshHTTPRoute, only hashPolicies is supported";
            violations.add(&path.field(name), text);
        }
        return;
    }
    let balancer_path = path.field("loadBalancer");
    if let Some(balancer) = &conf.load_balancer {
        load_balancer(balancer, &balancer_path, violations);
    }
    if let Some(locality) = &conf.locality_awareness {
        let path = path.field("localityAwareness");
        if let Some(zone) = &locality.local_zone {
            local_zone(zone, &path.field("localZone"), violations);
        }
        if let Some(zones) = &locality.cross_zone {
            let target = &item.target_ref;
            let path = path.field("crossZone");
            let is_local = !target.section_name().is_empty() || target.labels().is_some();
            if target.kind == MeshService && is_local {
                violations.add(&path, "must not be set: MeshService traffic is local");
            }
            cross_zone(zones, &path, violations);
        }
    }
    hash_policies(list(&conf.hash_policies), &path.field("hashPolicies"), violations);
    if let (Some(_), Some(balancer)) = (&conf.hash_policies, &conf.load_balancer) {
        let inner = [
            ("ringHash", balancer.ring_hash.as_ref().is_some_and(|ring| ring.hash_policies.is_some())),
            ("maglev", balancer.maglev.as_ref().is_some_and(|maglev| maglev.hash_policies.is_some())),
        ];
        for (name, _) in inner.iter().filter(|(_, is_set)| *is_set) {
            let path = balancer_path.field(name).field("hashPolicies");
            violations.add(&path, "hashPolicies already specified in the root level");
        }
    }
}

fn load_balancer(balancer: &LoadBalancer, path: &Path, violations: &mut Violations) {
    if let Some((name, policies)) = inner_hash_policies(balancer) {
        hash_policies(policies, &path.field(name).field("hashPolicies"), violations);
    }
    if let Some(least) = &balancer.least_request {
        let path = path.field("leastRequest");
        let bias = least.active_request_bias.as_ref().filter(|_| balancer.kind == LoadBalancerType::LeastRequest);
        match bias.map(|bias| bias.decimal()) {
            Some(None) => violations.add(&path.field("activeRequestBias"), "string must be a valid number"),
            Some(Some(bias)) if bias < Decimal::from_int(0) => {
                violations.add(&path.field("activeRequestBias"), "must be greater or equal then: 0");
            }
            _ => {}
        }
    }
}

fn local_zone(zone: &LocalZone, path: &Path, violations: &mut Violations) {
    let path = path.field("affinityTags");
    let tags = list(&zone.affinity_tags);
    for (index, tag) in tags.iter().enumerate() {
        let path = path.index(index);
        if tag.key.is_empty() {
            violations.add(&path.field("key"), EMPTY);
        }
        int_greater_than_zero(&path.field("weight"), tag.weight, violations);
    }
    let weighted = tags.iter().filter(|tag| tag.weight.is_some()).count();
    if weighted > 0 && weighted < tags.len() {
        violations.add(&path, "all or none affinity tags should have weight");
    }
}

fn cross_zone(zones: &CrossZone, path: &Path, violations: &mut Violations) {
    for (index, item) in list(&zones.failover).iter().enumerate() {
        failover(item, &path.field("failover").index(index), violations);
    }
    if let Some(threshold) = &zones.failover_threshold {
        let path = path.field("failoverThreshold").field("percentage");
        percentage(&path, Some(&threshold.percentage), violations);
        if threshold.percentage.decimal().is_some_and(Decimal::is_zero) {
            violations.add(&path, "must be greater than 0");
        }
    }
}

fn failover(failover: &Failover, path: &Path, violations: &mut Violations) {
    if let Some(from) = &failover.from {
        let path = path.field("from").field("zones");
        if from.zones.is_empty() {
            violations.add(&path, EMPTY);
        }
        for (index, _) in from.zones.iter().enumerate().filter(|(_, zone)| zone.is_empty()) {
            violations.add(&path.index(index), EMPTY);
        }
    }
    let path = path.field("to").field("zones");
    let is_empty = list(&failover.to.zones).is_empty();
    match failover.to.kind {
        ToZoneType::Any if !is_empty => violations.add(&path, "must be empty when type is Any"),
        ToZoneType::None if !is_empty => violations.add(&path, "must be empty when type is None"),
        ToZoneType::Only if is_empty => violations.add(&path, "must not be empty when type is Only"),
        ToZoneType::AnyExcept if is_empty => violations.add(&path, "must not be empty when type is AnyExcept"),
        _ => {}
    }
}

fn hash_policies(policies: &[HashPolicy], path: &Path, violations: &mut Violations) {
    for (index, policy) in policies.iter().enumerate() {
        let path = path.index(index);
        let (name, is_set) = match policy.kind {
            HashPolicyType::Header => ("header", policy.header.is_some()),
            HashPolicyType::Cookie => ("cookie", policy.cookie.is_some()),
            HashPolicyType::QueryParameter => ("queryParameter", policy.query_parameter.is_some()),
            HashPolicyType::FilterState => ("filterState", policy.filter_state.is_some()),
            HashPolicyType::Connection | HashPolicyType::SourceIP => ("connection", policy.connection.is_some()),
        };
        if !is_set {
            violations.add(&path.field(name), DEFINED);
        }
        let cookie = policy.cookie.as_ref().filter(|_| policy.kind == HashPolicyType::Cookie);
        if cookie.and_then(|cookie| cookie.path.as_ref()).is_some_and(|path| !path.starts_with('/')) {
            violations.add(&path.field("cookie").field("path"), "must be an absolute path");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::refused;
    use serde_json::{Value, json};
    use tandem_model::kind::Kind::MeshLoadBalancingStrategy;

    fn to(target: Value, conf: Value) -> Value {
        json!({"to": [{"targetRef": target, "default": conf}]})
    }

    #[test]
    fn violations() {
        refused(MeshLoadBalancingStrategy, json!({}), &["spec.to: needs at least one item"]);
        refused(
            MeshLoadBalancingStrategy,
            to(
                json!({"kind": "MeshService", "name": "a", "sectionName": "x"}),
                json!({
                    "localityAwareness": {
                        "localZone": {"affinityTags": [{"key": "", "weight": 0}, {"key": "b"}]},
                        "crossZone": {
                            "failover": [
                                {"from": {"zones": [""]}, "to": {"type": "None", "zones": ["a"]}},
                                {"from": {"zones": []}, "to": {"type": "Only"}}
                            ],
                            "failoverThreshold": {"percentage": 0}
                        }
                    },
                    "loadBalancer": {"type": "RingHash", "ringHash": {"hashPolicies": [{"type": "Header"}]}},
                    "hashPolicies": [{"type": "Cookie", "cookie": {"name": "c", "path": "x"}}]
                }),
            ),
            &[
                "spec.to[0].default.loadBalancer.ringHash.hashPolicies[0].header: must be defined",
                "spec.to[0].default.localityAwareness.localZone.affinityTags[0].key: must not be empty",
                "spec.to[0].default.localityAwareness.localZone.affinityTags[0].weight: must be greater than 0",
                "spec.to[0].default.localityAwareness.localZone.affinityTags: all or none affinity tags should have \
                 weight",
                "spec.to[0].default.localityAwareness.crossZone: must not be set: MeshService traffic is local",
                "spec.to[0].default.localityAwareness.crossZone.failover[0].from.zones[0]: must not be empty",
                "spec.to[0].default.localityAwareness.crossZone.failover[0].to.zones: must be empty when type is None",
                "spec.to[0].default.localityAwareness.crossZone.failover[1].from.zones: must not be empty",
                "spec.to[0].default.localityAwareness.crossZone.failover[1].to.zones: must not be empty when type is \
                 Only",
                "spec.to[0].default.localityAwareness.crossZone.failoverThreshold.percentage: must be greater than 0",
                "spec.to[0].default.hashPolicies[0].cookie.path: must be an absolute path",
                "spec.to[0].default.loadBalancer.ringHash.hashPolicies: hashPolicies already specified in the root \
                 level",
            ],
        );
        refused(
            MeshLoadBalancingStrategy,
            to(json!({"kind": "MeshHTTPRoute", "name": "r"}), json!({"loadBalancer": {"type": "Random"}})),
            &["spec.to[0].default.loadBalancer: field is not allowed when targetRef.kind is MeshHTTPRoute, only \
               hashPolicies is supported"],
        );
    }
}
