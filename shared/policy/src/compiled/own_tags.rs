//! What of a proxy's own tags decides how its destinations are reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::tags::TagMultimap;

use crate::health_check::Checks;
use crate::legacy::source_tags::header_value;
use crate::load_balancing::Strategy;

use super::ByDestination;

/// Which tags policies want to know.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WantedTags {
    /// Those by which near endpoints are recognized.
    affinity: BTreeSet<String>,
    /// Health checks tell all of them.
    told: bool,
}

impl WantedTags {
    pub fn new(load_balancing: &ByDestination<Strategy>, health_checks: &ByDestination<Checks>) -> Self {
        Self {
            affinity: load_balancing.values().flat_map(Strategy::affinity_tags).map(str::to_owned).collect(),
            told: health_checks.values().any(Checks::ask_with_headers),
        }
    }

    pub fn of(&self, tags: impl FnOnce() -> TagMultimap) -> OwnTags {
        if *self == Self::default() {
            return OwnTags::default();
        }
        let mut tags = tags();
        let told = self.told.then(|| header_value(&tags).into());
        tags.retain(|tag, _| self.affinity.contains(tag));
        OwnTags { affinity: tags, told }
    }
}

/// What of a proxy's own tags decides how its destinations are reached: nothing, unless policies make it so. Proxies for which it is
/// the same, and that have the same policies, reach them alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OwnTags {
    /// Tags by which near endpoints are recognized.
    pub affinity: TagMultimap,
    /// What health checks tell; `None` when they tell nothing.
    pub told: Option<Arc<str>>,
}
