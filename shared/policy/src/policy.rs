//! Stored policies, decoded once per version and shared.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tandem_model::kind::{Kind, PolicyTraits};
use tandem_model::kri::Kri;
use tandem_model::label;
use tandem_model::resource::{Resource, ResourceKey, Spec};

use crate::registry::policy_type;
use crate::role::{PolicyOrigin, Role};
use crate::schema::SchemaError;
use crate::target_ref::{TargetKind, TargetRef};

/// A policy selected by `targetRef`, ready for matching.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The resource as stored.
    pub resource: Arc<Resource>,
    /// Its identifier.
    pub kri: Kri,
    /// Its role.
    pub role: Role,
    /// Where it was written.
    pub origin: PolicyOrigin,
    /// The proxies; the mesh when the specification names none.
    pub target: TargetRef,
    /// Configuration of outgoing traffic.
    pub to: Vec<Item>,
    /// Configuration of incoming traffic by tags of the client.
    pub from: Vec<Item>,
    /// Configuration of incoming traffic.
    pub rules: Vec<Item>,
    /// Configuration of the proxy itself, for kinds that have neither `to` nor `from`.
    pub default: Option<Value>,
    /// Which of these the kind has.
    pub traits: PolicyTraits,
    /// Whether `from` entries count as rules.
    pub from_as_rules: bool,
    /// Whether what the policy amounts to can change with the destinations of the mesh: it refers to some of them, or is about a route.
    pub refers_to_destinations: bool,
}

/// An entry of `to`, `from` or `rules`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Destinations or clients; the mesh for entries of `rules`.
    pub target: TargetRef,
    /// The configuration in the form in which it merges. For routes: the rules in reverse, and the host names.
    pub conf: Value,
    /// `matches` of an entry of `rules`, for kinds that have it.
    pub matches: Option<Value>,
}

/// The resource is no policy that can be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Its kind is not selected by `targetRef`.
    #[error("{0}: not a policy selected by targetRef")]
    Kind(ResourceKey),
    /// Its specification is not JSON.
    #[error("{0}: the specification is not encoded as JSON")]
    Encoding(ResourceKey),
    /// Its specification does not have the shape of its kind.
    #[error("{key}: {source}")]
    Schema {
        /// The policy.
        key: ResourceKey,
        /// What is wrong.
        source: SchemaError,
    },
}

impl Policy {
    /// Decodes a stored policy. Members that the schema does not know are ignored.
    ///
    /// # Errors
    /// When the resource is of another kind or its specification does not decode.
    pub fn decode(resource: Arc<Resource>) -> Result<Self, PolicyError> {
        let key = || resource.key.clone();
        let kind = policy_type(resource.kind()).ok_or_else(|| PolicyError::Kind(key()))?;
        let traits = resource.kind().descriptor().policy.ok_or_else(|| PolicyError::Kind(key()))?;
        let kri = Kri::of(&resource).ok_or_else(|| PolicyError::Kind(key()))?;
        let Spec::Json(spec) = &resource.spec else { return Err(PolicyError::Encoding(key())) };
        let spec = (kind.canonical)(spec).map_err(|source| PolicyError::Schema { key: key(), source })?;
        let items = |name: &str| {
            let entries = spec[name].as_array().into_iter().flatten();
            entries.map(|entry| Item::new(resource.kind(), entry)).collect()
        };
        let (target, to): (TargetRef, Vec<Item>) = (reference(&spec["targetRef"]), items("to"));
        let names_others =
            |item: &Item| item.target.kind != TargetKind::Mesh && item.target.kind.resource_kind().is_some();
        Ok(Self {
            role: Role::of(&resource.labels),
            origin: PolicyOrigin::of(&resource.labels),
            refers_to_destinations: target.kind == TargetKind::MeshHTTPRoute
                || matches!(resource.kind(), Kind::MeshHTTPRoute | Kind::MeshTCPRoute)
                || to.iter().any(names_others),
            target,
            to,
            from: items("from"),
            rules: items("rules"),
            default: spec.get("default").cloned(),
            traits,
            from_as_rules: kind.from_as_rules,
            kri,
            resource,
        })
    }

