//! How a resource is written: the key under which it is stored and the message stored there.
//!
//! Key: name of the kind, NUL, mesh, NUL, name. Message: [`Record`], in the [`super::envelope`] of the store.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use tandem_model::{Kind, Resource, ResourceKey, Spec};

/// Everything of a resource but its key, which is the key of the record.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(btree_map = "string, string", tag = "1")]
    labels: BTreeMap<String, String>,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(message, required, tag = "3")]
    created: Time,
    #[prost(message, required, tag = "4")]
    modified: Time,
    #[prost(message, optional, tag = "5")]
    owner: Option<Key>,
    #[prost(oneof = "EncodedSpec", tags = "6, 7")]
    spec: Option<EncodedSpec>,
    /// JSON text.
    #[prost(bytes = "vec", optional, tag = "8")]
    status: Option<Vec<u8>>,
}

/// Time since the Unix epoch.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanoseconds: i32,
}

/// The key of a resource that a record names.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Key {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    mesh: String,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum EncodedSpec {
    /// The protobuf encoding as it is.
    #[prost(bytes = "vec", tag = "6")]
    Proto(Vec<u8>),
    /// JSON text.
    #[prost(bytes = "vec", tag = "7")]
    Json(Vec<u8>),
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.as_second(), nanoseconds: time.subsec_nanosecond() }
    }
}

impl TryFrom<Time> for Timestamp {
    type Error = jiff::Error;

    fn try_from(time: Time) -> Result<Self, Self::Error> {
        Timestamp::new(time.seconds, time.nanoseconds)
    }
}

/// The key under which a resource is stored.
pub(super) fn encode_key(key: &ResourceKey) -> Vec<u8> {
    let kind = key.kind.name();
    let mut bytes = Vec::with_capacity(kind.len() + key.mesh.len() + key.name.len() + 2);
    bytes.extend_from_slice(kind.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.mesh.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.name.as_bytes());
    bytes
}

/// The resource key that [`encode_key`] made `bytes` of, or why there is none.
pub(super) fn decode_key(bytes: &[u8]) -> Result<ResourceKey, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("invalid key: {error}"))?;
    let mut parts = text.splitn(3, '\0');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(mesh), Some(name)) => {
            let kind = Kind::from_str(kind).map_err(|error| error.to_string())?;
            Ok(ResourceKey::new(kind, mesh, name))
        }
        _ => Err("invalid key: not a type, a mesh and a name".to_owned()),
    }
}

impl From<&ResourceKey> for Key {
    fn from(key: &ResourceKey) -> Self {
        Self { kind: key.kind.name().to_owned(), mesh: key.mesh.clone(), name: key.name.clone() }
    }
}

impl TryFrom<Key> for ResourceKey {
    type Error = String;

    fn try_from(Key { kind, mesh, name }: Key) -> Result<Self, String> {
        let kind = Kind::from_str(&kind).map_err(|error| error.to_string())?;
        Ok(ResourceKey::new(kind, mesh, name))
    }
}

impl Record {
    /// The record of a resource, or why there is none.
    pub(super) fn of(resource: &Resource) -> Result<Self, String> {
        let json = |value| serde_json::to_vec(value).map_err(|error| error.to_string());
        let spec = match &resource.spec {
            Spec::Proto(bytes) => EncodedSpec::Proto(bytes.to_vec()),
            Spec::Json(value) => EncodedSpec::Json(json(value)?),
        };
        Ok(Self {
            labels: resource.labels.clone(),
            version: resource.version,
            created: resource.created.into(),
            modified: resource.modified.into(),
            owner: resource.owner.as_ref().map(Key::from),
            spec: Some(spec),
            status: resource.status.as_ref().map(json).transpose()?,
        })
    }

    /// The same record for a history, which has nothing to say about what is observed.
    pub(super) fn without_status(self) -> Self {
        Self { status: None, ..self }
    }

    /// The resource of which this is the record, or why there is none.
    pub(super) fn into_resource(self, key: ResourceKey) -> Result<Resource, String> {
        let json = |text: &[u8]| serde_json::from_slice(text).map_err(|error| error.to_string());
        let spec = match self.spec {
            Some(EncodedSpec::Proto(bytes)) => Spec::Proto(bytes.into()),
            Some(EncodedSpec::Json(text)) => Spec::Json(json(&text)?),
            None => return Err("no specification".to_owned()),
        };
        let time = |time: Time| Timestamp::try_from(time).map_err(|error| error.to_string());
        Ok(Resource {
            key,
            labels: self.labels,
            version: self.version,
            created: time(self.created)?,
            modified: time(self.modified)?,
            owner: self.owner.map(ResourceKey::try_from).transpose().map_err(|error| format!("owner: {error}"))?,
            spec,
            status: self.status.as_deref().map(json).transpose()?,
        })
    }
}

/// What the store as a whole was at its last commit; written with every commit.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Summary {
    /// Revision of the last commit.
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    /// Number of resources.
    #[prost(uint64, tag = "2")]
    pub(super) resources: u64,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::json;

    use super::*;

    fn resource() -> Resource {
        let spec = json!({"z": [1, -2, 0.1, 1e300, u64::MAX], "a": {"ä": null, "": true}});
        let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "web"), spec)
            .with_labels([("kuma.io/origin", "zone"), ("empty", "")])
            .with_owner(ResourceKey::global(Kind::Mesh, "default"));
        resource.version = 7;
        resource.created = "1969-12-31T23:59:59.5Z".parse().expect("a valid time");
        resource.modified = "2025-01-02T03:04:05.123456789Z".parse().expect("a valid time");
        resource
    }

    #[test]
    fn nothing_is_lost() {
        let mut proto = resource();
        proto.spec = Spec::Proto(vec![0, 255, 1].into());
        proto.status = None;
        proto.owner = None;
        for resource in [resource(), proto] {
            let key = decode_key(&encode_key(&resource.key)).expect("a valid key");
            let encoded = Record::of(&resource).expect("encodable").encode_to_vec();
            let decoded = Record::decode(&encoded[..]).expect("a valid record").into_resource(key).expect("a resource");
            assert_eq!(decoded, resource);
            assert_eq!(format!("{:?}", decoded.spec), format!("{:?}", resource.spec), "order of members");
        }
    }

    #[test]
    fn keys_without_a_known_type_are_refused() {
        assert_eq!(decode_key(b"Mush\0\0x").expect_err("unknown"), "unknown resource type \"Mush\"");
        assert!(decode_key(b"Mesh\0x").is_err());
        assert!(decode_key(b"Mesh\0\0\xff").is_err());
    }
}
