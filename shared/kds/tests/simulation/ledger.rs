//! Who wrote what where, and what that allows others to do. Every commit of every store is judged here the moment it
//! happens.
//!
//! What the simulation writes says in its labels where it comes from and which version it is; labels travel, so a copy
//! can be told apart from any other without knowing how names change on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1::{ZoneEgress, ZoneIngress};
use tandem_proto::system::v1alpha1::Zone;
use tandem_store::{Change, Revision};
use tokio::time::Instant;

use crate::world::World;

/// Label: where a resource was written, and which one it is there.
pub const ID: &str = "sim/id";
/// Label: number of the version; all numbers of a run differ and grow.
pub const VERSION: &str = "sim/version";
/// Label: who refuses this version; the name of a control plane, or [`EVERYBODY`].
pub const REFUSED_BY: &str = "sim/refused-by";
/// See [`REFUSED_BY`].
pub const EVERYBODY: &str = "everybody";
/// Name of global.
pub const GLOBAL: &str = "global";

/// Longest time that a message may have been under way.
const UNDER_WAY: Duration = Duration::from_secs(120);

/// True when `who` refuses this version.
pub fn refuses(who: &str, resource: &Resource) -> bool {
    resource.label(REFUSED_BY).is_some_and(|refused| refused == who || refused == EVERYBODY)
}

/// Id and version of a resource that the simulation wrote.
pub fn identify(resource: &Resource) -> Option<(&str, u64)> {
    Some((resource.label(ID)?, resource.label(VERSION)?.parse().ok()?))
}

/// The store where a resource with this id was written.
pub fn origin(id: &str) -> &str {
    id.split('.').next().unwrap_or_default()
}

/// See the module.
pub struct Ledger {
    world: Arc<World>,
    state: Mutex<State>,
}

/// What a resource was, from which revision on.
type History = Vec<(Revision, Option<Arc<Resource>>)>;

#[derive(Default)]
struct State {
    origins: BTreeMap<String, Vec<Event>>,
    replicas: BTreeMap<(String, String), Replica>,
    histories: BTreeMap<String, BTreeMap<ResourceKey, History>>,
    /// When zones were disabled, and until when.
    disabled: BTreeMap<String, Vec<(Instant, Option<Instant>)>>,
    /// When global lost its store.
    global_lost: Vec<Instant>,
    /// When Zones were deleted.
    forgotten: BTreeMap<String, Vec<Instant>>,
    copied: u64,
}

enum Event {
    Version(u64, Arc<Resource>),
    Deleted,
}

/// A copy of a resource in another store.
struct Replica {
    key: ResourceKey,
    version: u64,
    created: Instant,
    /// It is not there any more: maybe because it was withheld from this store, or (with false) because it was deleted.
    removed: Option<bool>,
}

impl Ledger {
    /// A ledger of nothing.
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { world, state: Mutex::default() })
    }

    /// Judges a commit of a store.
    pub fn committed(&self, store: &str, changes: &[Arc<Change>]) {
        let mut state = self.state.lock();
        for change in changes {
            let history = state.histories.entry(store.to_owned()).or_default();
            history.entry(change.key.clone()).or_default().push((change.revision, change.new.clone()));
            if store == GLOBAL && change.key.kind == Kind::Zone {
                state.note_zone(&change.key.name, change.new.as_deref());
            }
            let either = change.new.as_deref().or(change.old.as_deref());
            let Some((id, _)) = either.and_then(identify) else { continue };
            if origin(id) == store {
                let event = match &change.new {
                    Some(resource) => {
                        Event::Version(identify(resource).map_or(0, |(_, version)| version), resource.clone())
                    }
                    None => Event::Deleted,
                };
                state.origins.entry(id.to_owned()).or_default().push(event);
            } else {
                self.copied(&mut state, store, id, change);
            }
        }
        drop(state);
        for change in changes {
            // Insights count seconds and messages; they say nothing more than the rest of the trace.
            if change.key.kind != Kind::ZoneInsight {
                let version = change.new.as_deref().and_then(identify).map(|(_, version)| version);
                let there = change.new.is_some();
                self.world.trace(format_args!("{store} r{} {} {there} {version:?}", change.revision, change.key));
            }
        }
    }

    /// A change in a store of what was written in another one.
    fn copied(&self, state: &mut State, store: &str, id: &str, change: &Change) {
        state.copied += 1;
        let place = (store.to_owned(), id.to_owned());
        let now = Instant::now();
        let Some(new) = change.new.as_deref() else {
            let Some(known) = state.replicas.get(&place) else { return };
            let (version, created) = (known.version, known.created);
            let deleted = state.deleted_after(id, version);
            let withheld = state.was_withheld(store, id, created, now);
            if !deleted && !withheld {
                self.world
                    .found("R2", format_args!("{store} lost {} ({id}), which exists where it was written", change.key));
            }
            if let Some(known) = state.replicas.get_mut(&place) {
                known.removed = Some(withheld);
            }
            return;
        };
        let Some((_, version)) = identify(new) else { return };
        match state.version(id, version) {
            None => self.world.found("R5", format_args!("{store} has version {version} of {id}, which nobody wrote")),
            Some(written) if !same_content(written, new) => {
                self.world.found("R5", format_args!("{store} has another content of version {version} of {id}"));
            }
            Some(_) => {}
        }
        if refuses(store, new) {
            self.world.found("R4", format_args!("{store} stored version {version} of {id}, which it refuses"));
        }
        if let Some(known) = state.replicas.get(&place) {
            if known.removed.is_none() && known.key != change.key {
                self.world.found("R10", format_args!("{store} has {id} twice: as {} and as {}", known.key, change.key));
            }
            if version < known.version {
                self.world.found(
                    "R5",
                    format_args!("{store} went back from version {} of {id} to version {version}", known.version),
                );
            }
            if known.removed == Some(false)
                && (version == known.version || !state.deleted_between(id, known.version, version))
            {
                self.world
                    .found("R3", format_args!("{store} has version {version} of {id} again, after it was deleted"));
            }
        }
        let created = match state.replicas.get(&place) {
            Some(known) if known.removed.is_none() => known.created,
            _ => now,
        };
        state.replicas.insert(place, Replica { key: change.key.clone(), version, created, removed: None });
    }

    /// A control plane has lost its store with all that was written there.
    pub fn lost(&self, lost: &str) {
        let mut state = self.state.lock();
        if lost == GLOBAL {
            state.global_lost.push(Instant::now());
        }
        for (id, events) in &mut state.origins {
            if origin(id) == lost && matches!(events.last(), Some(Event::Version(..))) {
                events.push(Event::Deleted);
            }
        }
        state.replicas.retain(|(store, _), _| store != lost);
        state.histories.remove(lost);
    }

    /// True when the Zone of a zone was deleted at that time or later, and with it what global had from the zone.
    pub fn forgotten_since(&self, zone: &str, since: Instant) -> bool {
        let state = self.state.lock();
        state.forgotten.get(zone).is_some_and(|forgotten| forgotten.iter().any(|&forgotten| forgotten >= since))
    }

    /// Key of something that the store got from elsewhere and has.
    pub fn some_replica(&self, store: &str) -> Option<ResourceKey> {
        let state = self.state.lock();
        let here = state.replicas.iter().filter(|((place, _), replica)| place == store && replica.removed.is_none());
        here.map(|(_, replica)| replica.key.clone()).next()
    }

    /// Resources of a kind that a store had at a revision.
    pub fn state_at(&self, store: &str, kind: Kind, revision: Revision) -> Vec<Arc<Resource>> {
        let state = self.state.lock();
        let Some(history) = state.histories.get(store) else { return Vec::new() };
        let of_kind = history.iter().filter(|(key, _)| key.kind == kind);
        let at = |versions: &History| {
            versions.iter().rev().find(|(written, _)| *written <= revision).and_then(|(_, resource)| resource.clone())
        };
        of_kind.filter_map(|(_, versions)| at(versions)).collect()
    }

    /// How many changes came from elsewhere.
    pub fn copies(&self) -> u64 {
        self.state.lock().copied
    }
}

