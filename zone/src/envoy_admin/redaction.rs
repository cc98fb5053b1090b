//! Takes credentials out of a configuration dump.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// What stands in place of a credential.
const REDACTED: &str = "[redacted]";

/// Shorter texts are credentials only where they are a whole value; they may be part of anything.
const UNMISTAKABLE: usize = 16;

/// A configuration dump without what the proxy authenticates with: the values of all headers named `authorization`, wherever else
/// in the dump they are, too. All other bytes stay as Envoy wrote them.
///
/// # Errors
/// When the dump is no JSON, or a value cannot be taken out.
pub(super) fn redacted(dump: Bytes) -> Result<Bytes, String> {
    let found = credentials(&dump)?;
    if found.is_empty() {
        return Ok(dump);
    }
    let mut text =
        String::from_utf8(dump.into()).map_err(|_| "the configuration dump is not JSON: not UTF-8".to_owned())?;
    for credential in &found {
        let quoted = serde_json::to_string(credential).map_err(|error| error.to_string())?;
        text = text.replace(&quoted, &format!("\"{REDACTED}\""));
        if credential.len() >= UNMISTAKABLE {
            text = text.replace(quoted.trim_matches('"'), REDACTED);
        }
    }
    // Envoy may write a text in another way than this program does.
    if !credentials(text.as_bytes())?.is_empty() {
        return Err("a credential in the configuration dump cannot be taken out, so it is not shown".to_owned());
    }
    Ok(text.into())
}

/// The credentials in a dump.
fn credentials(dump: &[u8]) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let mut json = serde_json::Deserializer::from_slice(dump);
    let read = Walk { found: &mut found }.deserialize(&mut json).and_then(|_| json.end());
    read.map_err(|error| format!("the configuration dump is not JSON: {error}"))?;
    found.retain(|value| !value.is_empty() && value != REDACTED);
    Ok(found)
}

/// Goes through a value without keeping it; texts are handed to who asked.
struct Walk<'a> {
    found: &'a mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element_seed(Walk { found: &mut *self.found })?.is_some() {}
        Ok(None)
    }

    /// A header is a map with the members `key` and `value`, or `raw_value`.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut is_credential = false;
        let mut values = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            let text = members.next_value_seed(Walk { found: &mut *self.found })?;
            match name.as_str() {
                "key" => is_credential = text.is_some_and(|key| key.eq_ignore_ascii_case("authorization")),
                "value" | "raw_value" => values.extend(text),
                _ => {}
            }
        }
        if is_credential {
            self.found.extend(values);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(dump: &str) -> Result<String, String> {
        let redacted = super::redacted(Bytes::copy_from_slice(dump.as_bytes()))?;
        Ok(String::from_utf8(redacted.to_vec()).expect("text"))
    }

    #[test]
    fn credentials_are_taken_out_and_nothing_else() {
        let dump = r#"{
 "configs": [
  {"initial_metadata": [{"key": "authorization", "value": "eyJ.a-long-token.x"}, {"key": "a", "value": "b"}]},
  {"hds": {"value": "1", "key": "Authorization"}, "args": "--token=eyJ.a-long-token.x", "one": 1, "version": "10"},
  {"key": "authorization", "raw_value": "c2VjcmV0"}, {"key": "authorization", "value": ["no text"]}
 ]
}"#;
        let expected = dump
            .replace("eyJ.a-long-token.x", REDACTED)
            .replace("\"value\": \"1\"", "\"value\": \"[redacted]\"")
            .replace("c2VjcmV0", REDACTED);
        assert_eq!(redacted(dump), Ok(expected));
        assert_eq!(redacted("{\"a\" : 1.5}"), Ok("{\"a\" : 1.5}".to_owned()));
    }

    #[test]
    fn what_cannot_be_taken_out_is_not_shown() {
        let dump = r#"[{"key": "authorization", "value": "se\u0063ret"}]"#;
        let error = redacted(dump).expect_err("written in an unusual way");
        assert!(!error.contains("secret"), "{error}");
        for broken in ["", "{", "{} x", "<html>"] {
            assert!(redacted(broken).is_err_and(|error| error.contains("is not JSON")), "{broken}");
        }
    }
}
