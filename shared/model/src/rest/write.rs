//! Resource to JSON.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{LABELS, MESH, NAME, SPEC, STATUS, TYPE};
use crate::kind::{Encoding, Kind};
use crate::kri::Kri;
use crate::resource::{DecodeError, Resource, Spec};

/// The JSON form of a resource.
///
/// # Errors
/// When the specification is not a valid encoding of the message of its kind.
pub fn to_json(resource: &Resource) -> Result<Value, DecodeError> {
    let mut object = meta_json(resource);
    match (&resource.spec, resource.kind().descriptor().encoding) {
        (Spec::Proto(bytes), Encoding::Proto { message }) => {
            let members = tandem_proto::json::to_json(message, bytes)
                .map_err(|source| DecodeError::Message { key: resource.key.clone(), source })?;
            object.extend(members);
        }
        (Spec::Json(spec), Encoding::Json { status }) => {
            object.insert(SPEC.to_owned(), spec.clone());
            if status {
                object.insert(STATUS.to_owned(), status_json(resource.kind(), resource.status.as_ref()));
            }
        }
        (Spec::Proto(_), _) => return Err(DecodeError::Encoding { key: resource.key.clone(), expected: "JSON" }),
        (Spec::Json(_), _) => return Err(DecodeError::Encoding { key: resource.key.clone(), expected: "protobuf" }),
    }
    Ok(Value::Object(object))
}

/// The members that all kinds have in common, without specification and status.
pub fn meta_json(resource: &Resource) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert(TYPE.to_owned(), resource.kind().name().into());
    if resource.kind().is_mesh_scoped() && !resource.key.mesh.is_empty() {
        object.insert(MESH.to_owned(), resource.key.mesh.clone().into());
    }
    object.insert(NAME.to_owned(), resource.key.name.clone().into());
    object.insert("creationTime".to_owned(), timestamp(resource.created).into());
    object.insert("modificationTime".to_owned(), timestamp(resource.modified).into());
    if !resource.labels.is_empty() {
        let labels = resource.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        object.insert(LABELS.to_owned(), Value::Object(labels));
    }
    if let Some(kri) = Kri::of(resource) {
        object.insert("kri".to_owned(), kri.to_string().into());
    }
    object
}

/// The JSON form of a list: `total` counts all matches, `items` holds one page, `next` is the address of the
/// following page.
pub fn list_json(total: usize, items: Vec<Value>, next: Option<String>) -> Value {
    json!({ "total": total, "items": items, "next": next })
}

/// A status with the members that clients always get, even when it is empty or absent.
pub fn status_json(kind: Kind, stored: Option<&Value>) -> Value {
    let always = match kind {
        Kind::MeshService => json!({ "tls": {}, "dataplaneProxies": {} }),
        Kind::MeshExternalService => json!({ "vip": {} }),
        Kind::Workload => json!({ "dataplaneProxies": { "connected": 0, "healthy": 0, "total": 0 } }),
        _ => json!({}),
    };
    match stored {
        Some(stored @ Value::Object(_)) => {
            let mut status = stored.clone();
            fill(&mut status, always);
            status
        }
        _ => always,
    }
}

/// Adds the members of `always` that `value` lacks.
fn fill(value: &mut Value, always: Value) {
    if let (Value::Object(value), Value::Object(always)) = (value, always) {
        for (name, member) in always {
            match value.get_mut(&name) {
                Some(present) => fill(present, member),
                None => {
                    value.insert(name, member);
                }
            }
        }
    }
}

/// RFC 3339 in UTC without trailing zeros; a resource that was never stored has the earliest time clients know.
fn timestamp(time: Timestamp) -> String {
    if time == Timestamp::UNIX_EPOCH { "0001-01-01T00:00:00Z".to_owned() } else { time.to_string() }
}
