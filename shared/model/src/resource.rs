//! A resource: its key, metadata, specification and status.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::kind::{Encoding, Kind};
use crate::label;

/// Labels of a resource, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// Mesh that is meant where none is named.
pub const DEFAULT_MESH: &str = "default";

/// Identity of a resource: unique in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// Type of the resource.
    pub kind: Kind,
    /// Mesh; empty for kinds of global scope.
    pub mesh: String,
    /// Stored name (may carry a synchronization hash, see [`label::DISPLAY_NAME`]).
    pub name: String,
}

impl ResourceKey {
    /// The key of `name` in `mesh`; pass an empty mesh for kinds of global scope.
    pub fn new(kind: Kind, mesh: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, mesh: mesh.into(), name: name.into() }
    }

    /// The key of a resource of global scope.
    pub fn global(kind: Kind, name: impl Into<String>) -> Self {
        Self::new(kind, "", name)
    }
}

/// Prints as clients of Kuma know it from error texts: `type="T" name="N" mesh="M"`.
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type={:?} name={:?} mesh={:?}", self.kind.name(), self.name, self.mesh)
    }
}

/// Specification of a resource in the encoding of its kind.
///
/// Kept encoded so that nothing a peer sent is lost, unknown protobuf fields included; decode with
/// [`Resource::proto`] or [`Resource::json`].
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// Deterministic protobuf encoding (map keys sorted) of the message that the kind's descriptor names.
    Proto(Bytes),
    /// JSON object; member order is kept.
    Json(serde_json::Value),
}

/// A stored or to-be-stored resource. Immutable once in a store; shared as `Arc<Resource>`.
#[derive(Clone, PartialEq)]
pub struct Resource {
    /// Identity.
    pub key: ResourceKey,
    /// Labels as stored.
    pub labels: Labels,
    /// Version of this resource: the revision of the store that wrote it last; grows with every write, and none comes
    /// twice, not even after a deletion. Set by the store.
    pub version: u64,
    /// When it was created; set by the store if it is `Timestamp::UNIX_EPOCH`.
    pub created: Timestamp,
    /// When it was last written; set by the store.
    pub modified: Timestamp,
    /// Resource whose deletion deletes this one.
    pub owner: Option<ResourceKey>,
    /// Specification.
    pub spec: Spec,
    /// Status; `None` for kinds without status.
    pub status: Option<serde_json::Value>,
}

/// Leaves out what only administrators may see.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, labels, version, created, modified, owner, spec, status } = self;
        let mut shown = f.debug_struct("Resource");
        shown.field("key", key).field("labels", labels).field("version", version);
        shown.field("created", created).field("modified", modified).field("owner", owner);
        if key.kind.descriptor().admin_only {
            return shown.finish_non_exhaustive();
        }
        shown.field("spec", spec).field("status", status).finish()
    }
}

/// Why the specification of a resource could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a valid encoding of the expected message.
    #[error("{key}: invalid protobuf: {source}")]
    Proto {
        /// Resource that failed to decode.
        key: ResourceKey,
        /// Reason.
        source: prost::DecodeError,
    },
    /// The bytes do not fit the message of the kind.
    #[error("{key}: invalid protobuf: {source}")]
    Message {
        /// Resource that failed to decode.
        key: ResourceKey,
        /// Reason.
        source: tandem_proto::json::JsonError,
    },
    /// The JSON does not have the expected shape.
    #[error("{key}: invalid JSON: {source}")]
    Json {
        /// Resource that failed to decode.
        key: ResourceKey,
        /// Reason, with the path of the offending member.
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// The kind uses the other encoding.
    #[error("{key}: not encoded as {expected}")]
    Encoding {
        /// Resource that failed to decode.
        key: ResourceKey,
        /// Encoding that was asked for.
        expected: &'static str,
    },
}

impl Resource {
    /// A new resource without labels and owner, not yet stored.
    pub fn new(key: ResourceKey, spec: Spec) -> Self {
        let status = match key.kind.descriptor().encoding {
            Encoding::Json { status: true } => Some(serde_json::Value::Object(serde_json::Map::new())),
            _ => None,
        };
        Self {
            key,
            labels: Labels::new(),
            version: 0,
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
            owner: None,
            spec,
            status,
        }
    }

    /// A new resource whose specification is the protobuf message `spec`.
    pub fn from_proto(key: ResourceKey, spec: &impl prost::Message) -> Self {
        Self::new(key, Spec::Proto(spec.encode_to_vec().into()))
    }

    /// A new resource whose specification is the JSON value `spec`.
    pub fn from_json(key: ResourceKey, spec: serde_json::Value) -> Self {
        Self::new(key, Spec::Json(spec))
    }

    /// The same resource with these labels.
    #[must_use]
    pub fn with_labels<K: Into<String>, V: Into<String>>(mut self, labels: impl IntoIterator<Item = (K, V)>) -> Self {
        self.labels = labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self
    }

    /// The same resource owned by `owner`.
    #[must_use]
    pub fn with_owner(mut self, owner: ResourceKey) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Type of the resource.
    pub fn kind(&self) -> Kind {
        self.key.kind
    }

    /// Value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// The name the user knows: label `kuma.io/display-name` if set and not empty, else the stored name.
    pub fn display_name(&self) -> &str {
        self.label(label::DISPLAY_NAME).filter(|name| !name.is_empty()).unwrap_or(&self.key.name)
    }

    /// Decodes a protobuf specification.
    ///
    /// # Errors
    /// When the kind is not encoded as protobuf or the bytes are not a valid `M`.
    pub fn proto<M: prost::Message + Default>(&self) -> Result<M, DecodeError> {
        match &self.spec {
            Spec::Proto(bytes) => {
                M::decode(bytes.clone()).map_err(|source| DecodeError::Proto { key: self.key.clone(), source })
            }
            Spec::Json(_) => Err(DecodeError::Encoding { key: self.key.clone(), expected: "protobuf" }),
        }
    }

    /// Decodes a JSON specification.
    ///
    /// # Errors
    /// When the kind is not encoded as JSON or the value does not have the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match &self.spec {
            Spec::Json(value) => serde_path_to_error::deserialize(value)
                .map_err(|source| DecodeError::Json { key: self.key.clone(), source }),
            Spec::Proto(_) => Err(DecodeError::Encoding { key: self.key.clone(), expected: "JSON" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let spec = || Spec::Proto(Bytes::from_static(b"hush-hush"));
        for (kind, shown) in [(Kind::Secret, false), (Kind::GlobalSecret, false), (Kind::Mesh, true)] {
            let text = format!("{:?}", Resource::new(ResourceKey::new(kind, "", "named"), spec()));
            assert!(text.contains("named"), "{text}");
            assert_eq!(text.contains("hush-hush"), shown, "{text}");
        }
    }
}
