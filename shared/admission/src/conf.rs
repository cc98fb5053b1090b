//! Settings inside settings: the free-form `conf` of mesh backends as the message it stands for.

use prost::{Message, Name};
use prost_types::Struct;
use serde_json::{Map, Value};
use tandem_proto::json::{self, JsonError, Unknown};
use tandem_proto::mesh::v1alpha1::MetricsBackend;

/// The member of [`MetricsBackend`] that holds free-form settings. The JSON mapping treats such settings as a plain object
/// where they are a member of a message, so a message that has nothing else carries them there and back.
const CONF: &str = "conf";

/// Reads a `conf` as the message its backend's type calls for; an absent one is the empty message.
pub(crate) fn typed<M: Message + Name + Default>(conf: Option<&Struct>) -> Result<M, JsonError> {
    let Some(conf) = conf else { return Ok(M::default()) };
    let carrier = MetricsBackend { conf: Some(conf.clone()), ..MetricsBackend::default() };
    let mut members = json::to_json(&MetricsBackend::full_name(), &carrier.encode_to_vec())?;
    let Some(Value::Object(object)) = members.remove(CONF) else { return Ok(M::default()) };
    let bytes = json::from_json(&M::full_name(), &object, Unknown::Refuse)?;
    M::decode(bytes.as_slice()).map_err(malformed)
}

/// Writes a message as `conf`.
pub(crate) fn free_form<M: Message + Name>(message: &M) -> Result<Struct, JsonError> {
    let object = json::to_json(&M::full_name(), &message.encode_to_vec())?;
    let members = Map::from_iter([(CONF.to_owned(), Value::Object(object))]);
    let bytes = json::from_json(&MetricsBackend::full_name(), &members, Unknown::Refuse)?;
    let carrier = MetricsBackend::decode(bytes.as_slice()).map_err(malformed)?;
    Ok(carrier.conf.unwrap_or_default())
}

fn malformed(error: prost::DecodeError) -> JsonError {
    JsonError { path: String::new(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::mesh::v1alpha1::PrometheusMetricsBackendConfig;

    #[test]
    fn there_and_back() {
        let message = PrometheusMetricsBackendConfig {
            port: 1234,
            tags: [("a".to_owned(), "b".to_owned())].into(),
            skip_mtls: Some(false),
            ..PrometheusMetricsBackendConfig::default()
        };
        let conf = free_form(&message).expect("every message has a JSON form");
        assert_eq!(typed::<PrometheusMetricsBackendConfig>(Some(&conf)), Ok(message));
        assert_eq!(typed::<PrometheusMetricsBackendConfig>(None), Ok(PrometheusMetricsBackendConfig::default()));
    }

    #[test]
    fn unknown_members_are_named() {
        let conf = Struct {
            fields: [(
                "prot".to_owned(),
                prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1.0)) },
            )]
            .into(),
        };
        let error = typed::<PrometheusMetricsBackendConfig>(Some(&conf)).expect_err("no such field");
        assert!(error.to_string().contains("prot"), "{error}");
    }
}
