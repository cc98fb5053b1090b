//! Which store this is.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Tells stores, and times of one store, apart. Prints and parses as `<store>/<opening>`.
///
/// Revisions with equal ids are in order. With the same store and another opening they are so as well, unless the store
/// was put back from a copy meanwhile: then they begin again at the one of the copy. Processes that share a store must
/// therefore have one opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId {
    /// Made with the store and kept for its whole life. A copy of the store has it too.
    pub store: Uuid,
    /// Made whenever the store is opened.
    pub opening: Uuid,
}

impl StoreId {
    /// The id of a new store.
    pub fn new() -> Self {
        Self::opened(Uuid::new_v4())
    }

    /// The id of an existing store that is being opened.
    pub(crate) fn opened(store: Uuid) -> Self {
        Self { store, opening: Uuid::new_v4() }
    }
}

impl Default for StoreId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.opening)
    }
}

impl FromStr for StoreId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (store, opening) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { store: Uuid::try_parse(store)?, opening: Uuid::try_parse(opening)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed() {
        let id = StoreId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "/", &id.store.to_string(), &format!("{id}/"), &format!("x{id}")] {
            assert!(wrong.parse::<StoreId>().is_err(), "{wrong:?}");
        }
    }
}
