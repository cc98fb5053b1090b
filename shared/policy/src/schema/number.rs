//! Numbers that may be written as text.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

/// A number written as JSON number or, to have decimals, as text: `30` or `"30.2"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IntOrString {
    /// A whole number.
    Int(i32),
    /// Text that should hold a decimal number; [`IntOrString::decimal`] tells.
    Text(String),
}

/// A decimal number in millionths, which is exact for everything Envoy can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i128);

impl Decimal {
    const SCALE: i128 = 1_000_000;

    /// A whole number.
    pub const fn from_int(value: i64) -> Self {
        Self(value as i128 * Self::SCALE)
    }

    /// Parses an optional sign, digits and an optional fraction; digits beyond the sixth decimal are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 {
            return None;
        }
        if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: i128 = format!("{:0<6.6}", fraction).parse().ok()?;
        let value = whole * Self::SCALE + fraction;
        Some(Self(if negative { -value } else { value }))
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The number times `factor`, without its fraction, within the range of `u32`.
    pub fn times_truncated(self, factor: u32) -> u32 {
        u32::try_from((self.0 * i128::from(factor) / Self::SCALE).max(0)).unwrap_or(u32::MAX)
    }

    /// The nearest binary floating point number.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Self::SCALE as f64
    }
}

impl IntOrString {
    /// The number; `None` when the text is not one.
    pub fn decimal(&self) -> Option<Decimal> {
        match self {
            Self::Int(value) => Some(Decimal::from_int(i64::from(*value))),
            Self::Text(text) => Decimal::parse(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                i32::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                i32::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(IntOrString::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_i32(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }, { "type": "string" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        assert_eq!(Decimal::parse("30.2").map(|d| d.times_truncated(1000)), Some(30_200));
        assert_eq!(Decimal::parse("0.0000019").map(|d| d.times_truncated(1_000_000)), Some(1));
        assert_eq!(Decimal::parse(".5"), Decimal::parse("0.5"));
        assert!(Decimal::parse("-1") < Decimal::parse("0"));
        assert!(["", "-", ".", "1e3", "1.2.3", "x", "1 "].iter().all(|text| Decimal::parse(text).is_none()));
    }

    #[test]
    fn numbers_and_texts_keep_their_form() {
        for text in ["30", "\"30.2\"", "-1"] {
            let value: IntOrString = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&value).expect("a number or a string"), text);
        }
        assert!(serde_json::from_str::<IntOrString>("1.5").is_err());
        assert!(serde_json::from_str::<IntOrString>("99999999999").is_err());
    }
}
