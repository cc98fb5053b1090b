//! Violations: what is wrong with a resource, and in which field.

use std::fmt;

/// One broken rule.
///
/// Serialized by the HTTP API as an entry of `invalid_parameters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, e.g. `networking.inbound[0].tags["kuma.io/service"]`; empty for the whole resource.
    pub field: String,
    /// What is wrong, as text for a person.
    pub reason: String,
}

/// Path of a field: names joined by dots, indexes in brackets, map keys quoted in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The whole resource.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that starts with `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The member `name` of this path.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The element at `index` of this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The value under the map key `key` of this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key:?}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of violations; empty means valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// No violation.
    pub fn none() -> Self {
        Self::default()
    }

    /// Exactly one violation.
    pub fn one(path: &Path, reason: impl Into<String>) -> Self {
        let mut violations = Self::default();
        violations.add(path, reason);
        violations
    }

    /// Adds a violation of the field at `path`.
    pub fn add(&mut self, path: &Path, reason: impl Into<String>) {
        self.0.push(Violation { field: path.as_str().to_owned(), reason: reason.into() });
    }

    /// Appends all of `other`.
    pub fn extend(&mut self, other: Violations) {
        self.0.extend(other.0);
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// `Ok` when empty, else the violations as error.
    pub fn into_result(self) -> Result<(), Violations> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", violation.field, violation.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
