//! Messages of which only the name of the type is known, to be read and edited member by member.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use crate::{EnvoyJsonError, descriptor};

/// Decodes a message with this full name, such as `envoy.config.cluster.v3.Cluster`.
///
/// # Errors
/// See [`EnvoyJsonError`].
pub fn decode(message: &str, bytes: &[u8]) -> Result<DynamicMessage, EnvoyJsonError> {
    DynamicMessage::decode(descriptor(message)?, bytes)
        .map_err(|source| EnvoyJsonError::Encoding { message: message.to_owned(), source: source.into() })
}

/// Reads the JSON form of a message with this full name. Names of members may be in lower camel case or as in the definition.
///
/// # Errors
/// See [`EnvoyJsonError`].
pub fn from_json(message: &str, json: &serde_json::Value) -> Result<DynamicMessage, EnvoyJsonError> {
    DynamicMessage::deserialize(descriptor(message)?, json)
        .map_err(|source| EnvoyJsonError::Read { message: message.to_owned(), source })
}

/// Encodes a message in one way only: members in the order of their numbers, entries of maps in the order of their keys.
pub fn encode(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in message.fields() {
        match value {
            Value::Map(entries) => {
                let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                entries.sort_by(|one, other| one.0.cmp(other.0));
                entries.into_iter().for_each(|(key, value)| part(&field, &entry(&field, key, value), &mut out));
            }
            Value::List(items) if matches!(field.kind(), Kind::Message(_)) => {
                items.iter().filter_map(Value::as_message).for_each(|item| part(&field, item, &mut out));
            }
            Value::Message(member) => part(&field, member, &mut out),
            plain => {
                let mut alone = DynamicMessage::new(message.descriptor());
                alone.set_field(&field, plain.clone());
                out.extend(alone.encode_to_vec());
            }
        }
    }
    message.unknown_fields().for_each(|field| field.encode(&mut out));
    out
}

/// Appends a message as value of a member.
fn part(field: &FieldDescriptor, value: &DynamicMessage, out: &mut Vec<u8>) {
    let bytes = encode(value);
    encode_key(field.number(), WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}

/// An entry of a map: a message of two members.
fn entry(field: &FieldDescriptor, key: &MapKey, value: &Value) -> DynamicMessage {
    let Kind::Message(descriptor) = field.kind() else { unreachable!("entries of maps are messages") };
    let (of_key, of_value) = (descriptor.map_entry_key_field(), descriptor.map_entry_value_field());
    let mut entry = DynamicMessage::new(descriptor);
    entry.set_field(&of_key, key.clone().into());
    entry.set_field(&of_value, value.clone());
    entry
}

/// True for messages that are a single value: a length of time, or a value whose absence means something.
fn is_value(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    name == "google.protobuf.Duration"
        || name.strip_prefix("google.protobuf.").is_some_and(|name| name.ends_with("Value") && name != "ListValue")
}

/// Puts what `patch` has into `target`, a message of the same type: members that are messages are merged, lists appended, entries of
/// maps and everything else replaced. A `Duration`, and a wrapped value such as a `BoolValue`, is replaced as a whole.
///
/// Source: Kuma `pkg/util/proto/google_proto.go`.
pub fn merge(target: &mut DynamicMessage, patch: &DynamicMessage) {
    for (field, value) in patch.fields() {
        match value {
            Value::List(items) => {
                if let Some(list) = target.get_field_mut(&field).as_list_mut() {
                    list.extend(items.iter().cloned());
                }
            }
            Value::Map(entries) => {
                if let Some(map) = target.get_field_mut(&field).as_map_mut() {
                    map.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
            }
            Value::Message(member) if target.has_field(&field) && !is_value(member) => {
                if let Some(known) = target.get_field_mut(&field).as_message_mut() {
                    merge(known, member);
                }
            }
            value => target.set_field(&field, value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::to_json;

    fn listener(json: Json) -> DynamicMessage {
        from_json("envoy.config.listener.v3.Listener", &json).expect("a listener")
    }

    fn merged(target: Json, patch: Json) -> Json {
        let mut target = listener(target);
        merge(&mut target, &listener(patch));
        to_json("envoy.config.listener.v3.Listener", &encode(&target)).expect("has a JSON form")
    }

    #[test]
    fn merging_appends_lists_and_replaces_values() {
        let target = json!({
            "name": "l", "enableReusePort": true, "listenerFiltersTimeout": "5s", "listenerFilters": [{"name": "a"}],
            "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 80}},
            "metadata": {"filterMetadata": {"kept": {"x": "1"}, "replaced": {"y": "1"}}},
        });
        let patch = json!({
            "enable_reuse_port": false, "listenerFiltersTimeout": "0.5s", "listenerFilters": [{"name": "b"}],
            "address": {"socketAddress": {"portValue": 81}}, "metadata": {"filterMetadata": {"replaced": {"z": "2"}}},
        });
        let expected = json!({
            "name": "l", "enableReusePort": false, "listenerFiltersTimeout": "0.500s",
            "listenerFilters": [{"name": "a"}, {"name": "b"}],
            "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 81}},
            "metadata": {"filterMetadata": {"kept": {"x": "1"}, "replaced": {"z": "2"}}},
        });
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn of_alternatives_the_one_of_the_patch_stays() {
        let target = json!({"address": {"pipe": {"path": "/p"}}});
        let patch = json!({"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 80}}});
        assert_eq!(merged(target, patch.clone()), patch);
    }

    #[test]
    fn equal_messages_have_equal_encodings() {
        let tags: serde_json::Map<_, _> = (0..20).map(|number| (format!("tag-{number}"), json!("value"))).collect();
        let message = json!({"name": "l", "metadata": {"filterMetadata": {"io.kuma.tags": tags, "other": {"a": "b"}}}});
        let encoded = encode(&listener(message.clone()));
        assert_eq!(encoded, encode(&listener(message.clone())));
        assert_eq!(to_json("envoy.config.listener.v3.Listener", &encoded).expect("has a JSON form"), message);
    }

    #[test]
    fn what_is_not_known_stays() {
        // Field 900 as a number.
        let mut bytes = encode(&listener(json!({"name": "l"})));
        bytes.extend([0xa0, 0x38, 7]);
        let decoded = decode("envoy.config.listener.v3.Listener", &bytes).expect("decodes");
        assert_eq!(encode(&decoded), bytes);
    }

    #[test]
    fn members_that_do_not_exist_are_named() {
        let error = from_json("envoy.config.listener.v3.Listener", &json!({"nmae": "l"})).expect_err("refused");
        assert!(error.to_string().contains("nmae"), "{error}");
    }
}
