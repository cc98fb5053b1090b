//! Settings inside settings: a free-form `conf` as the message it stands for.

use prost::{DecodeError, Message, Name};
use prost_types::Struct;

use super::{JsonError, Unknown, from_json, struct_from_json, struct_to_json, to_json};

/// Reads a free-form `Struct` as a message; an absent one is the empty message.
///
/// # Errors
/// When a member is unknown or of another type.
pub fn from_struct<M: Message + Name + Default>(conf: Option<&Struct>) -> Result<M, JsonError> {
    let Some(conf) = conf else { return Ok(M::default()) };
    let bytes = from_json(&M::full_name(), &struct_to_json(conf), Unknown::Refuse)?;
    M::decode(bytes.as_slice()).map_err(malformed)
}

/// Writes a message as a free-form `Struct`.
///
/// # Errors
/// When the message is not one of this crate.
pub fn to_struct<M: Message + Name>(message: &M) -> Result<Struct, JsonError> {
    struct_from_json(&to_json(&M::full_name(), &message.encode_to_vec())?)
}

fn malformed(error: DecodeError) -> JsonError {
    JsonError { path: String::new(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::v1alpha1::PrometheusMetricsBackendConfig;

    #[test]
    fn there_and_back() {
        let message = PrometheusMetricsBackendConfig {
            port: 1234,
            tags: [("a".to_owned(), "b".to_owned())].into(),
            skip_mtls: Some(false),
            ..PrometheusMetricsBackendConfig::default()
        };
        let conf = to_struct(&message).expect("every message has a JSON form");
        assert_eq!(conf.fields.keys().collect::<Vec<_>>(), ["port", "skipMTLS", "tags"]);
        assert_eq!(from_struct::<PrometheusMetricsBackendConfig>(Some(&conf)), Ok(message));
        assert_eq!(from_struct::<PrometheusMetricsBackendConfig>(None), Ok(PrometheusMetricsBackendConfig::default()));
    }

    #[test]
    fn unknown_members_are_named() {
        let one = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1.0)) };
        let conf = Struct { fields: [("prot".to_owned(), one)].into() };
        let error = from_struct::<PrometheusMetricsBackendConfig>(Some(&conf)).expect_err("no such field");
        assert!(error.to_string().contains("prot"), "{error}");
    }
}
