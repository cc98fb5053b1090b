//! How a write is to be done.

use tandem_model::Resource;
use tandem_store::Author;

use crate::error::Reason;

/// Who writes, under which condition, and whether in earnest.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Who writes, for the history.
    pub author: Author,
    /// What must hold of what is stored.
    pub condition: Condition,
    /// Only find out what the write would do; nothing is stored.
    pub dry_run: bool,
}

impl WriteOptions {
    /// An unconditional write.
    pub fn by(author: Author) -> Self {
        Self { author, condition: Condition::default(), dry_run: false }
    }
}

/// Versions that a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// Any: the resource exists.
    Any,
    /// One of these; an empty list fits nothing.
    OneOf(Vec<u64>),
}

impl Versions {
    /// Whether what is stored is one of them.
    pub fn contain(&self, version: Option<u64>) -> bool {
        match (self, version) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(versions), Some(version)) => versions.contains(&version),
        }
    }
}

/// What must hold of the stored resource when it is written; checked in the transaction that writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The stored version is one of these (`If-Match`).
    pub matches: Option<Versions>,
    /// The stored version is none of these (`If-None-Match`).
    pub matches_none: Option<Versions>,
}

impl Condition {
    /// Whether there is any.
    pub fn is_some(&self) -> bool {
        self.matches.is_some() || self.matches_none.is_some()
    }

    pub(crate) fn check(&self, stored: Option<&Resource>) -> Result<(), Reason> {
        let current = stored.map(|stored| stored.version);
        let holds = self.matches.as_ref().is_none_or(|versions| versions.contain(current))
            && !self.matches_none.as_ref().is_some_and(|versions| versions.contain(current));
        if holds { Ok(()) } else { Err(Reason::Precondition { current }) }
    }
}
