//! Documents read with limits: how deep, how large after aliases, and no member twice.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Options, with_deserializer_from_slice_with_options};

/// Most levels of lists and objects in each other: far more than any type has, and well within what every reader of JSON takes,
/// also when the value stands inside another one.
pub const MAX_DEPTH: usize = 64;

/// Reads a value.
///
/// `budget` bounds its size, counted in bytes of texts and names plus one for each value. The text of a value is never
/// shorter than that, unless it repeats parts of itself by aliases.
///
/// # Errors
/// When the text is malformed, is nested deeper than [`MAX_DEPTH`], has a member twice, is larger than `budget`, or holds
/// something that JSON does not know.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: usize) -> Result<Value, D::Error> {
    let budget = Cell::new(budget);
    Reader { depth: MAX_DEPTH, budget: &budget }.deserialize(deserializer)
}

/// Reads the one document of a text in YAML, within the limits of [`read`]. Anchors, aliases and merge keys are resolved.
///
/// # Errors
/// As [`read`]; also for tags that JSON has no form for. The text is for a person and names the place.
pub fn yaml(bytes: &[u8], budget: usize) -> Result<Value, String> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.reject_unsupported_tags = true;
    options.ignore_binary_tag_for_string = true;
    // `no` is a word, `017` and `1_000` are texts.
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.with_snippet = false;
    with_deserializer_from_slice_with_options(bytes, options, |document| read(document, budget))
        .map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    /// Levels that may follow.
    depth: usize,
    budget: &'a Cell<usize>,
}

impl Reader<'_> {
    fn spend<E: Error>(&self, size: usize) -> Result<(), E> {
        let left = self.budget.get().checked_sub(size);
        self.budget.set(left.ok_or_else(|| E::custom("aliases make the document too large"))?);
        Ok(())
    }

    fn inner<E: Error>(&self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom(format!("nested more than {MAX_DEPTH} levels deep")))?;
        Ok(Self { depth, ..*self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON knows")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.spend(1)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom(format!("{value} is no number of JSON")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.spend(1 + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.spend(1 + value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(1)?;
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.spend(1)?;
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.spend(name.len())?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("member {name:?} is there twice")));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Value, String> {
        read(&mut serde_json::Deserializer::from_str(text), text.len()).map_err(|error| error.to_string())
    }

    fn yaml(text: &str, budget: usize) -> Result<Value, String> {
        super::yaml(text.as_bytes(), budget)
    }

    #[test]
    fn values_are_those_of_other_readers() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5e3",
            r#""é\n""#,
            "[]",
            "{}",
            r#"{"b":[1,{"a":null}],"a":""}"#,
        ] {
            assert_eq!(json(text), serde_json::from_str(text).map_err(|error| error.to_string()), "{text}");
            assert_eq!(yaml(text, text.len()), json(text), "{text}");
        }
        assert_eq!(yaml("a: &x [1, 2]\nb: *x\n", 20), json(r#"{"a":[1,2],"b":[1,2]}"#));
        assert_eq!(yaml("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", 20), json(r#"{"a":{"b":1},"c":{"b":1,"d":2}}"#));
        assert_eq!(
            yaml("a: yes\nb: 017\nc: 1_000\nd: true\ne: ~\n", 50),
            json(r#"{"a":"yes","b":"017","c":"1_000","d":true,"e":null}"#)
        );
    }

    #[test]
    fn depth() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(json(&nested(MAX_DEPTH)).is_ok());
        assert!(json(&nested(MAX_DEPTH + 1)).expect_err("too deep").starts_with("nested more than 64 levels deep"));
        assert!(json(&nested(100_000)).is_err());
        assert!(yaml(&nested(MAX_DEPTH), 1 << 20).is_ok());
        for opening in ["[", "- ", "{a: ", "? "] {
            assert!(yaml(&opening.repeat(1_000_000), 1 << 20).is_err(), "{opening}");
        }
    }

    #[test]
    fn members_twice() {
        assert!(json(r#"{"a":{"b":1,"c":2,"b":3}}"#).expect_err("twice").starts_with(r#"member "b" is there twice"#));
        assert!(yaml("a: 1\na: 2\n", 100).expect_err("twice").contains(r#"member "a" is there twice"#));
    }

    #[test]
    fn aliases() {
        let mut bomb = "a0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n".to_owned();
        for level in 1..8 {
            let previous = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 10].join(", "));
        }
        let reason = yaml(&bomb, bomb.len() + 1000).expect_err("a bomb");
        assert!(["too large", "budget", "limit"].iter().any(|word| reason.contains(word)), "{reason}");
        assert!(yaml("a: &a [*a]", 100).is_err());
    }

    #[test]
    fn what_json_does_not_know() {
        for text in ["a: .nan", "a: .inf", "a: !tag b"] {
            assert!(yaml(text, 100).is_err(), "{text}");
        }
        assert!(json("1e999").is_err());
    }
}
