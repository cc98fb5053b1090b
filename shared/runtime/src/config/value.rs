//! Values of configuration keys: their types, and reading them from the environment and from YAML.

use std::time::Duration;

use serde_json::{Map, Value};
use serde_norway::Value as Yaml;

use super::duration;

/// Type of the value of a key. Values are kept as JSON in the form in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// True or false.
    Bool,
    /// Integer.
    Int,
    /// Integer from 0 on.
    Uint,
    /// Number from 0 to 1.
    Share,
    /// TCP port, 0 to 65535.
    Port,
    /// Duration in Go syntax; in YAML also a number of nanoseconds.
    Duration,
    /// Text.
    Text,
    /// List of texts; in the environment separated by commas.
    Texts,
    /// List of integers from 0 on.
    Numbers,
    /// Texts by name; in the environment `name:text,name:text`.
    Map,
    /// List of public keys `{kid, key}` or `{kid, keyFile}`; only in YAML.
    PublicKeys,
    /// The same, with an optional `mesh`.
    MeshedPublicKeys,
}

impl ValueType {
    /// Reads a value as it is written in the environment.
    ///
    /// # Errors
    /// The reason why the text is not a value of this type.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        Ok(match self {
            Self::Bool => Value::Bool(parse_bool(text)?),
            Self::Int => Value::from(parse_integer(text)?),
            Self::Uint => Value::from(parse_unsigned(text)?),
            Self::Share => Value::from(share(text.parse().map_err(|_| format!("{text:?} is not a number"))?)?),
            Self::Port => Value::from(port(parse_unsigned(text)?)?),
            Self::Duration => Value::String(duration::format(duration::parse(text)?)),
            Self::Text => Value::from(text),
            Self::Texts => Value::from_iter(items(text)),
            Self::Numbers => items(text).map(parse_unsigned).collect::<Result<_, _>>()?,
            Self::Map => {
                let mut map = Map::new();
                for item in items(text) {
                    let (name, value) = item.split_once(':').ok_or_else(|| format!("{item:?} is not name:value"))?;
                    map.insert(name.to_owned(), Value::from(value));
                }
                Value::Object(map)
            }
            Self::PublicKeys | Self::MeshedPublicKeys if text.is_empty() => Value::Array(Vec::new()),
            Self::PublicKeys | Self::MeshedPublicKeys => return Err("can only be set in the configuration file".into()),
        })
    }

    /// Reads a value from YAML. Numbers and texts are not converted into each other.
    ///
    /// # Errors
    /// The reason why the value is not of this type.
    pub fn from_yaml(self, yaml: &Yaml) -> Result<Value, String> {
        Ok(match self {
            Self::Bool => Value::Bool(yaml.as_bool().ok_or_else(|| expected("true or false", yaml))?),
            Self::Int => Value::from(yaml.as_i64().ok_or_else(|| expected("an integer", yaml))?),
            Self::Uint => Value::from(unsigned(yaml)?),
            Self::Share => Value::from(share(yaml.as_f64().ok_or_else(|| expected("a number", yaml))?)?),
            Self::Port => Value::from(port(unsigned(yaml)?)?),
            Self::Duration => {
                let duration = match yaml {
                    Yaml::Number(_) => Duration::from_nanos(unsigned(yaml)?),
                    Yaml::String(text) => duration::parse(text)?,
                    _ => return Err(expected("a duration like 1m30s", yaml)),
                };
                Value::String(duration::format(duration))
            }
            Self::Text => Value::from(text(yaml)?),
            Self::Texts => sequence(yaml)?.iter().map(text).collect::<Result<_, _>>()?,
            Self::Numbers => sequence(yaml)?.iter().map(unsigned).collect::<Result<_, _>>()?,
            Self::Map => {
                let Yaml::Mapping(members) = yaml else { return Err(expected("a mapping of texts", yaml)) };
                let mut map = Map::new();
                for (name, value) in members {
                    map.insert(text(name)?.to_owned(), Value::from(text(value)?));
                }
                Value::Object(map)
            }
            Self::PublicKeys => public_keys(yaml, &["kid", "key", "keyFile"])?,
            Self::MeshedPublicKeys => public_keys(yaml, &["kid", "key", "keyFile", "mesh"])?,
        })
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    // Not trimmed: Kuma keeps the blanks too.
    (!text.is_empty()).then(|| text.split(',')).into_iter().flatten()
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is not a boolean; write true or false")),
    }
}

fn parse_integer(text: &str) -> Result<i64, String> {
    let invalid = || format!("{text:?} is not an integer");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = i64::try_from(parse_magnitude(digits).ok_or_else(invalid)?).map_err(|_| invalid())?;
    Ok(if negative { -magnitude } else { magnitude })
}

fn parse_unsigned(text: &str) -> Result<u64, String> {
    parse_magnitude(text).ok_or_else(|| format!("{text:?} is not an integer from 0 on"))
}

/// Digits with the base prefixes of Go: `0x`, `0o`, `0b`, and `0` for octal.
fn parse_magnitude(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.as_str() {
        "0" => ("0", 10),
        text if text.starts_with("0x") => (&text[2..], 16),
        text if text.starts_with("0b") => (&text[2..], 2),
        text if text.starts_with("0o") => (&text[2..], 8),
        text if text.starts_with('0') => (&text[1..], 8),
        text => (text, 10),
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, base).ok() }
}

fn share(number: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(format!("{number} is not in the range from 0 to 1")) }
}

