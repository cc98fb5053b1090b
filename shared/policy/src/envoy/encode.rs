//! Encoding shared by the drafts.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use prost::{Message, Name};

use super::pb::{Any, core, listener};

/// Packs a message with the prefix `type.googleapis.com/`.
pub fn pack<M: Name + Message>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

/// A network filter with a packed configuration.
pub fn packed_filter<M: Name + Message>(name: &str, message: &M) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(message))),
    }
}

/// A transport socket with a packed configuration.
pub(super) fn packed_transport<M: Name + Message>(name: &str, message: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(message))),
    }
}

/// A gRPC service behind a cluster.
pub(crate) fn grpc_cluster(cluster: &str) -> core::GrpcService {
    let target = core::grpc_service::EnvoyGrpc { cluster_name: cluster.to_owned(), ..Default::default() };
    core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    }
}

/// The protobuf form of a duration.
pub fn duration(value: Duration) -> super::pb::Duration {
    super::pb::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or_default(),
    }
}

/// The name with every character outside `[A-Za-z0-9_-]` replaced by `_`, as used in statistics prefixes.
///
/// Source: Kuma `pkg/util/xds/stats.go`.
pub fn sanitize_stat_prefix(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// Number of bytes of a length-delimited field with a one-byte key.
fn field_len(payload: usize) -> usize {
    1 + encoded_len_varint(payload as u64) + payload
}

fn write_header(field: u32, payload: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(payload as u64, out);
}

fn write_text(field: u32, text: &str, out: &mut Vec<u8>) {
    write_header(field, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Length of a `google.protobuf.Struct` map entry `key: {string_value: value}`.
fn entry_len(key: &str, value: &str) -> usize {
    field_len(key.len()) + field_len(field_len(value.len()))
}

fn struct_len<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    tags.map(|(key, value)| field_len(entry_len(key, value))).sum()
}

/// Appends field `field` holding an `envoy.config.core.v3.Metadata` whose `filter_metadata` has `tags` as strings under
/// every one of `namespaces`. `namespaces` must be sorted for the bytes to be deterministic; `skip` is a tag left out.
pub(super) fn write_metadata(
    field: u32,
    namespaces: &[&str],
    tags: &BTreeMap<String, String>,
    skip: Option<&str>,
    out: &mut Vec<u8>,
) {
    let kept = || tags.iter().filter(|(key, _)| Some(key.as_str()) != skip);
    let fields = struct_len(kept());
    let entry = |namespace: &str| field_len(namespace.len()) + field_len(fields);
    let total = namespaces.iter().map(|namespace| field_len(entry(namespace))).sum();
    write_header(field, total, out);
    for namespace in namespaces {
        write_header(1, entry(namespace), out);
        write_text(1, namespace, out);
        write_header(2, fields, out);
        for (key, value) in kept() {
            write_header(1, entry_len(key, value), out);
            write_text(1, key, out);
            write_header(2, field_len(value.len()), out);
            write_text(3, value, out);
        }
    }
}

/// A message with nothing but field `field`, metadata that has `tags` under `namespace`.
pub(crate) fn encode_metadata_field(field: u32, namespace: &str, tags: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    write_metadata(field, &[namespace], tags, None, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::value::Kind;

    #[test]
    fn metadata_decodes_to_what_was_written() {
        let tags: BTreeMap<_, _> =
            [("app", "backend"), ("skipped", "x"), ("version", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mut bytes = Vec::new();
        write_metadata(6, &["a", "b"], &tags, Some("skipped"), &mut bytes);
        let listener = listener::Listener::decode(bytes.as_slice()).expect("a listener with metadata alone");
        let metadata = listener.metadata.expect("metadata");
        assert_eq!(metadata.filter_metadata.len(), 2);
        for namespace in ["a", "b"] {
            let fields = &metadata.filter_metadata[namespace].fields;
            assert_eq!(fields.len(), 2);
            assert_eq!(fields["app"].kind, Some(Kind::StringValue("backend".to_owned())));
            assert_eq!(fields["version"].kind, Some(Kind::StringValue(String::new())));
        }
    }

    #[test]
    fn stat_prefixes_keep_only_safe_characters() {
        assert_eq!(sanitize_stat_prefix("inbound:10.0.0.1:80"), "inbound_10_0_0_1_80");
        assert_eq!(sanitize_stat_prefix("a-b_C"), "a-b_C");
    }
}