impl State {
    fn note_zone(&mut self, zone: &str, resource: Option<&Resource>) {
        let disabled =
            resource.and_then(|resource| resource.proto::<Zone>().ok()).is_some_and(|zone| zone.enabled == Some(false));
        if resource.is_none() {
            self.forgotten.entry(zone.to_owned()).or_default().push(Instant::now());
        }
        let periods = self.disabled.entry(zone.to_owned()).or_default();
        match (periods.last_mut(), disabled) {
            (Some((_, None)), true) => {}
            (_, true) => periods.push((Instant::now(), None)),
            (Some((_, until @ None)), false) => *until = Some(Instant::now()),
            (_, false) => {}
        }
    }

    /// What a zone wrote is withheld from others while it is disabled; and when global has lost its store, or the Zone was
    /// deleted there, until global has heard of it again. The latter is withheld from global itself.
    fn was_withheld(&self, store: &str, id: &str, created: Instant, now: Instant) -> bool {
        let disabled = self.disabled.get(origin(id)).map(Vec::as_slice).unwrap_or_default();
        let forgotten = self.forgotten.get(origin(id)).map(Vec::as_slice).unwrap_or_default();
        if store == GLOBAL {
            return forgotten.iter().any(|forgotten| *forgotten >= created);
        }
        let moments = self.global_lost.iter().chain(forgotten).map(|&moment| (moment, Some(moment)));
        let mut periods = disabled.iter().copied().chain(moments);
        origin(id) != GLOBAL
            && periods.any(|(from, until)| from <= now && until.is_none_or(|until| until + UNDER_WAY >= created))
    }

    fn version(&self, id: &str, version: u64) -> Option<&Resource> {
        self.origins.get(id)?.iter().find_map(|event| match event {
            Event::Version(number, resource) if *number == version => Some(&**resource),
            _ => None,
        })
    }

    fn deleted_after(&self, id: &str, version: u64) -> bool {
        self.deleted_between(id, version, u64::MAX)
    }

    /// True when the resource was deleted after the first of two versions and before the second.
    fn deleted_between(&self, id: &str, first: u64, second: u64) -> bool {
        let events = self.origins.get(id).map(Vec::as_slice).unwrap_or_default();
        let later = events.iter().skip_while(|event| !matches!(event, Event::Version(number, _) if *number == first));
        let between = later.take_while(|event| !matches!(event, Event::Version(number, _) if *number == second));
        between.into_iter().any(|event| matches!(event, Event::Deleted))
    }
}

/// Equal but for what the receiver adds.
fn same_content(written: &Resource, copy: &Resource) -> bool {
    if written.kind() == Kind::ZoneIngress {
        let networking =
            |resource: &Resource| resource.proto::<ZoneIngress>().ok().and_then(|ingress| ingress.networking);
        return networking(written) == networking(copy);
    }
    if written.kind() == Kind::ZoneEgress {
        let networking = |resource: &Resource| resource.proto::<ZoneEgress>().ok().and_then(|egress| egress.networking);
        return networking(written) == networking(copy);
    }
    written.spec == copy.spec
}

/// True for a resource that a zone got from global.
pub fn is_from_global(resource: &Resource) -> bool {
    let provided_here = resource.kind().descriptor().direction.provided_by_zone();
    !provided_here || resource.label(label::ORIGIN).is_some_and(|origin| origin != label::ORIGIN_ZONE)
}
