//! Documents that strangers wrote, in YAML or JSON.
//!
//! In YAML a few lines can stand for gigabytes: an alias repeats what an anchor marks, and may do so a thousand times over. Nobody
//! needs that to describe a proxy; so a document must not be larger than the text it was read from.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a character of the text may become, at most: an escape of two characters stands for one of three bytes, and each value
/// counts once for itself.
const EXPANSION: usize = 4;

/// Reads a document.
///
/// # Errors
/// When it is neither YAML nor JSON, or much larger than its text.
pub fn read(text: &str) -> Result<Value, serde_norway::Error> {
    // What kuma-dp sends is JSON, where nothing stands for anything else.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let left = Cell::new(text.len().saturating_mul(EXPANSION).saturating_add(EXPANSION));
    Bounded { left: &left }.deserialize(serde_norway::Deserializer::from_str(text))
}

/// A value that takes from what is left.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn take<E: serde::de::Error>(self, size: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(size.saturating_add(1));
        self.left.set(
            left.ok_or_else(|| E::custom("the document is much larger than its text: it repeats itself by aliases"))?,
        );
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has, too")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.take(0)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut read = Map::new();
        while let Some(name) = members.next_key_seed(self)? {
            let name = match name {
                Value::String(name) => name,
                Value::Number(name) => name.to_string(),
                Value::Bool(name) => name.to_string(),
                _ => return Err(A::Error::custom("the name of a member is neither text nor a number")),
            };
            read.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_read_as_json_is() {
        let expected = json!({"a": [1, 2.5, true, null, "x"], "b": {"c": -3}});
        assert_eq!(read(&expected.to_string()).unwrap(), expected);
        assert_eq!(read("a: [1, 2.5, true, ~, x]\nb:\n  c: -3\n").unwrap(), expected);
        assert_eq!(read("\n{\"a\": [1, 2.5, true, null, \"x\",], \"b\": {\"c\": -3,},}").unwrap(), expected);
        assert_eq!(read("1: one\ntrue: two").unwrap(), json!({"1": "one", "true": "two"}));
        assert!(read("{").is_err());
    }

    #[test]
    fn an_alias_may_be_used_but_not_to_grow() {
        let repeated = "tags: &tags {team: a, service: b}\nagain: *tags\n";
        assert_eq!(read(repeated).unwrap()["again"], json!({"team": "a", "service": "b"}));
        let many = format!("a: &a [{}]\nb: [{}]", "x,".repeat(2_000), "*a,".repeat(2_000));
        let error = read(&many).unwrap_err().to_string();
        assert!(error.contains("much larger than its text"), "{error}");
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(10_000), "*a,".repeat(1_000));
        assert!(read(&long).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        for open in ["[", "{a: ", "- "] {
            assert!(read(&open.repeat(20_000)).is_err(), "{open}");
        }
    }
}
