//! Values of OpenTelemetry, written as JSON.
//!
//! Source of the form: `opentelemetry/proto/common/v1/common.proto` in the JSON mapping of protobuf, of which Kuma's reader takes
//! no notice of members it does not know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envoy_types::pb::opentelemetry::proto::common::v1::any_value::Value as Of;
use envoy_types::pb::opentelemetry::proto::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde_json::{Map, Value};

/// The value that a JSON object stands for, which may be none; `Err` when it is not the form of one.
pub(super) fn parse(json: &Value) -> Result<AnyValue, ()> {
    let members = json.as_object().ok_or(())?;
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(value) = member(name, value)? {
            return Ok(AnyValue { value: Some(value) });
        }
    }
    Ok(AnyValue::default())
}

/// A member of the object; `None` for a name that says nothing.
fn member(name: &str, value: &Value) -> Result<Option<Of>, ()> {
    Ok(Some(match name {
        "stringValue" | "string_value" => Of::StringValue(value.as_str().ok_or(())?.to_owned()),
        "boolValue" | "bool_value" => Of::BoolValue(value.as_bool().ok_or(())?),
        "intValue" | "int_value" => Of::IntValue(match value {
            Value::String(text) => text.parse().map_err(|_| ())?,
            number => number.as_i64().ok_or(())?,
        }),
        "doubleValue" | "double_value" => Of::DoubleValue(match value {
            Value::String(text) => text.parse().map_err(|_| ())?,
            number => number.as_f64().ok_or(())?,
        }),
        "bytesValue" | "bytes_value" => Of::BytesValue(STANDARD.decode(value.as_str().ok_or(())?).map_err(|_| ())?),
        "arrayValue" | "array_value" => {
            let values = items(value)?.iter().map(parse).collect::<Result<_, _>>()?;
            Of::ArrayValue(ArrayValue { values })
        }
        "kvlistValue" | "kvlist_value" => {
            let values = items(value)?.iter().map(pair).collect::<Result<_, _>>()?;
            Of::KvlistValue(KeyValueList { values })
        }
        _ => return Ok(None),
    }))
}

/// The items of `{"values": […]}`.
fn items(json: &Value) -> Result<&[Value], ()> {
    match present(json.as_object().ok_or(())?, "values") {
        None => Ok(&[]),
        Some(values) => values.as_array().map(Vec::as_slice).ok_or(()),
    }
}

fn pair(json: &Value) -> Result<KeyValue, ()> {
    let members = json.as_object().ok_or(())?;
    let key = present(members, "key").map_or(Ok(""), |key| key.as_str().ok_or(()))?.to_owned();
    let value = present(members, "value").map(parse).transpose()?;
    Ok(KeyValue { key, value, ..Default::default() })
}

fn present<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// Replaces all texts in a value, keys included.
pub(super) fn replace(value: &mut AnyValue, with: &impl Fn(&str) -> String) {
    match &mut value.value {
        Some(Of::StringValue(text)) => *text = with(text),
        Some(Of::ArrayValue(array)) => array.values.iter_mut().for_each(|value| replace(value, with)),
        Some(Of::KvlistValue(list)) => {
            for KeyValue { key, value, .. } in &mut list.values {
                *key = with(key);
                value.iter_mut().for_each(|value| replace(value, with));
            }
        }
        _ => {}
    }
}

/// A text as value.
pub(super) fn text(text: String) -> AnyValue {
    AnyValue { value: Some(Of::StringValue(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_of_value_is_read() {
        let value = |json: Value| parse(&json).expect("a value").value;
        assert_eq!(value(json!({"stringValue": "a"})), Some(Of::StringValue("a".to_owned())));
        assert_eq!(value(json!({"string_value": "a"})), Some(Of::StringValue("a".to_owned())));
        assert_eq!(value(json!({"boolValue": true})), Some(Of::BoolValue(true)));
        assert_eq!(value(json!({"intValue": "-7"})), Some(Of::IntValue(-7)));
        assert_eq!(value(json!({"intValue": 7})), Some(Of::IntValue(7)));
        assert_eq!(value(json!({"doubleValue": 1.5})), Some(Of::DoubleValue(1.5)));
        assert_eq!(value(json!({"bytesValue": "aGk="})), Some(Of::BytesValue(b"hi".to_vec())));
        assert_eq!(value(json!({"unknown": 1, "stringValue": null})), None);
        let list = json!({"kvlistValue": {"values": [
            {"key": "a", "value": {"arrayValue": {"values": [{"stringValue": "b"}, {}]}}}, {"key": "c"},
        ]}});
        let pair = |key: &str, value| KeyValue { key: key.to_owned(), value, ..Default::default() };
        let array = ArrayValue { values: vec![text("b".to_owned()), AnyValue::default()] };
        let array = AnyValue { value: Some(Of::ArrayValue(array)) };
        assert_eq!(
            value(list),
            Some(Of::KvlistValue(KeyValueList { values: vec![pair("a", Some(array)), pair("c", None)] }))
        );
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for json in [
            json!("text"),
            json!(7),
            json!([]),
            json!({"stringValue": 7}),
            json!({"intValue": "x"}),
            json!({"kvlistValue": {"values": [7]}}),
            json!({"arrayValue": {"values": {}}}),
        ] {
            assert!(parse(&json).is_err(), "{json}");
        }
    }
}
