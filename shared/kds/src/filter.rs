//! Which resources a control plane sends.
//!
//! Source of the rules: Kuma `pkg/kds/context/context.go`.

use std::collections::BTreeSet;

use serde_json::Value;
use tandem_model::{Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::mesh::v1alpha1::ZoneIngress;

use crate::feature::Features;

/// The one Config that travels.
const CLUSTER_ID: &str = "kuma-cluster-id";
const SYSTEM_ROLE: &str = "system";
const PRODUCER_ROLE: &str = "producer";

/// False for resources that stay where they are, whoever the peer is and whatever they say, although others of their kind
/// travel: the notes that control planes make for themselves, which change often.
pub(crate) fn may_travel(key: &ResourceKey) -> bool {
    key.kind != Kind::Config || key.name == CLUSTER_ID
}

/// What decides whether global sends a resource to one zone.
#[derive(Debug)]
pub struct ToZone<'a> {
    /// The zone that receives.
    pub zone: &'a str,
    /// What it understands.
    pub features: Features,
    /// Zones whose resources are withheld from others.
    pub disabled_zones: &'a BTreeSet<String>,
}

impl ToZone<'_> {
    /// True when the zone gets this resource.
    pub fn admits(&self, resource: &Resource) -> bool {
        let kind = resource.kind();
        let direction = kind.descriptor().direction;
        if !direction.sent_to_zones() || is_kept_local(resource) {
            return false;
        }
        match kind {
            Kind::Config => return may_travel(&resource.key),
            Kind::GlobalSecret if stays_on_global(&resource.key.name) => return false,
            Kind::HostnameGenerator
                if !self.features.hostname_generator_multi_zone && selects_multi_zone_services(resource) =>
            {
                return false;
            }
            _ => {}
        }
        if is_policy_without_target_ref(resource) && !self.features.optional_target_ref {
            return false;
        }
        if has_origin(resource, label::ORIGIN_GLOBAL) {
            return direction.global_to_zones();
        }
        direction.across_zones() && self.admits_from_other_zone(resource)
    }

    fn admits_from_other_zone(&self, resource: &Resource) -> bool {
        if resource.kind().is_target_ref_policy()
            && !(self.features.producer_policy_flow && is_producer_policy(resource) && self.is_addressed(resource))
        {
            return false;
        }
        let source = source_zone(resource);
        source != self.zone && !self.disabled_zones.contains(&source)
    }

    /// False for a policy about proxies of one zone which is not this one.
    fn is_addressed(&self, resource: &Resource) -> bool {
        let Spec::Json(spec) = &resource.spec else { return true };
        let target = &spec["targetRef"];
        if target["kind"] != "MeshSubset" {
            return true;
        }
        match &target["tags"][label::ZONE] {
            Value::Null => true,
            zone => zone == self.zone,
        }
    }
}

/// True when a zone sends this resource to global.
pub fn zone_sends(resource: &Resource) -> bool {
    resource.kind().descriptor().direction.sent_to_global()
        && !is_kept_local(resource)
        && has_origin(resource, label::ORIGIN_ZONE)
}

/// Zone in which a resource that is passed on to other zones was created.
pub fn source_zone(resource: &Resource) -> String {
    if resource.kind() == Kind::ZoneIngress {
        return resource.proto::<ZoneIngress>().map(|ingress| ingress.zone).unwrap_or_default();
    }
    match resource.label(label::ZONE) {
        Some(zone) => zone.to_owned(),
        None => resource.key.name.split('.').next().unwrap_or_default().to_owned(),
    }
}

fn is_kept_local(resource: &Resource) -> bool {
    resource.label(label::KDS_SYNC) == Some("disabled")
}

fn has_origin(resource: &Resource, side: &str) -> bool {
    resource.label(label::ORIGIN).is_none_or(|origin| origin == side)
}

fn stays_on_global(secret: &str) -> bool {
    matches!(secret, "envoy-admin-ca" | "admin-user-token" | "inter-cp-ca" | "user-token-revocations")
        || secret.starts_with("user-token-signing-key")
}

