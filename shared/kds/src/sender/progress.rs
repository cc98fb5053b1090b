//! What of a type the peer has not confirmed, and since when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::{Kind, ResourceKey};
use tandem_store::Revision;
use tokio::time::Instant;

use super::Failures;
use crate::wire;

/// How far the peer is with a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The peer has asked for the type.
    pub(crate) subscribed: bool,
    /// Revision of the store that last changed something that concerns the peer.
    pub(crate) revision: Revision,
    /// Up to which revision the peer has confirmed everything.
    pub(crate) acknowledged: Option<Revision>,
    /// Changes that are not confirmed.
    pub(crate) pending: usize,
    /// Since when the oldest of them, or the answer to the subscription, is pending.
    pub(crate) pending_since: Option<Instant>,
    /// When the response was sent that is not answered.
    pub(crate) unanswered_since: Option<Instant>,
    /// When the peer last confirmed something.
    pub(crate) confirmed: Option<Instant>,
}

/// A response that the peer has not answered.
#[derive(Debug)]
struct Flight {
    nonce: String,
    sent: Instant,
    /// Since when the oldest change in it is pending.
    oldest: Instant,
    /// Resources that are in it or removed by it.
    names: Vec<Arc<str>>,
    /// What an answer confirms; `None` when more of the type is to come.
    revision: Option<Revision>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    subscribed: bool,
    revision: Revision,
    acknowledged: Option<Revision>,
    confirmed: Option<Instant>,
    /// Since when something waits to be sent.
    waiting_since: Option<Instant>,
    flight: Option<Flight>,
    /// Was in a response of which the peer rejected a part without saying which.
    unconfirmed: BTreeSet<Arc<str>>,
    unconfirmed_since: Option<Instant>,
    /// What the peer said it rejected.
    rejected: BTreeMap<Arc<str>, ResourceKey>,
}

impl Progress {
    /// The peer asks for the type.
    pub(super) fn subscribed(&mut self) {
        self.subscribed = true;
        self.waiting();
    }

    /// Something that concerns the peer has changed.
    pub(super) fn changed(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.waiting();
    }

