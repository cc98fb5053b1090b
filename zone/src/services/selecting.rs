//! Which MeshServices of a mesh a change of a Dataplane concerns, without asking each of them.

use std::collections::{BTreeMap, BTreeSet};

/// MeshServices by what they select.
#[derive(Debug, Default)]
pub(super) struct Selecting {
    /// Names of those that select a service by its tag.
    by_service: BTreeMap<String, BTreeSet<String>>,
    /// Names of the others.
    otherwise: BTreeSet<String>,
}

impl Selecting {
    /// Adds a MeshService that selects a service, or something else.
    pub(super) fn insert(&mut self, service: Option<String>, name: &str) {
        match service {
            Some(service) => self.by_service.entry(service).or_default().insert(name.to_owned()),
            None => self.otherwise.insert(name.to_owned()),
        };
    }

    /// Takes it out again.
    pub(super) fn remove(&mut self, service: Option<&str>, name: &str) {
        let Some(service) = service else {
            self.otherwise.remove(name);
            return;
        };
        if let Some(names) = self.by_service.get_mut(service) {
            names.remove(name);
            if names.is_empty() {
                self.by_service.remove(service);
            }
        }
    }

    /// The MeshServices that may select a Dataplane which provides these services.
    pub(super) fn concerned<'a>(&'a self, provided: &BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
        let by_service = provided.iter().filter_map(|service| self.by_service.get(*service)).flatten();
        let names: Vec<_> = by_service.chain(&self.otherwise).map(String::as_str).collect();
        names.into_iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_service.is_empty() && self.otherwise.is_empty()
    }
}