    /// Kind of the policy.
    pub fn kind(&self) -> Kind {
        self.resource.kind()
    }

    /// True when the policy has no effect but on previews.
    pub fn is_shadow(&self) -> bool {
        self.resource.label(label::EFFECT) == Some("shadow")
    }

    /// True when its effect on inbounds depends on the tags that callers tell in their requests, which all callers then have to do.
    /// What `rules` say about callers depends on their certificates, and for everybody it depends on nothing.
    pub fn tells_callers_apart(&self) -> bool {
        self.kind() == Kind::MeshFaultInjection && self.from.iter().any(|item| item.target.kind != TargetKind::Mesh)
    }

    /// True for kinds that configure the proxy itself.
    pub fn is_single_item(&self) -> bool {
        !self.traits.to && !self.traits.from
    }
}

impl Item {
    fn new(kind: Kind, entry: &Value) -> Self {
        let target = reference(&entry["targetRef"]);
        let conf = match kind {
            Kind::MeshHTTPRoute => http_route_conf(entry),
            Kind::MeshTCPRoute => tcp_route_conf(entry),
            _ => entry.get("default").cloned().unwrap_or_else(|| Value::Object(Map::new())),
        };
        Self { target, conf, matches: entry.get("matches").cloned() }
    }
}

/// Source: Kuma `pkg/plugins/policies/meshhttproute/api/v1alpha1/helpers.go`.
fn http_route_conf(entry: &Value) -> Value {
    let mut conf = Map::new();
    if let Some(rules) = entry["rules"].as_array().filter(|rules| !rules.is_empty()) {
        conf.insert("rules".to_owned(), rules.iter().rev().cloned().collect());
    }
    if let Some(hostnames) = entry["hostnames"].as_array().filter(|names| !names.is_empty()) {
        conf.insert("hostnames".to_owned(), Value::Array(hostnames.clone()));
    }
    Value::Object(conf)
}

/// Source: Kuma `pkg/plugins/policies/meshtcproute/api/v1alpha1/helpers.go`.
fn tcp_route_conf(entry: &Value) -> Value {
    if let Some(rule) = entry["rules"].get(0) {
        return rule.clone();
    }
    let mut backend = entry["targetRef"].clone();
    backend["weight"] = json!(1);
    json!({"default": {"backendRefs": [backend]}})
}

/// The reference in a specification that its schema has accepted; absent means the mesh.
fn reference(value: &Value) -> TargetRef {
    if value.is_null() {
        return TargetRef::mesh();
    }
    serde_json::from_value(value.clone()).expect("encoded from a TargetRef by the schema of the policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;

    fn named(name: &str, spec: Value) -> Policy {
        policy(Kind::MeshTimeout, name, spec)
    }

    #[test]
    fn an_absent_reference_means_the_mesh() {
        let policy = named("p", json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "90s"}}]}));
        assert_eq!(policy.target, TargetRef::mesh());
        assert_eq!(policy.to[0].conf, json!({"idleTimeout": "1m30s"}));
    }

    #[test]
    fn unknown_members_of_stored_policies_are_ignored() {
        let policy = named("p", json!({"future": 1, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"x": 1}}]}));
        assert_eq!(policy.to[0].conf, json!({}));
    }

    #[test]
    fn undecodable_policies_name_themselves() {
        let key = ResourceKey::new(Kind::MeshTimeout, "m", "bad");
        let resource = Resource::from_json(key, json!({"to": 5}));
        let error = Policy::decode(Arc::new(resource)).expect_err("`to` is no list").to_string();
        assert_eq!(
            error,
            "type=\"MeshTimeout\" name=\"bad\" mesh=\"m\": spec.to: in body must be of type array: \"number\""
        );
    }
}
