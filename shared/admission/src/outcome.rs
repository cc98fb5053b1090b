//! What came of a write, or would come of it.

use std::fmt;
use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};
use tandem_store::Change;

/// What a write did to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is new.
    Created,
    /// It was replaced.
    Updated,
    /// It was as written already.
    Unchanged,
    /// It is gone.
    Deleted,
}

impl Effect {
    fn of(change: &Change) -> Self {
        match (&change.old, &change.new) {
            (None, _) => Self::Created,
            (Some(_), Some(_)) => Self::Updated,
            (Some(_), None) => Self::Deleted,
        }
    }
}

/// Prints as one lower-case word.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        })
    }
}

/// A put that was accepted.
#[derive(Debug, Clone)]
pub struct PutOutcome {
    /// What it did.
    pub effect: Effect,
    /// The resource as stored.
    pub resource: Arc<Resource>,
    /// What the writer should know; the write took effect regardless.
    pub warnings: Vec<String>,
    /// What was written with it: certificate authority, signing key, default policies.
    pub brings: Vec<(Effect, ResourceKey)>,
}

/// A deletion that was accepted.
#[derive(Debug, Clone)]
pub struct DeleteOutcome {
    /// What was deleted with the resource, because the resource owned it.
    pub cascade: Vec<ResourceKey>,
}

/// What changes did to `key`, and to everything else.
pub(crate) fn effects(key: &ResourceKey, changes: &[Arc<Change>]) -> (Option<Effect>, Vec<(Effect, ResourceKey)>) {
    let (own, others): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.key == *key);
    let own = own.first().map(|change| Effect::of(change));
    (own, others.into_iter().map(|change| (Effect::of(change), change.key.clone())).collect())
}
