//! What a response reflects: a state of the sender's store.
//!
//! Travels in `system_version_info` of a response as `<store>/<opening>@<revision>`. Kuma sends nothing there and reads
//! nothing from it.

use std::fmt;
use std::str::FromStr;

use tandem_store::{Revision, StoreId};

/// A state of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which store.
    pub store: StoreId,
    /// Its revision.
    pub revision: Revision,
}

impl Origin {
    /// Reads what a peer says; `None` for a peer that says nothing, or something else.
    pub fn of(system_version_info: &str) -> Option<Self> {
        system_version_info.parse().ok()
    }

    /// True when this is certainly not as new as `other`: from the same opening of the same store, at an earlier revision.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.store == other.store && self.revision < other.revision
    }

    /// True when the store was at a later revision before it was last opened: it was put back from a copy.
    pub fn went_back_from(&self, other: &Self) -> bool {
        self.store != other.store && self.store.store == other.store.store && self.revision < other.revision
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.store, self.revision)
    }
}

/// The text is not the state of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the state of a store")]
pub struct NoOrigin;

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (store, revision) = text.rsplit_once('@').ok_or(NoOrigin)?;
        Ok(Self { store: store.parse().map_err(|_| NoOrigin)?, revision: revision.parse().map_err(|_| NoOrigin)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed() {
        let origin = Origin { store: StoreId::new(), revision: u64::MAX };
        assert_eq!(origin.to_string().parse(), Ok(origin));
        for other in ["", "@", "1", &origin.store.to_string(), &format!("{}@-1", origin.store), "a/b@1"] {
            assert_eq!(Origin::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_states_of_one_store_are_in_order() {
        let first = StoreId::new();
        let reopened = StoreId { opening: StoreId::new().opening, ..first };
        let at = |store, revision| Origin { store, revision };
        assert!(at(first, 1).is_behind(&at(first, 2)));
        assert!(!at(first, 2).is_behind(&at(first, 2)));
        assert!(!at(reopened, 1).is_behind(&at(first, 2)));
        assert!(at(reopened, 1).went_back_from(&at(first, 2)));
        assert!(!at(reopened, 2).went_back_from(&at(first, 2)));
        assert!(!at(first, 1).went_back_from(&at(first, 2)));
        assert!(!at(StoreId::new(), 1).went_back_from(&at(first, 2)));
    }
}
