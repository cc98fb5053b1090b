//! Resources to and from their form on the wire.
//!
//! Source of the format: Kuma `pkg/core/resources/model/utils.go` and `pkg/kds/util/resource.go`. Decoding is strict
//! about types and lenient about content: unknown fields are kept and never refused.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DynamicMessage;
use sha2::{Digest, Sha256};
use tandem_model::kind::Encoding;
use tandem_model::{Kind, Labels, Resource, ResourceKey, Spec};

use crate::wire::{self, Any, DeltaResource, KumaResource, Meta};

/// Longest name or mesh accepted from a peer, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// Most labels accepted from a peer. Nobody has more than some dozens.
const MAX_LABELS: usize = 512;
/// Longest key or value of a label accepted from a peer, in bytes. Longer than Kubernetes has them: the label with the
/// name that people see may hold a whole name, and those of the future may hold more.
const MAX_LABEL_BYTES: usize = 1024;

/// SHA-256 of an encoded [`KumaResource`].
pub type Version = [u8; 32];

/// A resource ready to be put into any response.
#[derive(Debug)]
pub struct Encoded {
    /// What is remembered of it once it was sent.
    pub head: Arc<Head>,
    /// The encoded [`DeltaResource`].
    pub body: Bytes,
}

/// Name and version of a resource, shared by all streams that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `<name>.<mesh>` as the peer sees it.
    pub name: Arc<str>,
    /// Digest of the content.
    pub version: Version,
}

/// A resource as it is to be sent: the stored one with some parts replaced.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Type.
    pub kind: Kind,
    /// Mesh; empty for types of global scope.
    pub mesh: &'a str,
    /// Name that the peer sees.
    pub name: String,
    /// Labels that the peer sees.
    pub labels: Labels,
    /// Specification.
    pub spec: Cow<'a, Spec>,
    /// Status; `None` sends an empty one where the type has a status.
    pub status: Option<&'a serde_json::Value>,
}

/// Encodes a resource.
///
/// # Errors
/// When a JSON value cannot be written, or the specification is not in the encoding of its type; as text for people.
pub fn encode(outgoing: Outgoing<'_>) -> Result<Encoded, String> {
    let spec = match (outgoing.kind.descriptor().encoding, &*outgoing.spec) {
        (Encoding::Proto { message }, Spec::Proto(bytes)) => {
            Any { type_url: format!("{}{message}", wire::TYPE_URL_PREFIX), value: bytes.clone() }
        }
        (Encoding::Json { .. }, Spec::Json(value)) => Any { type_url: String::new(), value: json_text(value)? },
        _ => return Err(format!("the specification is not in the encoding of {}", outgoing.kind)),
    };
    let status = match (outgoing.kind.has_status(), outgoing.status) {
        (false, _) => None,
        (true, None) => Some(Any { type_url: String::new(), value: Bytes::from_static(b"{}") }),
        (true, Some(status)) => Some(Any { type_url: String::new(), value: json_text(status)? }),
    };
    let name: Arc<str> = wire::resource_name(&outgoing.name, outgoing.mesh).into();
    let meta =
        Meta { name: outgoing.name, mesh: outgoing.mesh.to_owned(), version: String::new(), labels: outgoing.labels };
    let content = KumaResource { meta: Some(meta), spec: Some(spec), status }.encode_to_vec();
    let version: Version = Sha256::digest(&content).into();
    let resource = DeltaResource {
        version: hex::encode(version),
        resource: Some(Any { type_url: wire::RESOURCE_TYPE_URL.to_owned(), value: content.into() }),
        name: name.to_string(),
    };
    Ok(Encoded { head: Arc::new(Head { name, version }), body: resource.encode_to_vec().into() })
}

fn json_text(value: &serde_json::Value) -> Result<Bytes, String> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| error.to_string())
}

/// A resource of a response that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Which one, as far as it could be read.
    pub key: Option<ResourceKey>,
    /// What is wrong, as text for people.
    pub reason: String,
}

