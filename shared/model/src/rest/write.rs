//! Resource to JSON.

use std::ops::Deref;

use jiff::Timestamp;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use tandem_proto::json::{JsonError, Written};

use super::{LABELS, MESH, NAME, SPEC, STATUS, TYPE};
use crate::kind::{Encoding, Kind};
use crate::kri::Kri;
use crate::resource::{DecodeError, Resource, Spec};

/// A resource that is serialized in its JSON form, without anything in between: `&Resource`, or `Arc<Resource>`.
///
/// What is stored for a specification has to be an encoding of the message of its kind, otherwise the serializer fails.
#[derive(Debug, Clone, Copy)]
pub struct Shown<R>(pub R);

impl<R: Deref<Target = Resource>> Serialize for Shown<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resource = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        serialize_meta(resource, &mut map)?;
        match (&resource.spec, resource.kind().descriptor().encoding) {
            (Spec::Proto(bytes), Encoding::Proto { message }) => {
                Written::new(message, bytes).map_err(S::Error::custom)?.serialize_members(&mut map)?;
            }
            (Spec::Json(spec), Encoding::Json { status }) => {
                map.serialize_entry(SPEC, spec)?;
                if status {
                    map.serialize_entry(STATUS, &status_json(resource.kind(), resource.status.as_ref()))?;
                }
            }
            _ => return Err(S::Error::custom("the specification is stored in the encoding of another kind")),
        }
        map.end()
    }
}

/// The JSON form of a resource.
///
/// # Errors
/// When the specification is not a valid encoding of the message of its kind.
pub fn to_json(resource: &Resource) -> Result<Value, DecodeError> {
    match (&resource.spec, resource.kind().descriptor().encoding) {
        (Spec::Proto(_), Encoding::Proto { .. }) | (Spec::Json(_), Encoding::Json { .. }) => {}
        (Spec::Proto(_), _) => return Err(DecodeError::Encoding { key: resource.key.clone(), expected: "JSON" }),
        (Spec::Json(_), _) => return Err(DecodeError::Encoding { key: resource.key.clone(), expected: "protobuf" }),
    }
    serde_json::to_value(Shown(resource)).map_err(|error| DecodeError::Message {
        key: resource.key.clone(),
        source: JsonError { path: String::new(), reason: error.to_string() },
    })
}

/// The members that all kinds have in common, without specification and status.
pub fn meta_json(resource: &Resource) -> Map<String, Value> {
    struct Meta<'a>(&'a Resource);
    impl Serialize for Meta<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            serialize_meta(self.0, &mut map)?;
            map.end()
        }
    }
    match serde_json::to_value(Meta(resource)) {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("texts and maps of texts have a JSON form, and it is an object"),
    }
}

fn serialize_meta<M: SerializeMap>(resource: &Resource, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry(TYPE, resource.kind().name())?;
    if resource.kind().is_mesh_scoped() && !resource.key.mesh.is_empty() {
        map.serialize_entry(MESH, &resource.key.mesh)?;
    }
    map.serialize_entry(NAME, &resource.key.name)?;
    map.serialize_entry("creationTime", &timestamp(resource.created))?;
    map.serialize_entry("modificationTime", &timestamp(resource.modified))?;
    if !resource.labels.is_empty() {
        map.serialize_entry(LABELS, &resource.labels)?;
    }
    if let Some(kri) = Kri::of(resource) {
        map.serialize_entry("kri", &kri.to_string())?;
    }
    Ok(())
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
