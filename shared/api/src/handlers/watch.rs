//! `?watch=true` on lists and items: the state, then every change, as server-sent events.
//!
//! Events: `added` and `modified` with the resource, `deleted` with its name, `synced` when the state is complete,
//! `reset` when it has to be told from the start again. A client that resumes (`Last-Event-ID`) may be told again what
//! it knows: `added` and `modified` both mean that this is the content now.
//!
//! A watch holds names, never content: what a resource is, is looked up when the event is written, and events are
//! written when the client reads. So a slow client skips what was in between and costs next to nothing.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{MatchedPath, Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};
use tandem_auth::access::User;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Change, ChangeBatch, ChangeFeed, Revision, SharedStore};
use tokio_util::sync::CancellationToken;

use super::{Place, require_mesh, resources, writes};
use crate::context::SharedContext;
use crate::problem::Problem;
use crate::query::filter::Filter;
use crate::query::flag;
use crate::query::paging::LIST_TITLE;
use crate::router::OriginalUri;
use crate::server::{PublicOrigin, Shutdown};
use crate::{access, representation};

/// Resources looked at together while the state is told.
const PIECE: usize = 32;
/// Silence after which a comment shows that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Whether a request wants a stream instead of an answer.
///
/// # Errors
/// 400 for a `watch` that is neither true nor false.
pub fn is_wanted(uri: &OriginalUri) -> Result<bool, Problem> {
    flag(uri.0.query(), "watch")
}

/// `GET` of a list, as a stream if wanted.
#[allow(clippy::too_many_arguments)] // what the framework takes from the request
pub async fn list(
    kind: Kind,
    state: State<SharedContext>,
    user: Extension<User>,
    origin: Extension<PublicOrigin>,
    uri: Extension<OriginalUri>,
    shutdown: Extension<Shutdown>,
    route: MatchedPath,
    place: Path<Place>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_wanted(&uri)? {
        return resources::list(kind, state, user, origin, uri, route, place).await;
    }
    let filter = Filter::read(kind, route.as_str(), uri.0.0.query())?;
    require_mesh(&state, place.mesh.as_deref()).await?;
    access::resource(&state, &user, kind)?;
    let selection = Selection { kind, mesh: place.0.mesh, name: None, filter };
    Ok(stream(state.store.clone(), selection, &headers, shutdown.0.0))
}

/// `GET` of an item, as a stream if wanted; the item may come into being later.
pub async fn get(
    kind: Kind,
    state: State<SharedContext>,
    user: Extension<User>,
    uri: Extension<OriginalUri>,
    shutdown: Extension<Shutdown>,
    place: Path<Place>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_wanted(&uri)? {
        return resources::get(kind, state, user, uri, place, headers).await;
    }
    if kind.is_mesh_scoped() {
        require_mesh(&state, place.mesh.as_deref()).await?;
    }
    access::resource(&state, &user, kind)?;
    let Place { mesh, name } = place.0;
    let mesh = mesh.filter(|_| kind.is_mesh_scoped());
    let selection = Selection { kind, mesh, name, filter: Filter::default() };
    Ok(stream(state.store.clone(), selection, &headers, shutdown.0.0))
}