/// Decodes one resource of a response of type `kind`.
///
/// # Errors
/// When it is not a resource of that type, or names no valid key.
pub fn decode(kind: Kind, body: &Bytes) -> Result<Resource, Undecodable> {
    let outer = DeltaResource::decode(body.clone())
        .map_err(|error| Undecodable { key: None, reason: format!("not a resource: {error}") })?;
    let (name, mesh) = wire::split_resource_name(&outer.name);
    let announced = (!name.is_empty()).then(|| ResourceKey::new(kind, mesh, name));
    inner(kind, outer).map_err(|failure| Undecodable { key: failure.key.or(announced), reason: failure.reason })
}

fn inner(kind: Kind, outer: DeltaResource) -> Result<Resource, Undecodable> {
    let unnamed = |reason: String| Undecodable { key: None, reason };
    let any = outer.resource.ok_or_else(|| unnamed("no content".into()))?;
    if any.type_url != wire::RESOURCE_TYPE_URL {
        return Err(unnamed(format!("content of type {:?}, expected {:?}", any.type_url, wire::RESOURCE_TYPE_URL)));
    }
    let resource = KumaResource::decode(any.value).map_err(|error| unnamed(format!("not a KumaResource: {error}")))?;
    let meta = resource.meta.ok_or_else(|| unnamed("no meta".into()))?;
    check_identity(kind, &meta).map_err(unnamed)?;

    let key = ResourceKey::new(kind, meta.mesh, meta.name);
    let named = |reason: String| Undecodable { key: Some(key.clone()), reason };
    let spec = match kind.descriptor().encoding {
        Encoding::Proto { message } => Spec::Proto(proto_spec(message, resource.spec).map_err(named)?),
        Encoding::Json { .. } => Spec::Json(json_object("spec", resource.spec).map_err(named)?),
    };
    let status = if kind.has_status() {
        let status = resource.status.filter(|status| !status.value.is_empty());
        match status {
            Some(status) => Some(json_object("status", Some(status)).map_err(named)?),
            None => Some(serde_json::Value::Object(serde_json::Map::new())),
        }
    } else {
        None
    };
    let mut decoded = Resource::new(key, spec);
    decoded.labels = meta.labels;
    decoded.status = status;
    Ok(decoded)
}

fn check_identity(kind: Kind, meta: &Meta) -> Result<(), String> {
    if meta.name.is_empty() {
        return Err("the name is empty".into());
    }
    if kind.is_mesh_scoped() && meta.mesh.is_empty() {
        return Err(format!("{kind} {:?} names no mesh", meta.name));
    }
    if !kind.is_mesh_scoped() && !meta.mesh.is_empty() {
        return Err(format!("{kind} {:?} names mesh {:?}, but {kind} belongs to no mesh", meta.name, meta.mesh));
    }
    for (what, value) in [("name", &meta.name), ("mesh", &meta.mesh)] {
        if value.len() > MAX_NAME_BYTES {
            return Err(format!("the {what} is longer than {MAX_NAME_BYTES} bytes"));
        }
        if value.chars().any(|c| c.is_control() || c == '/') {
            return Err(format!("the {what} {value:?} contains a character that is not allowed"));
        }
    }
    check_labels(&meta.labels)
}

fn check_labels(labels: &Labels) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("it has {} labels, more than {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels {
        if key.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES {
            let end = key.floor_char_boundary(64);
            return Err(format!("key or value of the label {:?} is longer than {MAX_LABEL_BYTES} bytes", &key[..end]));
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return Err(format!("the label {key:?} contains a character that is not allowed"));
        }
    }
    Ok(())
}

fn proto_spec(message: &'static str, spec: Option<Any>) -> Result<Bytes, String> {
    let spec = spec.ok_or_else(|| format!("no spec, expected {message}"))?;
    let expected = format!("{}{message}", wire::TYPE_URL_PREFIX);
    if spec.type_url != expected {
        return Err(format!("spec of type {:?}, expected {expected:?}", spec.type_url));
    }
    let descriptor = tandem_proto::descriptor_pool()
        .get_message_by_name(message)
        .ok_or_else(|| format!("no description of message {message}"))?;
    DynamicMessage::decode(descriptor, spec.value.clone()).map_err(|error| format!("spec: {error}"))?;
    // A copy, because what came is a part of the whole response, which would stay in memory as long as this does.
    Ok(Bytes::copy_from_slice(&spec.value))
}

