//! Resource to the object that a user of Kubernetes would write.
//!
//! Source of the format: Kuma `pkg/plugins/resources/k8s/mapper.go`, `pkg/plugins/secrets/k8s/mapper.go` and the generated types of
//! objects.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::write::{meta_json, status_json, to_json};
use super::{MESH, SPEC, STATUS};
use crate::kind::{Encoding, Kind};
use crate::label;
use crate::resource::{DecodeError, Resource};

/// Namespace of objects for which none is given.
pub const SYSTEM_NAMESPACE: &str = "kuma-system";

/// Labels that a control plane computes. In another one they would be wrong.
const COMPUTED_LABELS: [&str; 10] = [
    label::MESH,
    label::ORIGIN,
    label::ZONE,
    label::ENV,
    label::DISPLAY_NAME,
    label::PROXY_TYPE,
    label::POLICY_ROLE,
    label::MANAGED_BY,
    label::K8S_NAMESPACE,
    label::DELETION_GRACE_PERIOD_STARTED_AT,
];

/// The Kubernetes object of a resource: as stored, but with none of the labels that control planes compute. `namespace` is for
/// kinds whose objects have one.
///
/// ```text
/// encoded as protobuf  {kind, apiVersion, metadata, mesh?, spec}
/// others               {kind, apiVersion, metadata, spec, status?}; the mesh is a label
/// secrets              {kind: Secret, apiVersion: v1, metadata, data, type}; the mesh is a label
/// ```
///
/// # Errors
/// When the specification is not a valid encoding of the message of its kind.
pub fn to_kubernetes_json(resource: &Resource, namespace: &str) -> Result<Value, DecodeError> {
    let kind = resource.kind();
    let mut members = match to_json(resource)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let metadata = metadata(resource, namespace);
    let mesh = &resource.key.mesh;
    if let Some(secret) = secret_type(kind) {
        let value = members.remove("data").unwrap_or_else(|| "".into());
        let data = json!({"value": value});
        return Ok(json!({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": data, "type": secret}));
    }
    let mut object = Map::new();
    object.insert("kind".to_owned(), kind.name().into());
    object.insert("apiVersion".to_owned(), "kuma.io/v1alpha1".into());
    object.insert("metadata".to_owned(), Value::Object(metadata));
    match kind.descriptor().encoding {
        Encoding::Proto { .. } => {
            if !mesh.is_empty() {
                object.insert(MESH.to_owned(), mesh.as_str().into());
            }
            let of_all_kinds = meta_json(resource);
            members.retain(|name, _| !of_all_kinds.contains_key(name));
            object.insert(SPEC.to_owned(), Value::Object(members));
        }
        Encoding::Json { status } => {
            object.insert(SPEC.to_owned(), members.remove(SPEC).unwrap_or_else(|| json!({})));
            if status {
                object.insert(STATUS.to_owned(), status_json(kind, resource.status.as_ref()));
            }
        }
    }
    Ok(Value::Object(object))
}

fn metadata(resource: &Resource, namespace: &str) -> Map<String, Value> {
    let kind = resource.kind();
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), resource.key.name.as_str().into());
    if is_namespaced(kind) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    metadata.insert("creationTimestamp".to_owned(), seconds(resource.created).into());
    let own = resource.labels.iter().filter(|(label, _)| !COMPUTED_LABELS.contains(&label.as_str()));
    let mut labels: Map<String, Value> = own.map(|(label, value)| (label.clone(), value.as_str().into())).collect();
    if (kind.is_json() || secret_type(kind).is_some()) && !resource.key.mesh.is_empty() {
        labels.insert(label::MESH.to_owned(), resource.key.mesh.as_str().into());
    }
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    metadata
}

/// RFC 3339 in whole seconds; nothing for a resource that was never stored.
fn seconds(time: Timestamp) -> Option<String> {
    (time != Timestamp::UNIX_EPOCH).then(|| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Type of the Kubernetes Secret that holds a secret.
fn secret_type(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Secret => Some("system.kuma.io/secret"),
        Kind::GlobalSecret => Some("system.kuma.io/global-secret"),
        _ => None,
    }
}

/// True for kinds whose objects live in a namespace. Older ones mostly belong to the cluster.
fn is_namespaced(kind: Kind) -> bool {
    let of_proxies = matches!(
        kind,
        Kind::Dataplane
            | Kind::DataplaneInsight
            | Kind::ZoneIngress
            | Kind::ZoneIngressInsight
            | Kind::ZoneEgress
            | Kind::ZoneEgressInsight
            | Kind::Config
    );
    kind.is_json() || of_proxies || secret_type(kind).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKey;
    use crate::rest::{Unknown, from_json};

    fn stored(value: Value) -> Resource {
        let mut resource = from_json(value, None, Unknown::Refuse).expect("a valid resource").resource;
        resource.created = "2026-01-02T03:04:05.678Z".parse().expect("a time");
        resource
    }

    fn object(value: Value) -> Value {
        to_kubernetes_json(&stored(value), "ns").expect("it decodes")
    }

    #[test]
    fn policies_of_the_older_generation_belong_to_the_cluster() {
        let conf = json!({"connectTimeout": "5s"});
        let selectors = json!([{"match": {"kuma.io/service": "*"}}]);
        let timeout = json!({
            "type": "Timeout", "mesh": "m", "name": "t", "labels": {"kuma.io/mesh": "m"},
            "sources": selectors, "destinations": selectors, "conf": conf,
        });
        let expected = json!({
            "kind": "Timeout", "apiVersion": "kuma.io/v1alpha1",
            "metadata": {"name": "t", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "mesh": "m",
            "spec": {"sources": selectors, "destinations": selectors, "conf": conf},
        });
        assert_eq!(object(timeout).to_string(), expected.to_string());
    }

    #[test]
    fn meshes_belong_to_none() {
        let expected = json!({
            "kind": "Mesh", "apiVersion": "kuma.io/v1alpha1",
            "metadata": {"name": "m", "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": {},
        });
        assert_eq!(object(json!({"type": "Mesh", "name": "m"})), expected);
    }

    #[test]
    fn proxies_have_a_namespace() {
        let networking = json!({"address": "10.0.0.1"});
        let dataplane = object(json!({"type": "Dataplane", "mesh": "m", "name": "d", "networking": networking}));
        assert_eq!(dataplane["metadata"]["namespace"], "ns");
        assert_eq!((&dataplane["mesh"], &dataplane["spec"]), (&json!("m"), &json!({"networking": networking})));
    }

    #[test]
    fn newer_kinds_carry_their_mesh_as_a_label() {
        let spec = json!({"targetRef": {"kind": "Mesh"}});
        let labels = json!({
            "kuma.io/effect": "shadow", "team": "a", "kuma.io/mesh": "m", "kuma.io/origin": "zone", "kuma.io/zone": "z",
            "kuma.io/env": "universal", "kuma.io/display-name": "p", "kuma.io/policy-role": "system",
        });
        let policy = object(json!({"type": "MeshRetry", "mesh": "m", "name": "p", "labels": labels, "spec": spec}));
        let expected = json!({
            "kind": "MeshRetry", "apiVersion": "kuma.io/v1alpha1",
            "metadata": {
                "name": "p", "namespace": "ns", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"kuma.io/effect": "shadow", "kuma.io/mesh": "m", "team": "a"},
            },
            "spec": spec,
        });
        assert_eq!(policy, expected);
    }

    #[test]
    fn status_is_there_for_kinds_that_have_one() {
        let mut service = Resource::from_json(ResourceKey::new(Kind::MeshService, "m", "s"), json!({"ports": []}));
        service.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
        let object = to_kubernetes_json(&service, "ns").expect("it decodes");
        let expected = json!({"vips": [{"ip": "241.0.0.1"}], "tls": {}, "dataplaneProxies": {}});
        assert_eq!(object["status"], expected);
        assert_eq!(object["metadata"]["creationTimestamp"], Value::Null);
    }

    #[test]
    fn secrets_are_secrets_of_kubernetes() {
        let expected = json!({
            "kind": "Secret", "apiVersion": "v1",
            "metadata": {
                "name": "s", "namespace": "ns", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"kuma.io/mesh": "m"},
            },
            "data": {"value": "dGVzdA=="}, "type": "system.kuma.io/secret",
        });
        assert_eq!(object(json!({"type": "Secret", "mesh": "m", "name": "s", "data": "dGVzdA=="})), expected);
        let global = object(json!({"type": "GlobalSecret", "name": "s", "data": "dGVzdA=="}));
        assert_eq!(global["type"], "system.kuma.io/global-secret");
        assert_eq!(global["metadata"].get("labels"), None);
    }
}
