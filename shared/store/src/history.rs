//! The last changes of each resource: which are kept, and what all backends share of keeping them.
//!
//! An entry says who changed a resource when, and holds the content that was replaced; the content that came is in the
//! entry after it, or is what is stored. So the creation of a resource, the most frequent entry by far, holds next to
//! nothing.

use std::sync::Arc;

use jiff::Timestamp;
use tandem_model::{Kind, Resource};

use crate::{Author, Change, Revision};

/// Most entries of one resource that a history shows; older ones are dropped at some time.
pub const HISTORY_LENGTH: usize = 20;

/// One change in the history of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// Revision of the commit; the version of the resource that it stored.
    pub revision: Revision,
    /// When it was committed.
    pub time: Timestamp,
    /// Who wrote it, as [`Author`] prints.
    pub author: String,
    /// Content before, without status; `None` when the resource was created.
    pub before: Option<Arc<Resource>>,
    /// Content after, without status unless it is what is stored now; `None` when the resource was deleted.
    pub after: Option<Arc<Resource>>,
}

/// Whether resources of a kind have a history: all but what control planes observe, or note down for themselves.
pub fn has_history(kind: Kind) -> bool {
    !kind.descriptor().read_only && kind != Kind::Config
}

/// Where an entry is among all of its store: by class, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) class: Class,
    pub(crate) revision: Revision,
    /// Place among the changes of the commit.
    pub(crate) index: u32,
}

/// Entries that share a limit: what comes and goes in numbers must not push out what people wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Meshes, policies, secrets, everything that people write.
    Configuration = 0,
    /// What comes with workloads.
    Inventory = 1,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Configuration, Self::Inventory];

    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress | Kind::MeshService | Kind::Workload => {
                Self::Inventory
            }
            _ => Self::Configuration,
        }
    }
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
    pub(crate) author: String,
    pub(crate) before: Option<Arc<Resource>>,
}

/// The position of a change in the history, if it belongs there.
///
/// What the control plane derives from what others wrote (health, addresses) is in no history, as long as the resource
/// itself neither comes nor goes.
pub(crate) fn position(author: &Author, index: usize, change: &Change) -> Option<Position> {
    let kind = change.key.kind;
    let recorded = has_history(kind)
        && match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                *author != Author::ControlPlane && (old.spec != new.spec || old.labels != new.labels)
            }
            _ => true,
        };
    let index = u32::try_from(index).ok()?;
    recorded.then(|| Position { class: Class::of(kind), revision: change.revision, index })
}

/// The entries of one resource, oldest first, with what each of them led to.
pub(crate) fn entries(recorded: Vec<Recorded>, current: Option<Arc<Resource>>) -> Vec<HistoryEntry> {
    let mut after = current;
    let mut entries: Vec<_> = recorded
        .into_iter()
        .rev()
        .map(|Recorded { position, time, author, before }| HistoryEntry {
            revision: position.revision,
            time,
            author,
            after: std::mem::replace(&mut after, before.clone()),
            before,
        })
        .collect();
    entries.reverse();
    entries
}
