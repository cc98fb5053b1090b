//! Floating point numbers as JSON.

use serde_json::{Number, Value};

/// Largest magnitude below which every integer is a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes integral numbers without a fraction, as Go does; what JSON has no number for becomes a string.
pub(super) fn from_f64(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < EXACT && !(value == 0.0 && value.is_sign_negative()) {
        #[allow(clippy::cast_possible_truncation)] // integral and within range by the test above
        return Value::from(value as i64);
    }
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// Writes the shortest number that reads back as the same 32-bit float.
pub(super) fn from_f32(value: f32) -> Value {
    from_f64(value.to_string().parse().unwrap_or(f64::from(value)))
}