fn port(number: u64) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| "Port must be in range [0, 65535]".to_owned())
}

fn text(yaml: &Yaml) -> Result<&str, String> {
    yaml.as_str().ok_or_else(|| expected("a text", yaml))
}

fn unsigned(yaml: &Yaml) -> Result<u64, String> {
    yaml.as_u64().ok_or_else(|| expected("an integer from 0 on", yaml))
}

fn sequence(yaml: &Yaml) -> Result<&[Yaml], String> {
    yaml.as_sequence().map(Vec::as_slice).ok_or_else(|| expected("a list", yaml))
}

fn public_keys(yaml: &Yaml, members: &[&str]) -> Result<Value, String> {
    let mut keys = Vec::new();
    for (index, item) in sequence(yaml)?.iter().enumerate() {
        let Yaml::Mapping(mapping) = item else { return Err(format!("[{index}]: {}", expected("a mapping", item))) };
        let mut key = Map::new();
        for (name, value) in mapping {
            let name = text(name).map_err(|reason| format!("[{index}]: {reason}"))?;
            let known = members.iter().find(|member| member.eq_ignore_ascii_case(name));
            let known =
                known.ok_or_else(|| format!("[{index}]: unknown member {name:?}; known are {}", members.join(", ")))?;
            let value = text(value).map_err(|reason| format!("[{index}].{known}: {reason}"))?;
            if !value.is_empty() {
                key.insert((*known).to_owned(), Value::from(value));
            }
        }
        if !key.contains_key("kid") {
            return Err(format!("[{index}]: .KID is required"));
        }
        match (key.contains_key("key"), key.contains_key("keyFile")) {
            (false, false) => return Err(format!("[{index}]: either .KeyFile or .Key has to be defined")),
            (true, true) => return Err(format!("[{index}]: both .KeyFile or .Key cannot be defined")),
            _ => keys.push(Value::Object(key)),
        }
    }
    Ok(Value::Array(keys))
}

fn expected(what: &str, found: &Yaml) -> String {
    let found = match found {
        Yaml::Null => "nothing".to_owned(),
        Yaml::Bool(value) => value.to_string(),
        Yaml::Number(value) => format!("the number {value}"),
        Yaml::String(value) => format!("the text {value:?}"),
        Yaml::Sequence(_) => "a list".to_owned(),
        Yaml::Mapping(_) | Yaml::Tagged(_) => "a mapping".to_owned(),
    };
    format!("expected {what}, found {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Yaml {
        serde_norway::from_str(text).expect("test YAML")
    }

    #[test]
    fn environment_values_follow_go() {
        assert_eq!(ValueType::Bool.parse("T"), Ok(Value::Bool(true)));
        assert!(ValueType::Bool.parse("yes").is_err());
        assert_eq!(ValueType::Uint.parse("0x10"), Ok(Value::from(16)));
        assert_eq!(ValueType::Int.parse("-3"), Ok(Value::from(-3)));
        assert!(ValueType::Uint.parse("-3").is_err());
        assert!(ValueType::Port.parse("65536").is_err());
        assert_eq!(ValueType::Share.parse("0.5"), Ok(Value::from(0.5)));
        for wrong in ["-0.1", "1.1", "NaN", "half", ""] {
            assert!(ValueType::Share.parse(wrong).is_err(), "{wrong}");
        }
        assert!(ValueType::Port.parse("").is_err());
        assert_eq!(ValueType::Texts.parse(" x , y"), Ok(serde_json::json!([" x ", " y"])));
        assert_eq!(ValueType::Texts.parse(""), Ok(serde_json::json!([])));
        assert_eq!(ValueType::Map.parse("a:1,b:*"), Ok(serde_json::json!({"a": "1", "b": "*"})));
        assert!(ValueType::Map.parse("a").is_err());
        assert_eq!(ValueType::Duration.parse("90s"), Ok(Value::from("1m30s")));
        assert!(ValueType::PublicKeys.parse("x").is_err());
    }

    #[test]
    fn yaml_values_are_not_converted() {
        assert_eq!(ValueType::Port.from_yaml(&yaml("5681")), Ok(Value::from(5681)));
        let error = ValueType::Port.from_yaml(&yaml("'5681'")).expect_err("text for a port");
        assert_eq!(error, "expected an integer from 0 on, found the text \"5681\"");
        assert!(ValueType::Text.from_yaml(&yaml("17")).is_err());
        assert_eq!(ValueType::Share.from_yaml(&yaml("1")), Ok(Value::from(1.0)));
        assert!(ValueType::Share.from_yaml(&yaml("2.0")).is_err());
        assert_eq!(ValueType::Duration.from_yaml(&yaml("1000000000")), Ok(Value::from("1s")));
        assert!(ValueType::Duration.from_yaml(&yaml("abc")).is_err());
    }

    #[test]
    fn public_keys_are_checked() {
        let good = yaml("[{kid: a, key: pem}, {kid: b, keyFile: /k}]");
        assert!(ValueType::PublicKeys.from_yaml(&good).is_ok());
        for bad in
            ["[{key: pem}]", "[{kid: a}]", "[{kid: a, key: p, keyFile: f}]", "[{kid: a, key: p, mesh: m}]", "[3]"]
        {
            assert!(ValueType::PublicKeys.from_yaml(&yaml(bad)).is_err(), "{bad}");
        }
        assert!(ValueType::MeshedPublicKeys.from_yaml(&yaml("[{kid: a, key: p, mesh: m}]")).is_ok());
    }
}
