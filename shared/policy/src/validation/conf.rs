//! Checks of single values. An absent value is always valid.
//!
//! Source of the texts: Kuma `pkg/core/validators/{common_validators,messages}.go`.

use tandem_model::violation::{Path, Violations};

use crate::schema::{Decimal, GoDuration, IntOrString};

/// A duration that may be zero.
pub(crate) fn not_negative(path: &Path, value: Option<GoDuration>, violations: &mut Violations) {
    if value.is_some_and(|value| value.0 < 0) {
        violations.add(path, "must not be negative when defined");
    }
}

/// A duration that may not be zero.
pub(crate) fn greater_than_zero(path: &Path, value: Option<GoDuration>, violations: &mut Violations) {
    if value.is_some_and(|value| value.0 <= 0) {
        violations.add(path, "must be greater than zero when defined");
    }
}

/// A number that may not be zero.
pub(crate) fn int_greater_than_zero(path: &Path, value: Option<u32>, violations: &mut Violations) {
    if value == Some(0) {
        violations.add(path, "must be greater than 0");
    }
}

/// A share in whole percent.
pub(crate) fn int_percentage(path: &Path, value: Option<u32>, violations: &mut Violations) {
    if value.is_some_and(|value| value > 100) {
        violations.add(path, "must be in inclusive range [0, 100]");
    }
}

/// A share in percent.
pub(crate) fn percentage(path: &Path, value: Option<&IntOrString>, violations: &mut Violations) {
    let Some(value) = value else { return };
    match value.decimal() {
        None => violations.add(path, "string must be a valid number"),
        Some(value) if value < Decimal::from_int(0) || value > Decimal::from_int(100) => {
            violations.add(path, "must be in inclusive range [0.0, 100.0]");
        }
        Some(_) => {}
    }
}

/// A status code of HTTP.
pub(crate) fn status_code(path: &Path, value: i32, violations: &mut Violations) {
    if !(100..600).contains(&value) {
        violations.add(path, "must be in inclusive range [100, 599]");
    }
}

/// True for a SPIFFE ID: `spiffe://<trust domain>[/<segment>...]`.
///
/// Source: the SPIFFE-ID standard, sections 2.1 to 2.3.
pub(crate) fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else { return false };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let valid_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'_');
    let valid_path = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    !domain.is_empty()
        && domain.bytes().all(valid_domain)
        && path.is_none_or(|path| {
            path.split('/').all(|segment| {
                !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(valid_path)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids() {
        for valid in ["spiffe://default", "spiffe://default/backend", "spiffe://td.example/ns/a/sa/B_c"] {
            assert!(is_spiffe_id(valid), "{valid}");
        }
        for invalid in [
            "",
            "backend",
            "spiffe://",
            "spiffe:///x",
            "spiffe://Default/x",
            "spiffe://a/",
            "spiffe://a/../b",
            "spiffe://a//b",
            "spiffe://a/b c",
        ] {
            assert!(!is_spiffe_id(invalid), "{invalid}");
        }
    }

    #[test]
    fn percentages() {
        let reasons = |value: &IntOrString| {
            let mut violations = Violations::none();
            percentage(&Path::new("p"), Some(value), &mut violations);
            violations.to_string()
        };
        assert_eq!(reasons(&IntOrString::Int(101)), "p: must be in inclusive range [0.0, 100.0]");
        assert_eq!(reasons(&IntOrString::Text("x".into())), "p: string must be a valid number");
        assert_eq!(reasons(&IntOrString::Text("99.9".into())), "");
    }
}