fn json_object(part: &str, any: Option<Any>) -> Result<serde_json::Value, String> {
    let any = any.ok_or_else(|| format!("no {part}"))?;
    let value: serde_json::Value = serde_json::from_slice(&any.value).map_err(|error| format!("{part}: {error}"))?;
    if value.is_object() { Ok(value) } else { Err(format!("{part}: expected a JSON object")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_model::label;

    use super::*;

    fn outgoing(resource: &Resource) -> Outgoing<'_> {
        Outgoing {
            kind: resource.kind(),
            mesh: &resource.key.mesh,
            name: resource.key.name.clone(),
            labels: resource.labels.clone(),
            spec: Cow::Borrowed(&resource.spec),
            status: resource.status.as_ref(),
        }
    }

    fn version_of(resource: &Resource) -> String {
        hex::encode(encode(outgoing(resource)).expect("encodable").head.version)
    }

    #[test]
    fn versions_are_those_of_kuma() {
        let mesh = Resource::new(ResourceKey::global(Kind::Mesh, "default"), Spec::Proto(Bytes::new()))
            .with_labels([(label::ORIGIN, "global")]);
        assert_eq!(version_of(&mesh), "ee3ed1993ca3721e6609c0fb78bb711a00f96c808af6675986293d420dc0d6d1");

        let secret = Resource::new(
            ResourceKey::new(Kind::Secret, "default", "zs1"),
            Spec::Proto(Bytes::from_static(b"\x0a\x08\x0a\x06global")),
        )
        .with_labels([(label::MESH, "default"), (label::ORIGIN, "global")]);
        assert_eq!(version_of(&secret), "399412a5d72755e3dbdfdc958acdcfe16205b8ebe7abe3fba0dd44d39ed65475");

        let service = Resource::from_json(
            ResourceKey::new(Kind::MeshMultiZoneService, "default", "web-cb6xdxxdc26z9czd"),
            json!({
                "selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "web"}}},
                "ports": [{"port": 8080, "appProtocol": "http"}],
            }),
        )
        .with_labels([(label::DISPLAY_NAME, "web"), (label::MESH, "default"), (label::ORIGIN, "global")]);
        assert_eq!(version_of(&service), "4c3075dd0c8a529e60f2068eb68f47c56f9e8db887d6aca0e06ab84b88ace5c8");
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same() {
        let mut service = Resource::from_json(
            ResourceKey::new(Kind::MeshService, "default", "a.b"),
            json!({"ports": [], "aFieldFromTheFuture": 1}),
        )
        .with_labels([("team", "x")]);
        service.status = Some(json!({"vips": [{"ip": "10.0.0.1"}]}));
        let encoded = encode(outgoing(&service)).expect("encodable");
        assert_eq!(&*encoded.head.name, "a.b.default");
        assert_eq!(decode(Kind::MeshService, &encoded.body).expect("decodable"), service);

        // Field 1000 is unknown to every message.
        let unknown = Bytes::from_static(&[0xc2, 0x3e, 0x01, 0x61]);
        let zone_egress = Resource::new(ResourceKey::global(Kind::ZoneEgress, "ze"), Spec::Proto(unknown));
        let encoded = encode(outgoing(&zone_egress)).expect("encodable");
        assert_eq!(decode(Kind::ZoneEgress, &encoded.body).expect("decodable"), zone_egress);
    }

    #[test]
    fn what_was_decoded_keeps_nothing_of_the_response_in_memory() {
        let spec = Spec::Proto(Bytes::from_static(&[0xc2, 0x3e, 0x01, 0x61]));
        let egress = Resource::new(ResourceKey::global(Kind::ZoneEgress, "ze"), spec);
        let body = Bytes::from(encode(outgoing(&egress)).expect("encodable").body.to_vec());
        let decoded = decode(Kind::ZoneEgress, &body).expect("decodable");
        assert!(body.is_unique(), "{decoded:?} holds a part of it");
    }

    fn body(name: &str, content: Option<Any>) -> Bytes {
        DeltaResource { version: "v".into(), resource: content, name: name.into() }.encode_to_vec().into()
    }

    fn kuma_resource(meta: Meta, spec: Option<Any>) -> Option<Any> {
        let resource = KumaResource { meta: Some(meta), spec, status: None };
        Some(Any { type_url: wire::RESOURCE_TYPE_URL.into(), value: resource.encode_to_vec().into() })
    }

    fn meta(name: &str, mesh: &str) -> Meta {
        Meta { name: name.into(), mesh: mesh.into(), ..Meta::default() }
    }

    fn with_labels(meta: Meta, labels: impl IntoIterator<Item = (String, String)>) -> Meta {
        Meta { labels: labels.into_iter().collect(), ..meta }
    }

    #[test]
    fn each_defect_is_named_and_keeps_the_key() {
        let key = Some(ResourceKey::new(Kind::MeshTimeout, "default", "t"));
        let json =
            |text: &'static str| Some(Any { type_url: String::new(), value: Bytes::from_static(text.as_bytes()) });
        let labelled = |labels: Vec<(String, String)>| {
            body("t.default", kuma_resource(with_labels(meta("t", "default"), labels), json("{}")))
        };
        let cases = [
            (body("t.default", None), "no content"),
            (body("t.default", Some(Any { type_url: "x".into(), value: Bytes::new() })), "content of type \"x\""),
            (body("t.default", kuma_resource(meta("t", "default"), None)), "no spec"),
            (body("t.default", kuma_resource(meta("t", "default"), json(""))), "spec: EOF"),
            (body("t.default", kuma_resource(meta("t", "default"), json("[]"))), "expected a JSON object"),
            (body("t.default", kuma_resource(meta("", "default"), json("{}"))), "the name is empty"),
            (body("t.default", kuma_resource(meta("t", ""), json("{}"))), "names no mesh"),
            (body("t.default", kuma_resource(meta("t\0", "default"), json("{}"))), "not allowed"),
            (labelled(vec![("a".to_owned(), "\0".to_owned())]), "label \"a\" contains a character"),
            (labelled(vec![("a".to_owned(), "x".repeat(1025))]), "label \"a\" is longer"),
            (labelled((0..513).map(|index| (index.to_string(), String::new())).collect()), "513 labels"),
        ];
        for (body, reason) in cases {
            let failure = decode(Kind::MeshTimeout, &body).expect_err(reason);
            assert!(failure.reason.contains(reason), "{failure:?} should tell {reason:?}");
            assert_eq!(failure.key, key, "{reason}");
        }
        let garbage = decode(Kind::MeshTimeout, &Bytes::from_static(&[0xff, 0xff])).expect_err("garbage");
        assert_eq!(garbage.key, None);
    }

    #[test]
    fn a_protobuf_spec_must_be_of_its_type_and_well_formed() {
        let any = |message: &str, value: &'static [u8]| {
            Some(Any { type_url: format!("{}{message}", wire::TYPE_URL_PREFIX), value: Bytes::from_static(value) })
        };
        let mesh = |spec| body("default.", kuma_resource(meta("default", ""), spec));
        assert!(decode(Kind::Mesh, &mesh(any("kuma.mesh.v1alpha1.Mesh", b""))).is_ok());
        let wrong = decode(Kind::Mesh, &mesh(any("kuma.mesh.v1alpha1.Retry", b""))).expect_err("another type");
        assert!(wrong.reason.contains("kuma.mesh.v1alpha1.Retry"), "{wrong:?}");
        let broken = decode(Kind::Mesh, &mesh(any("kuma.mesh.v1alpha1.Mesh", b"\x0a\xff"))).expect_err("truncated");
        assert!(broken.reason.starts_with("spec: "), "{broken:?}");
        assert_eq!(broken.key, Some(ResourceKey::global(Kind::Mesh, "default")));
        let scoped = body("default.m", kuma_resource(meta("default", "m"), any("kuma.mesh.v1alpha1.Mesh", b"")));
        assert!(decode(Kind::Mesh, &scoped).expect_err("a Mesh in a mesh").reason.contains("belongs to no mesh"));
    }
}
