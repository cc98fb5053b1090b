//! What the change feed delivers.

use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};

use crate::Revision;

/// One resource that was created (`old` is `None`), updated, or deleted (`new` is `None`).
#[derive(Debug, Clone)]
pub struct Change {
    /// Revision of the commit.
    pub revision: Revision,
    /// The resource concerned.
    pub key: ResourceKey,
    /// Before the commit.
    pub old: Option<Arc<Resource>>,
    /// After the commit.
    pub new: Option<Arc<Resource>>,
}

/// What a feed delivers at once.
#[derive(Debug, Clone)]
pub enum ChangeBatch {
    /// The changes of one or several whole commits, in order.
    Changes {
        /// Revision after the last of them.
        revision: Revision,
        /// The changes.
        changes: Vec<Arc<Change>>,
    },
    /// The reader was too far behind (or new): all resources as of `revision`. What the reader knew before and is not
    /// listed here is gone.
    Reset {
        /// Revision of the list.
        revision: Revision,
        /// Every resource of the store.
        resources: Vec<Arc<Resource>>,
    },
}

impl ChangeBatch {
    /// Revision that the reader knows after this batch.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Changes { revision, .. } | Self::Reset { revision, .. } => *revision,
        }
    }

    /// True when what the reader knew before counts no longer.
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Reset { .. })
    }

    /// What to know from now on: keys in order, each with its resource, `None` when that is gone.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKey, Option<&Arc<Resource>>)> {
        let (changes, resources) = match self {
            Self::Changes { changes, .. } => (changes.as_slice(), [].as_slice()),
            Self::Reset { resources, .. } => ([].as_slice(), resources.as_slice()),
        };
        let changes = changes.iter().map(|change| (&change.key, change.new.as_ref()));
        changes.chain(resources.iter().map(|resource| (&resource.key, Some(resource))))
    }
}