fn stream(store: SharedStore, selection: Selection, headers: &HeaderMap, shutdown: CancellationToken) -> Response {
    let last = headers.get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()).and_then(|id| id.trim().parse().ok());
    let watch = Watch::new(store, selection, last);
    let events = stream::unfold((watch, shutdown), |(mut watch, shutdown)| async move {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            event = watch.next() => event,
        };
        event.map(|event| (Ok::<_, Infallible>(event), (watch, shutdown)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive")).into_response()
}

/// Which resources a client watches.
struct Selection {
    kind: Kind,
    mesh: Option<String>,
    name: Option<String>,
    filter: Filter,
}

impl Selection {
    /// Whether a key can be one of them.
    fn covers(&self, key: &ResourceKey) -> bool {
        key.kind == self.kind
            && self.mesh.as_ref().is_none_or(|mesh| key.mesh == *mesh)
            && self.name.as_ref().is_none_or(|name| key.name == *name)
    }

    fn holds(&self, resource: Option<&Arc<Resource>>) -> bool {
        // What does not decode can satisfy no condition.
        resource.is_some_and(|resource| self.covers(&resource.key) && self.filter.matches(resource).unwrap_or_default())
    }
}

/// Where a watch is.
enum Phase {
    /// Telling the state: what follows this key is still to be told.
    Listing { after: Option<ResourceKey> },
    /// The state is told but for changes that came meanwhile.
    Listed,
    /// Telling changes.
    Following,
}

/// A resource that changed and of which the client is to be told.
struct Pending {
    key: ResourceKey,
    /// Whether the client has it.
    known: bool,
    /// Revision of its last change, as far as the watch has read.
    revision: Revision,
    /// Whether that was its deletion.
    deleted: bool,
}

struct Watch {
    store: SharedStore,
    selection: Selection,
    feed: ChangeFeed,
    phase: Phase,
    pending: VecDeque<Pending>,
    /// Resources that changed again before the client could be told, and whether the client has them. The feed is going
    /// to tell of each.
    overtaken: HashMap<ResourceKey, bool>,
    events: VecDeque<Event>,
}

impl Watch {
    /// A watch of what a selection is, or of how it changed after revision `last`.
    fn new(store: SharedStore, selection: Selection, last: Option<Revision>) -> Self {
        let mut feed = store.changes(last.unwrap_or_else(|| store.revision()));
        let mut phase = Phase::Following;
        if last.is_none() {
            // A feed of an empty store starts with everything, which is nothing.
            if feed.revision() == 0 {
                feed.pending();
            }
            phase = Phase::Listing { after: None };
        }
        let (pending, overtaken, events) = (VecDeque::new(), HashMap::new(), VecDeque::new());
        Self { store, selection, feed, phase, pending, overtaken, events }
    }

    /// The next event; `None` when the store is closed.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some(pending) = self.pending.pop_front() {
                self.tell(pending).await;
                continue;
            }
            match &self.phase {
                Phase::Listing { after } => {
                    let after = after.clone();
                    self.list(after).await?;
                }
                Phase::Listed => {
                    self.phase = Phase::Following;
                    let event = Event::default().event("synced").id(self.feed.revision().to_string()).data("{}");
                    self.events.push_back(event);
                }
                Phase::Following => match self.feed.next().await? {
                    ChangeBatch::Reset { .. } => self.reset(),
                    ChangeBatch::Changes { changes, .. } => self.absorb(changes.iter()),
                },
            }
        }
    }

    /// The changes since are not known any more.
    fn reset(&mut self) {
        self.pending.clear();
        self.overtaken.clear();
        self.phase = Phase::Listing { after: None };
        self.events.push_back(Event::default().event("reset").data("{}"));
    }

    /// Tells the next part of the state, and notes what changed of the parts before.
    async fn list(&mut self, after: Option<ResourceKey>) -> Option<()> {
        let Selection { kind, mesh, .. } = &self.selection;
        let page = self.store.page(*kind, mesh.as_deref(), after.as_ref(), PIECE).await.ok()?;
        let end = (page.resources.len() == PIECE).then(|| page.resources.last().map(|last| last.key.clone())).flatten();
        match self.feed.pending() {
            Some(ChangeBatch::Reset { .. }) => {
                self.reset();
                return Some(());
            }
            Some(ChangeBatch::Changes { changes, .. }) => {
                let is_told = |change: &&Arc<Change>| {
                    let was_told = after.as_ref().is_some_and(|after| change.key <= *after);
                    let is_told = end.as_ref().is_none_or(|end| change.key <= *end);
                    was_told || (is_told && change.revision > page.revision)
                };
                self.absorb(changes.iter().filter(is_told));
            }
            None => {}
        }
        for resource in page.resources.iter().filter(|resource| self.selection.holds(Some(resource))) {
            self.events.extend(shown("added", resource));
        }
        self.phase = match end {
            Some(end) => Phase::Listing { after: Some(end) },
            None => Phase::Listed,
        };
        Some(())
    }

    /// Notes what changed: each resource once, in the order of their last changes.
    fn absorb<'a>(&mut self, changes: impl Iterator<Item = &'a Arc<Change>>) {
        let mut noted: HashMap<ResourceKey, Pending> =
            self.pending.drain(..).map(|pending| (pending.key.clone(), pending)).collect();
        for change in changes.filter(|change| self.selection.covers(&change.key)) {
            let pending = noted.entry(change.key.clone()).or_insert_with(|| {
                let known = self.overtaken.remove(&change.key);
                let known = known.unwrap_or_else(|| self.selection.holds(change.old.as_ref()));
                Pending { key: change.key.clone(), known, revision: 0, deleted: false }
            });
            (pending.revision, pending.deleted) = (change.revision, change.new.is_none());
        }
        let mut pending: Vec<_> = noted.into_values().collect();
        pending.sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
        self.pending = pending.into();
    }

    /// Tells what became of a resource, unless it changed again: then the feed is going to say so.
    async fn tell(&mut self, Pending { key, known, revision, deleted }: Pending) {
        // A store that cannot be read ends the watch with the feed.
        let Ok(stored) = self.store.get(&key).await else { return };
        let is_current = match &stored {
            Some(stored) => !deleted && stored.version == revision,
            None => deleted,
        };
        if !is_current {
            self.overtaken.insert(key, known);
            return;
        }
        let event = match stored.filter(|stored| self.selection.holds(Some(stored))) {
            Some(resource) => shown(if known { "modified" } else { "added" }, &resource),
            None if known => {
                let mut name = Map::new();
                writes::named(&mut name, &key);
                Some(Event::default().event("deleted").data(Value::Object(name).to_string()))
            }
            None => None,
        };
        // A client resumes after a revision of which it knows everything.
        let is_last = self.pending.front().is_none_or(|next| next.revision > revision);
        let is_following = matches!(self.phase, Phase::Following);
        self.events
            .extend(event.map(|event| if is_last && is_following { event.id(revision.to_string()) } else { event }));
    }
}

/// An event with a resource. One that does not decode is left out; the log names it.
fn shown(name: &str, resource: &Resource) -> Option<Event> {
    let resource = representation::of(resource, LIST_TITLE).ok()?;
    Some(Event::default().event(name).data(resource.to_string()))
}
