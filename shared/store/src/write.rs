//! Writes of a transaction and what came of them.

use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};

use crate::{Change, Revision};

/// One write of a transaction.
#[derive(Debug, Clone)]
pub enum Write {
    /// Creates a resource; fails if the key is taken, or if the owner does not exist.
    Create(Resource),
    /// Replaces labels, owner, spec and status of an existing resource. Creation time is kept.
    Update {
        /// The new content; its `version`, `created` and `modified` are ignored.
        resource: Resource,
        /// Version that must be stored now; `None` replaces whatever is there.
        expected: Option<u64>,
    },
    /// Creates the resource or replaces it.
    Put(Resource),
    /// Deletes a resource and all it owns.
    Delete {
        /// What to delete; deleting what does not exist fails with `NotFound`.
        key: ResourceKey,
        /// Version that must be stored now; `None` deletes whatever is there.
        expected: Option<u64>,
    },
}

/// Result of a commit.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Revision of the store after the commit.
    pub revision: Revision,
    /// For each write, in order, the resource as stored; `None` for deletes.
    pub resources: Vec<Option<Arc<Resource>>>,
    /// What changed, one entry for each key, in the order in which they were first written; deletions that follow from
    /// others included. Empty when every write was skipped.
    pub changes: Vec<Arc<Change>>,
}
