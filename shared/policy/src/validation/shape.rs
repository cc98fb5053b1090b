//! Limits that Kuma's OpenAPI schemas set, with the texts of its schema validation.

use tandem_model::violation::{Path, Violations};

/// A list with at least `min` items.
pub(crate) fn min_items(path: &Path, count: usize, min: usize, violations: &mut Violations) {
    if count < min {
        violations.add(path, format!("in body should have at least {min} items"));
    }
}

/// A list with at most `max` items.
pub(crate) fn max_items(path: &Path, count: usize, max: usize, violations: &mut Violations) {
    if count > max {
        violations.add(path, format!("in body should have at most {max} items"));
    }
}

/// A text of at least `min` characters.
pub(crate) fn min_length(path: &Path, text: &str, min: usize, violations: &mut Violations) {
    if text.chars().count() < min {
        violations.add(path, format!("in body should be at least {min} chars long"));
    }
}

/// Name of an HTTP header, in lower case.
pub(crate) fn header_name(path: &Path, name: &str, violations: &mut Violations) {
    const PATTERN: &str = r"^[a-z0-9!#$%&'*+\-.^_\x60|~]+$";
    min_length(path, name, 1, violations);
    if name.chars().count() > 256 {
        violations.add(path, "in body should be at most 256 chars long");
    }
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(valid) {
        violations.add(path, format!("in body should match '{PATTERN}'"));
    }
}

/// A host name as RFC 1123 has it.
///
/// Source of the texts: Kubernetes `apimachinery/pkg/util/validation`.
pub(crate) fn dns_1123_subdomain(path: &Path, name: &str, violations: &mut Violations) {
    if name.len() > 253 {
        violations.add(path, "must be no more than 253 characters");
    }
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|c| alphanumeric(*c) || *c == b'-')
    };
    if !name.split('.').all(label) {
        violations.add(
            path,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        );
    }
}
