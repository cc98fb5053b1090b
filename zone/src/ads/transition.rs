//! From one configuration of a proxy to the next without a moment in which something is missing.
//!
//! Clusters of which a new listener speaks are there, with endpoints and secrets, before the listener is sent; clusters that nobody
//! speaks of any more stay until connections of the old listeners have ended. Envoy itself drops what a response no longer lists
//! at once, and answers requests to a cluster that is missing or not ready with 503.

use std::sync::Arc;
use std::time::Duration;

use tandem_xds::{Encoded, ResourceSet, ResourceType};
use tokio::time::{Instant, sleep_until};

use super::variant::Variant;
use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};

/// How long listeners wait at most for clusters that do not become ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long connections of replaced listeners may go on: the time that kuma-dp gives them (`dataplane.drainTime`).
const DRAIN: Duration = Duration::from_secs(30);

/// Types whose resources speak of clusters.
const USERS: [ResourceType; 2] = [Listener, Route];

/// Types that are kept while somebody may speak of them.
const USED: [ResourceType; 2] = [Cluster, Endpoint];

/// What one client is shown on the way from an earlier configuration to the newest one.
#[derive(Debug, Default)]
pub struct Transition {
    /// What to send in place of the newest configuration, while under way.
    shown: Option<ResourceSet>,
    held: Option<Held>,
    retained: Vec<Retained>,
    /// The client refused its listeners, so it still has earlier ones.
    refused: bool,
}

/// Listeners and routes that wait for clusters.
#[derive(Debug)]
struct Held {
    /// What the client has of them until then.
    earlier: Vec<(ResourceType, Arc<Encoded>)>,
    /// Names of the endpoints that the client has to ask for.
    needed: Vec<Arc<str>>,
    until: Instant,
}

/// A resource that is not part of the newest configuration any more.
#[derive(Debug)]
struct Retained {
    resource_type: ResourceType,
    resource: Arc<Encoded>,
    /// When it goes; `None` while listeners may speak of it.
    until: Option<Instant>,
}

impl Transition {
    /// The configuration was `old` and is `new` now.
    pub fn begin(&mut self, old: &ResourceSet, new: &ResourceSet) {
        // Endpoints come and go with clusters.
        if self.held.is_none() && [Cluster, Listener, Route].iter().all(|kind| old.shares(*kind, new)) {
            return self.show(new);
        }
        let known = |kind: ResourceType, name: &str| {
            let retained = |kept: &Retained| kept.resource_type == kind && *kept.resource.name == *name;
            contains(old.of(kind), name) || self.retained.iter().any(retained)
        };
        let missing = |kind: ResourceType| new.of(kind).iter().filter(move |resource| !known(kind, &resource.name));
        let mut needed: Vec<_> = missing(Endpoint).map(|resource| resource.name.clone()).collect();
        let mut more = missing(Cluster).next().is_some();
        let staying: Vec<_> = staying(old, new).collect();
        for kind in USED {
            let (old, new) = (old.of(kind), new.of(kind));
            self.retained.retain(|kept| kept.resource_type != kind || !contains(new, &kept.resource.name));
            let gone = old.iter().filter(|resource| !contains(new, &resource.name));
            // What is spoken of and yet not there is meant to be missing: so are connections to unknown destinations forbidden.
            let gone = gone.filter(|resource| !staying.iter().any(|user| speaks_of(user, &resource.name)));
            let gone = gone.map(|resource| Retained { resource_type: kind, resource: resource.clone(), until: None });
            self.retained.extend(gone);
        }
        let mut until = Instant::now() + PATIENCE;
        let mut earlier: Vec<_> = users(old).collect();
        if let Some(held) = self.held.take() {
            // The client has not come to `old`, and what it waits for is not there yet.
            (earlier, until, more) = (held.earlier, held.until, true);
            needed.extend(held.needed.into_iter().filter(|name| contains(new.of(Endpoint), name)));
        }
        if more && earlier != users(new).collect::<Vec<_>>() {
            self.held = Some(Held { earlier, needed, until });
        }
        self.show(new);
    }