    /// What leaves next reflects everything up to this revision.
    pub(super) fn reflects(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    fn waiting(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// Everything was compared, and what is left waits for room (`rest`) or does not exist.
    pub(super) fn compared(&mut self, rest: bool) {
        if !rest {
            self.waiting_since = None;
            if self.flight.is_none() && self.unconfirmed.is_empty() && self.acknowledged.is_some() {
                // What changed is as it was when the peer confirmed it.
                self.acknowledged = Some(self.revision);
            }
        }
    }

    /// A response leaves; `rest` when more of the type is to come after it.
    pub(super) fn sent(&mut self, nonce: &str, mut names: Vec<Arc<str>>, rest: bool) {
        let now = Instant::now();
        let mut oldest = self.waiting_since.unwrap_or(now);
        if let Some(lost) = self.flight.take() {
            // The peer asked for more without an answer to this one.
            names.extend(lost.names);
            oldest = oldest.min(lost.oldest);
        }
        let revision = (!rest).then_some(self.revision);
        self.flight = Some(Flight { nonce: nonce.to_owned(), sent: now, oldest, names, revision });
        self.compared(rest);
    }

    /// The peer confirms a response, or rejects parts of it; counts if that is the one under way. What is left out, or is
    /// not any more, is added to `noted`.
    pub(super) fn answered(
        &mut self,
        kind: Kind,
        nonce: &str,
        rejection: Option<&str>,
        holders: impl Fn(&str) -> Option<ResourceKey>,
        noted: &mut Failures,
    ) {
        let Some(flight) = self.flight.take_if(|flight| flight.nonce == nonce) else { return };
        let names: BTreeSet<Arc<str>> = flight.names.into_iter().collect();
        let Rejected { reasons, complete } =
            rejection.map_or_else(Rejected::none, |text| Rejected::read(kind, text, &names));
        for name in &names {
            if let Some(reason) = reasons.get(name) {
                if let Some(key) = holders(name) {
                    noted.push((key.clone(), Some(reason.clone())));
                    self.rejected.insert(name.clone(), key);
                }
            } else if !complete {
                self.unconfirmed.insert(name.clone());
                self.unconfirmed_since.get_or_insert(flight.oldest);
                continue;
            } else if let Some(key) = self.rejected.remove(name) {
                noted.push((key, None));
            }
            self.unconfirmed.remove(name);
        }
        if self.unconfirmed.is_empty() {
            self.unconfirmed_since = None;
        }
        if self.unconfirmed.is_empty() && flight.revision.is_some() {
            // When nothing waits, what changed since the response left was changed back.
            self.acknowledged = if self.waiting_since.is_none() { Some(self.revision) } else { flight.revision };
        }
        if complete || !reasons.is_empty() {
            self.confirmed = Some(Instant::now());
        }
    }

    /// True when the peer has confirmed the resource that it knows by this name as it was sent last.
    pub(super) fn is_confirmed(&self, name: &Arc<str>) -> bool {
        let flying = self.flight.as_ref().is_some_and(|flight| flight.names.contains(name));
        !flying && !self.unconfirmed.contains(name) && !self.rejected.contains_key(name)
    }

    /// How far the peer is, with `waiting` changes that are not sent.
    pub(super) fn standing(&self, waiting: usize) -> Standing {
        let flight = self.flight.as_ref();
        let oldest = [self.waiting_since, flight.map(|flight| flight.oldest), self.unconfirmed_since];
        Standing {
            subscribed: self.subscribed,
            revision: self.revision,
            acknowledged: self.acknowledged,
            pending: waiting + flight.map_or(0, |flight| flight.names.len()) + self.unconfirmed.len(),
            pending_since: oldest.into_iter().flatten().min(),
            unanswered_since: flight.map(|flight| flight.sent),
            confirmed: self.confirmed,
        }
    }
}

/// What the text of a rejection says about the resources of the response.
struct Rejected {
    reasons: BTreeMap<Arc<str>, String>,
    /// Everything that the text complains about is in `reasons`.
    complete: bool,
}

impl Rejected {
    fn none() -> Self {
        Self { reasons: BTreeMap::new(), complete: true }
    }

    /// Each line that is about a resource names it in the form of [`ResourceKey`]. Kuma does so for conflicts only, with
    /// the cause alone on a line before them.
    fn read(kind: Kind, text: &str, names: &BTreeSet<Arc<str>>) -> Self {
        let mut read = Self::none();
        for line in text.lines().filter(|line| !matches!(line.trim(), "" | "user error" | "internal error")) {
            let named = named_in(line).filter(|(named, ..)| *named == kind.name());
            match named.and_then(|(_, name, mesh)| names.get(wire::resource_name(name, mesh).as_str())) {
                Some(name) => _ = read.reasons.insert(name.clone(), line.to_owned()),
                None => read.complete = false,
            }
        }
        if let (true, Some(only)) = (names.len() == 1, names.first()) {
            read.reasons.entry(only.clone()).or_insert_with(|| text.to_owned());
            read.complete = true;
        }
        read.complete &= !read.reasons.is_empty();
        read
    }
}

/// Type, name and mesh of the resource that a line names.
fn named_in(line: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = line.split('"').collect();
    parts.windows(6).find_map(|part| match part {
        [before, kind, " name=", name, " mesh=", mesh] if before.ends_with("type=") => Some((*kind, *name, *mesh)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn read(text: &str, of: &[&str]) -> (Vec<String>, bool) {
        let read = Rejected::read(Kind::MeshTimeout, text, &names(of));
        (read.reasons.keys().map(|name| name.to_string()).collect(), read.complete)
    }

    #[test]
    fn a_rejection_is_about_the_resources_that_it_names() {
        let line = |name: &str| format!("type=\"MeshTimeout\" name={name:?} mesh=\"default\": spec: spoiled");
        let of = ["a.default", "b.default", "c.default"];
        assert_eq!(read(&line("a"), &of), (vec!["a.default".to_owned()], true));
        let both = format!("{}\ncould not decode {}", line("a"), line("c"));
        assert_eq!(read(&both, &of), (vec!["a.default".to_owned(), "c.default".to_owned()], true));
        let conflict =
            "user error\nuser error\nresource already exists: type=\"MeshTimeout\" name=\"b\" mesh=\"default\"";
        assert_eq!(read(conflict, &of), (vec!["b.default".to_owned()], true));
    }

    #[test]
    fn a_rejection_without_names_can_be_about_any_resource_unless_there_is_one() {
        let text = "spec.to[0].default: at least one timeout should be configured";
        assert_eq!(read(text, &["a.default", "b.default"]), (Vec::new(), false));
        assert_eq!(read(text, &["a.default"]), (vec!["a.default".to_owned()], true));
        assert_eq!(read("", &["a.default", "b.default"]), (Vec::new(), false));
        assert_eq!(read("", &["a.default"]), (vec!["a.default".to_owned()], true));
        let other = "type=\"MeshTimeout\" name=\"z\" mesh=\"default\": spoiled";
        assert_eq!(read(other, &["a.default", "b.default"]), (Vec::new(), false));
        let mixed = format!("{text}\ntype=\"MeshTimeout\" name=\"a\" mesh=\"default\": spoiled");
        assert_eq!(read(&mixed, &["a.default", "b.default"]), (vec!["a.default".to_owned()], false));
    }
}
