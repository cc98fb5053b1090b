//! The two text forms of a duration: Go's (`1h0m0s`, `25ms`) and that of protobuf's JSON (`90s`, `1.500s`).
//!
//! Lengths are signed nanoseconds in an `i64`, as in Go's `time.Duration`, which spans about 292 years each way.

use std::time::Duration;

/// Nanoseconds of a microsecond, a millisecond and a second.
const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Regular expression that the texts [`parse`] accepts match; among those that match are some that are too long.
pub const PATTERN: &str = r"^[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)$";

/// A text that is no duration. The messages are those of Go's `time.ParseDuration`, which users of Kuma see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form `[-+]<number><unit>...`, or too long.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit other than `ns`, `us`, `µs`, `ms`, `s`, `m` and `h`.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands in place of a unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Parses a Go duration such as `1m30s`, `1.5h`, `-250ms` or `0` into nanoseconds.
///
/// # Errors
/// When the text is not a duration or exceeds the range of `i64` nanoseconds.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (whole, fraction) = match rest[..number].split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (&rest[..number], ""),
        };
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => MICRO,
            "ms" => MILLI,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            other => return Err(DurationError::UnknownUnit { unit: other.to_owned(), text: text.to_owned() }),
        };
        rest = &rest[unit..];
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(scale).ok_or_else(invalid)?;
        total = total
            .checked_add(part)
            .and_then(|sum| sum.checked_add(fraction_of(fraction, scale)))
            .filter(|sum| *sum <= i64::MAX as u64 + u64::from(negative))
            .ok_or_else(invalid)?;
    }
    Ok(if negative { 0i64.wrapping_sub_unsigned(total) } else { total.cast_signed() })
}

/// The decimal digits behind the point, as a share of `scale`. Digits finer than a nanosecond are cut off.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let mut share: u128 = 0;
    let mut divisor: u128 = 1;
    // 18 digits are finer than a nanosecond of an hour.
    for digit in digits.bytes().take(18) {
        share = share * 10 + u128::from(digit - b'0');
        divisor *= 10;
    }
    u64::try_from(share * u128::from(scale) / divisor).expect("a fraction below one of a u64 fits a u64")
}

/// Parses a Go duration that must not be negative.
///
/// # Errors
/// As [`parse`], and for negative durations.
pub fn parse_std(text: &str) -> Result<Duration, DurationError> {
    let nanos = u64::try_from(parse(text)?).map_err(|_| DurationError::Invalid(text.to_owned()))?;
    Ok(Duration::from_nanos(nanos))
}

/// Writes nanoseconds as Go does: `1h0m0s`, `1.5s`, `25ms`, `0s`.
#[must_use]
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    if n == 0 {
        return "0s".to_owned();
    }
    if n < SECOND {
        let (scale, unit) = match n {
            ..MICRO => (1, "ns"),
            MICRO..MILLI => (MICRO, "µs"),
            _ => (MILLI, "ms"),
        };
        return format!("{sign}{}{unit}", decimal(n, scale));
    }
    let seconds = decimal(n % (60 * SECOND), SECOND);
    let minutes = n / (60 * SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Writes a [`Duration`] as Go does. Durations beyond 292 years are written as the longest that Go knows.
#[must_use]
pub fn format_std(duration: Duration) -> String {
    format(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// `n / scale` as a decimal number without trailing zeros.
fn decimal(n: u64, scale: u64) -> String {
    let fraction = n % scale;
    if fraction == 0 {
        return (n / scale).to_string();
    }
    let width = scale.ilog10() as usize;
    let text = format!("{}.{fraction:0width$}", n / scale);
    text.trim_end_matches('0').to_owned()
}

/// Writes seconds and nanoseconds in the form of protobuf's JSON: seconds with 0, 3, 6 or 9 digits behind the point.
///
/// Both parts have the same sign, as in `google.protobuf.Duration`.
#[must_use]
pub fn format_seconds(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    match fraction {
        0 => format!("{sign}{whole}s"),
        f if f % 1_000_000 == 0 => format!("{sign}{whole}.{:03}s", f / 1_000_000),
        f if f % 1_000 == 0 => format!("{sign}{whole}.{:06}s", f / 1_000),
        f => format!("{sign}{whole}.{f:09}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_go_parses() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1.500s", 1_500_000_000),
            (".5h", 1_800_000_000_000),
            ("1.s", 1_000_000_000),
            ("-250ms", -250_000_000),
            ("+3µs", 3_000),
            ("3us7ns", 3_007),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "xx", "s", ".", ".s", "1..5s", "9223372036854775808ns", "3000000h", " 1s"] {
            assert_eq!(parse(text), Err(DurationError::Invalid(text.to_owned())), "{text:?}");
        }
        assert_eq!(parse("10").map_err(|e| e.to_string()), Err("time: missing unit in duration \"10\"".to_owned()));
        assert_eq!(
            parse("10days").map_err(|e| e.to_string()),
            Err("time: unknown unit \"days\" in duration \"10days\"".to_owned())
        );
        assert!(parse_std("-1s").is_err());
        assert_eq!(parse_std("1s"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn formats_as_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (25_000_000, "25ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_605_500_000_000, "1h0m5.5s"),
            (-2_000_000, "-2ms"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(nanos), text);
            assert_eq!(parse(text), Ok(nanos));
        }
        assert_eq!(format_std(Duration::from_secs(15)), "15s");
        assert_eq!(format_std(Duration::MAX), format(i64::MAX));
    }

    #[test]
    fn formats_seconds_with_0_3_6_or_9_digits() {
        assert_eq!(format_seconds(90, 0), "90s");
        assert_eq!(format_seconds(1, 500_000_000), "1.500s");
        assert_eq!(format_seconds(0, 1_000), "0.000001s");
        assert_eq!(format_seconds(0, 1), "0.000000001s");
        assert_eq!(format_seconds(-1, -500_000_000), "-1.500s");
        assert_eq!(format_seconds(0, -500_000_000), "-0.500s");
    }
}