    /// The client took a response of a type.
    pub fn accepted(&mut self, resource_type: ResourceType) {
        if resource_type == Listener {
            self.refused = false;
        }
    }

    /// The client refused a response of a type.
    pub fn rejected(&mut self, resource_type: ResourceType) {
        if resource_type == Listener {
            self.refused = true;
        }
    }

    /// What to send of the newest configuration now.
    pub fn stage<'a>(&'a mut self, newest: &'a ResourceSet, client: &impl Variant) -> &'a ResourceSet {
        if self.advance(client) {
            self.show(newest);
        }
        self.shown.as_ref().unwrap_or(newest)
    }

    /// Goes on as far as the client is; true when that made a difference.
    fn advance(&mut self, client: &impl Variant) -> bool {
        let Some(shown) = &self.shown else { return false };
        let now = Instant::now();
        if let Some(held) = &self.held {
            // What there is nothing of, nobody asks for.
            let has = |kind: ResourceType| shown.of(kind).is_empty() || client.is_current(kind, shown);
            let asked = |name: &Arc<str>| client.asks_for(Endpoint, name);
            let ready = held.needed.iter().all(asked) && [Cluster, Endpoint, Secret].into_iter().all(has);
            if !ready && now < held.until {
                return false;
            }
            self.held = None;
            return true;
        }
        let settled = || !self.refused && client.is_current(Listener, shown);
        if self.retained.iter().any(|kept| kept.until.is_none()) && settled() {
            let kept = self.retained.iter_mut().filter(|kept| kept.until.is_none());
            kept.for_each(|kept| kept.until = Some(now + DRAIN));
        }
        let before = self.retained.len();
        self.retained.retain(|kept| kept.until.is_none_or(|until| now < until));
        self.retained.len() != before
    }

    /// Puts together what is shown.
    fn show(&mut self, newest: &ResourceSet) {
        if self.held.is_none() && self.retained.is_empty() {
            self.shown = None;
            return;
        }
        let retained = self.retained.iter().map(|kept| (kept.resource_type, kept.resource.clone()));
        let of_newest = ResourceType::ALL.into_iter().filter(|kind| self.held.is_none() || !USERS.contains(kind));
        let of_newest = of_newest.flat_map(|kind| newest.of(kind).iter().map(move |resource| (kind, resource.clone())));
        let earlier = self.held.iter().flat_map(|held| held.earlier.iter().cloned());
        self.shown = Some(ResourceSet::collect(retained.chain(of_newest).chain(earlier)));
    }

    /// Resolves when it is time to go on although the client said nothing; never when there is nothing to wait for.
    pub async fn wait(&self) {
        let held = self.held.iter().map(|held| held.until);
        match held.chain(self.retained.iter().filter_map(|kept| kept.until)).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

fn users(set: &ResourceSet) -> impl Iterator<Item = (ResourceType, Arc<Encoded>)> + '_ {
    USERS.into_iter().flat_map(|kind| set.of(kind).iter().map(move |resource| (kind, resource.clone())))
}

/// The listeners and routes of a configuration that an earlier one had too, in whatever form.
fn staying<'a>(old: &'a ResourceSet, new: &'a ResourceSet) -> impl Iterator<Item = &'a Arc<Encoded>> + 'a {
    USERS.into_iter().flat_map(move |kind| new.of(kind).iter().filter(move |user| contains(old.of(kind), &user.name)))
}

/// True when a resource holds this name as a text: encoded, that is its length and the text itself.
fn speaks_of(user: &Encoded, name: &str) -> bool {
    let text = prost::Message::encode_to_vec(&name.to_owned());
    // Without the tag of the one field that this makes; nothing of an empty name.
    let Some(text) = text.get(1..) else { return false };
    user.body.windows(text.len()).any(|part| part == text)
}

/// True when a list sorted by name has this name.
fn contains(resources: &[Arc<Encoded>], name: &str) -> bool {
    resources.binary_search_by(|resource| (*resource.name).cmp(name)).is_ok()
}

#[cfg(test)]
mod tests;
