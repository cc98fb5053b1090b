//! Durations as configuration writes them: Go syntax, e.g. `1h30m`, `500ms`, `0s`.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration.
///
/// # Errors
/// When the text is not a sequence of numbers with units, is negative, or exceeds about 292 years.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}; write it like 1m30s, 500ms or 0s");
    if text.starts_with('-') {
        return Err(format!("invalid duration {text:?}: must not be negative"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() && !number.is_empty() {
            return Err(format!("missing unit in duration {text:?}; write it like 1m30s, 500ms or 0s"));
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let part = scaled(number, *scale).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(invalid)?;
        rest = tail;
    }
    Ok(Duration::from_nanos(total))
}

/// `number` (decimal digits with at most one point) times `scale`, rounded down; `None` when malformed or too large.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut step = scale;
    for digit in fraction.bytes() {
        step /= 10;
        total = total.checked_add(u64::from(digit - b'0') * step)?;
    }
    Some(total)
}

/// Prints a duration as Go does: `1m0s`, `1h30m0s`, `500ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos / scale, nanos % scale, scale));
    }
    let seconds = duration.as_secs();
    let mut text = String::new();
    // Writing to a String cannot fail.
    if seconds >= 3600 {
        let _ = write!(text, "{}h", seconds / 3600);
    }
    if seconds >= 60 {
        let _ = write!(text, "{}m", seconds / 60 % 60);
    }
    let _ = write!(text, "{}s", decimal(u128::from(seconds % 60), u128::from(duration.subsec_nanos()), 1_000_000_000));
    text
}

/// `whole` and the fraction `part / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(whole: u128, part: u128, scale: u128) -> String {
    if part == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{part:0width$}").trim_end_matches('0').to_owned()
}

/// For `#[serde(with = ...)]`-like use on fields of the configuration.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_as_go() {
        for (text, canonical) in [
            ("0s", "0s"),
            ("0", "0s"),
            ("1m", "1m0s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5h", "1h30m0s"),
            ("500ms", "500ms"),
            ("1500ms", "1.5s"),
            ("1.5ms", "1.5ms"),
            ("2us", "2µs"),
            ("7ns", "7ns"),
            ("72h3m0.5s", "72h3m0.5s"),
            ("+5s", "5s"),
            (".5s", "500ms"),
        ] {
            assert_eq!(format(parse(text).expect(text)), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_negatives() {
        for text in ["", "5", "abc", "1x", "1.2.3s", "-1s", "s", ".s", "1s ", "99999999999h", "1d"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("5").expect_err("no unit").contains("missing unit"));
    }
}