fn selects_multi_zone_services(generator: &Resource) -> bool {
    matches!(&generator.spec, Spec::Json(spec) if !spec["selector"]["meshMultiZoneService"].is_null())
}

fn is_policy_without_target_ref(resource: &Resource) -> bool {
    resource.kind().is_target_ref_policy() && matches!(&resource.spec, Spec::Json(spec) if spec["targetRef"].is_null())
}

fn is_producer_policy(policy: &Resource) -> bool {
    let claimed = policy.label(label::POLICY_ROLE).unwrap_or(SYSTEM_ROLE);
    let Spec::Json(spec) = &policy.spec else { return false };
    claimed == PRODUCER_ROLE && policy_role(spec, policy.label(label::K8S_NAMESPACE)) == Some(PRODUCER_ROLE)
}

/// Role of a policy in a namespace; `None` when its parts contradict each other.
fn policy_role(spec: &Value, namespace: Option<&str>) -> Option<&'static str> {
    let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) else { return Some(SYSTEM_ROLE) };
    let items = |name: &str| spec[name].as_array().map_or(&[][..], Vec::as_slice);
    let (from, to) = (items("from"), items("to"));
    match (from.is_empty(), to.is_empty()) {
        (false, false) => return None,
        (_, true) => return Some("workload-owner"),
        (true, false) => {}
    }
    let producers = to.iter().filter(|item| is_producer_item(item, namespace)).count();
    match producers {
        0 => Some("consumer"),
        all if all == to.len() => Some(PRODUCER_ROLE),
        _ => None,
    }
}

