//! Envoy's messages by descriptors that are compiled into the program: as JSON (the canonical mapping of protobuf), and as messages
//! whose type is known by name only.
//!
//! The descriptors cover everything that can be part of an Envoy's configuration, and cost memory only once they are used.

mod dynamic;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use serde_json::Value;

pub use dynamic::{decode, encode, from_json, merge};
pub use prost_reflect;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));
    DescriptorPool::decode(&descriptors[..]).expect("the build wrote a complete set of descriptors")
});

/// Why a message cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyJsonError {
    /// Nothing is known of the type.
    #[error("{0} is no message of Envoy's configuration")]
    UnknownType(String),
    /// The bytes are no message of the type.
    #[error("cannot decode a {message}: {source}")]
    Encoding {
        /// Full name of the type.
        message: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The JSON is not that of a message of the type.
    #[error("this is no {message}: {source}")]
    Read {
        /// Full name of the type.
        message: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A part of it has no JSON form, such as a packed message of an unknown type.
    #[error("cannot write a {message} as JSON: {source}")]
    Write {
        /// Full name of the type.
        message: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

fn descriptor(message: &str) -> Result<MessageDescriptor, EnvoyJsonError> {
    POOL.get_message_by_name(message).ok_or_else(|| EnvoyJsonError::UnknownType(message.to_owned()))
}

/// The JSON form of an encoded message with this full name, such as `envoy.config.cluster.v3.Cluster`. Members are in lower camel
/// case, 64-bit numbers are text, and defaults are left out.
///
/// # Errors
/// See [`EnvoyJsonError`].
pub fn to_json(message: &str, bytes: &[u8]) -> Result<Value, EnvoyJsonError> {
    as_json(&decode(message, bytes)?)
}

/// The JSON form of a message, as [`to_json`] has it.
///
/// # Errors
/// See [`EnvoyJsonError`].
pub fn as_json(message: &DynamicMessage) -> Result<Value, EnvoyJsonError> {
    let options = SerializeOptions::new().stringify_64_bit_integers(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|source| EnvoyJsonError::Write { message: message.descriptor().full_name().to_owned(), source })
}

/// The JSON form of the message in an encoded `google.protobuf.Any`, with its type URL as first member `@type`.
///
/// # Errors
/// See [`EnvoyJsonError`].
pub fn any_to_json(any: &[u8]) -> Result<Value, EnvoyJsonError> {
    to_json("google.protobuf.Any", any)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
    use prost::Message as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_packed_message_becomes_json() {
        let cluster = Cluster {
            name: "c".to_owned(),
            connect_timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            per_connection_buffer_limit_bytes: Some(UInt32Value { value: 7 }),
            ..Cluster::default()
        };
        let type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
        let any = Any { type_url: type_url.clone(), value: cluster.encode_to_vec() };
        assert_eq!(
            any_to_json(&any.encode_to_vec()).expect("known"),
            json!({"@type": type_url, "name": "c", "connectTimeout": "1.500s", "perConnectionBufferLimitBytes": 7})
        );
    }

    #[test]
    fn filters_of_the_contrib_image_are_known() {
        let message = "envoy.extensions.filters.network.kafka_broker.v3.KafkaBroker";
        // Member 1, text of 5 bytes.
        let value = b"\x0a\x05kafka".to_vec();
        let any = Any { type_url: format!("type.googleapis.com/{message}"), value };
        assert_eq!(any_to_json(&any.encode_to_vec()).expect("known")["statPrefix"], "kafka");
    }

    #[test]
    fn what_is_unknown_or_broken_is_named() {
        let error = to_json("envoy.Nothing", b"").expect_err("unknown");
        assert!(error.to_string().contains("envoy.Nothing"), "{error}");
        let error = to_json("envoy.config.cluster.v3.Cluster", b"\xff").expect_err("broken");
        assert!(error.to_string().contains("envoy.config.cluster.v3.Cluster"), "{error}");
        let any = Any { type_url: "type.googleapis.com/x.Y".to_owned(), value: Vec::new() };
        assert!(any_to_json(&any.encode_to_vec()).is_err());
    }
}
