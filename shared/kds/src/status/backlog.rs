//! What waits for a peer that is away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tandem_model::Kind;

use crate::catalogue::Catalogue;
use crate::sender::{Confirmed, Outlet};

/// Changes of one type that wait for a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Resources that the peer does not have as they are now, or has and is not to have.
    pub(crate) resources: usize,
    /// When the oldest of those that exist was written; nobody knows when the others were deleted.
    pub(crate) oldest: Option<Timestamp>,
}

/// What the peer would be sent if it came back now, by type.
pub(crate) fn backlog(outlet: &impl Outlet, catalogue: &Catalogue, confirmed: &Confirmed) -> BTreeMap<Kind, Waiting> {
    let (entries, disabled_zones) = catalogue.entries();
    let mut waiting: BTreeMap<Kind, Waiting> = BTreeMap::new();
    let mut found: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
    for entry in &entries {
        let kind = entry.resource.kind();
        if !outlet.sends(kind) || !outlet.admits(&entry.resource, &disabled_zones) {
            continue;
        }
        let Ok(encoded) = outlet.encode(entry) else { continue };
        let known = confirmed.get(&kind).and_then(|names| names.get_key_value(&encoded.head.name));
        if let Some((name, _)) = known {
            found.entry(kind).or_default().insert(name);
        }
        if known.is_none_or(|(_, version)| *version != encoded.head.version) {
            let waiting = waiting.entry(kind).or_default();
            waiting.resources += 1;
            let written = entry.resource.modified;
            waiting.oldest = Some(waiting.oldest.map_or(written, |oldest| oldest.min(written)));
        }
    }
    for (kind, names) in confirmed {
        let gone = names.len() - found.get(kind).map_or(0, BTreeSet::len);
        if gone > 0 {
            waiting.entry(*kind).or_default().resources += gone;
        }
    }
    waiting
}