fn is_producer_item(item: &Value, namespace: &str) -> bool {
    let target = &item["targetRef"];
    let text = |name: &str| target[name].as_str().unwrap_or_default();
    matches!(text("kind"), "MeshService" | "MeshHTTPRoute")
        && !text("name").is_empty()
        && (text("namespace").is_empty() || text("namespace") == namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_model::ResourceKey;
    use tandem_proto::system::v1alpha1::Secret;

    use super::*;

    fn admits(resource: &Resource) -> bool {
        admits_with(resource, Features::all(), &[])
    }

    fn admits_with(resource: &Resource, features: Features, disabled: &[&str]) -> bool {
        let disabled_zones = disabled.iter().map(|&zone| zone.to_owned()).collect();
        ToZone { zone: "west", features, disabled_zones: &disabled_zones }.admits(resource)
    }

    fn secret(name: &str) -> Resource {
        Resource::from_proto(ResourceKey::global(Kind::GlobalSecret, name), &Secret::default())
    }

    fn timeout(labels: &[(&str, &str)], spec: Value) -> Resource {
        Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", "t"), spec)
            .with_labels(labels.iter().copied())
    }

    fn producer(spec: Value) -> Resource {
        timeout(
            &[
                (label::ORIGIN, "zone"),
                (label::ZONE, "east"),
                (label::K8S_NAMESPACE, "ns"),
                (label::POLICY_ROLE, "producer"),
            ],
            spec,
        )
    }

    fn to(target: Value) -> Value {
        json!({"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": target}]})
    }

    #[test]
    fn secrets_of_global_stay_there() {
        for name in
            ["envoy-admin-ca", "admin-user-token", "inter-cp-ca", "user-token-revocations", "user-token-signing-key-7"]
        {
            assert!(!admits(&secret(name)), "{name}");
        }
        for name in ["zone-token-signing-key-1", "zone-token-revocations", "mine"] {
            assert!(admits(&secret(name)), "{name}");
        }
    }

    #[test]
    fn of_configs_only_the_cluster_id_travels() {
        let config = |name| {
            Resource::from_proto(
                ResourceKey::global(Kind::Config, name),
                &tandem_proto::system::v1alpha1::Config::default(),
            )
        };
        assert!(admits(&config("kuma-cluster-id")));
        assert!(!admits(&config("cp-catalog")));
    }

    #[test]
    fn the_label_keeps_a_resource_local() {
        let spec = json!({"targetRef": {"kind": "Mesh"}});
        assert!(admits(&timeout(&[], spec.clone())));
        assert!(admits(&timeout(&[(label::KDS_SYNC, "enabled")], spec.clone())));
        assert!(!admits(&timeout(&[(label::KDS_SYNC, "disabled")], spec.clone())));
        assert!(zone_sends(&timeout(&[], spec.clone())));
        assert!(zone_sends(&timeout(&[(label::ORIGIN, "zone")], spec.clone())));
        assert!(!zone_sends(&timeout(&[(label::ORIGIN, "global")], spec.clone())));
        assert!(!zone_sends(&timeout(&[(label::KDS_SYNC, "disabled")], spec)));
    }

    #[test]
    fn features_withhold_what_a_zone_cannot_read() {
        let old = Features { hash_suffix: true, ..Features::default() };
        assert!(!admits_with(&timeout(&[], json!({})), old, &[]));
        assert!(admits(&timeout(&[], json!({}))));
        let generator = |selector: &str| {
            let key = ResourceKey::global(Kind::HostnameGenerator, "h");
            Resource::from_json(key, json!({"selector": {selector: {"matchLabels": {}}}}))
        };
        assert!(!admits_with(&generator("meshMultiZoneService"), old, &[]));
        assert!(admits_with(&generator("meshService"), old, &[]));
        assert!(admits(&generator("meshMultiZoneService")));
        assert!(!admits_with(&producer(to(json!({"kind": "MeshService", "name": "a"}))), old, &[]));
    }

    #[test]
    fn producer_policies_reach_other_zones() {
        assert!(admits(&producer(to(json!({"kind": "MeshService", "name": "a"})))));
        assert!(admits(&producer(to(json!({"kind": "MeshService", "name": "a", "namespace": "ns"})))));
        assert!(!admits(&producer(to(json!({"kind": "MeshService", "name": "a", "namespace": "other"})))));
        assert!(!admits(&producer(to(json!({"kind": "MeshService", "labels": {"a": "b"}})))));
        assert!(!admits(&producer(to(json!({"kind": "Mesh"})))));
        let mixed = json!({
            "targetRef": {"kind": "Mesh"},
            "to": [{"targetRef": {"kind": "MeshService", "name": "a"}}, {"targetRef": {"kind": "Mesh"}}],
        });
        assert!(!admits(&producer(mixed)));
        let system = timeout(&[(label::ORIGIN, "zone"), (label::ZONE, "east")], to(json!({"kind": "Mesh"})));
        assert!(!admits(&system));
    }

    #[test]
    fn a_policy_about_one_zone_reaches_only_that_zone() {
        let about = |zone: &str| {
            producer(json!({
                "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/zone": zone}},
                "to": [{"targetRef": {"kind": "MeshService", "name": "a"}}],
            }))
        };
        assert!(admits(&about("west")));
        assert!(!admits(&about("north")));
    }

    #[test]
    fn services_and_ingresses_reach_the_other_zones_while_theirs_is_enabled() {
        let service = |zone: &str| {
            Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "s"), json!({}))
                .with_labels([(label::ORIGIN, "zone"), (label::ZONE, zone)])
        };
        assert!(admits(&service("east")));
        assert!(!admits(&service("west")), "its own");
        assert!(!admits_with(&service("east"), Features::all(), &["east"]));
        let ingress = |zone: &str| {
            let spec = ZoneIngress { zone: zone.into(), ..ZoneIngress::default() };
            Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, "i"), &spec)
                .with_labels([(label::ORIGIN, "zone"), (label::ZONE, "anything")])
        };
        assert!(admits(&ingress("east")));
        assert!(!admits(&ingress("west")));
        let made_on_global = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "s"), json!({}));
        assert!(!admits(&made_on_global));
    }

    #[test]
    fn proxies_stay_between_their_zone_and_global() {
        let dataplane = Resource::new(ResourceKey::new(Kind::Dataplane, "m", "d"), Spec::Proto(Default::default()));
        assert!(!admits(&dataplane));
        assert!(zone_sends(&dataplane));
        let mesh = Resource::new(ResourceKey::global(Kind::Mesh, "m"), Spec::Proto(Default::default()));
        assert!(admits(&mesh));
        assert!(!zone_sends(&mesh));
    }
}
