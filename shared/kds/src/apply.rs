//! Applies what a peer sends to the store: each response as one transaction.
//!
//! What cannot be applied (undecodable, invalid, in conflict with a resource of somebody else, refused by the store) is
//! left out and reported; what the store has of it stays. Everything else of the response is applied.
//!
//! An [`Applier`] belongs to a peer and is shared by all of its streams, of which several may be open for a while. A
//! type is applied by one of them at a time: whether a response may be applied, and applying it, are one step. Nothing is
//! applied from a stream after a newer one has brought the type, nor from an earlier state of a store that was at a later
//! one; that lasts as long as the process. Deletions that nobody asked for by name pass the [`guard`].
//!
//! Source of the rules: Kuma `pkg/kds/v2/client/kds_client.go` and `pkg/kds/v2/store/sync.go`.

mod announced;
mod guard;
mod plan;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey, Violations};
use tandem_store::{Revision, SharedStore, StoreError, Write};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

pub use guard::DeletionGuard;

use self::announced::Announced;
use self::guard::Held;
use self::plan::{Plan, Terms};
use crate::inlet::Inlet;
use crate::origin::Origin;
use crate::status::HeldDeletions;
use crate::wire::DeltaResponse;

/// How often a transaction is tried again because the store changed meanwhile, before its writes are tried one by one.
const ATTEMPTS: usize = 8;
/// Longest text about what was left out, in bytes.
const MAX_COMPLAINT_BYTES: usize = 1 << 20;
/// What precedes a complaint about a conflict, once for each.
const USER_ERROR: &str = "user error";

/// Checks a received resource; a plain function so that tests and both control planes can bring their own.
pub type Validate = Arc<dyn Fn(&Resource) -> Violations + Send + Sync>;

/// A resource that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Which one, as far as it could be read.
    pub(crate) key: Option<ResourceKey>,
    /// Why, as text for people and for the peer.
    pub(crate) reason: String,
    /// The name belongs to somebody else.
    pub(crate) conflict: bool,
}

/// What became of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// It was taken as the full state of its type.
    pub(crate) full: bool,
    /// Revision of the peer's store that is applied now, if the peer tells it.
    pub(crate) revision: Option<Revision>,
    /// Resources that were new.
    pub(crate) created: usize,
    /// Resources that changed.
    pub(crate) updated: usize,
    /// Resources that went.
    pub(crate) deleted: usize,
    /// Resources that the peer manages here now.
    pub(crate) accepted: Vec<ResourceKey>,
    /// Keys that the peer says are gone, or that are not part of a full state.
    pub(crate) gone: Vec<ResourceKey>,
    /// Resources that were left out.
    pub(crate) rejected: Vec<Rejection>,
    /// Deletions that are held back now.
    pub(crate) held: Option<HeldDeletions>,
    /// How many of them were not held back before.
    pub(crate) newly_held: usize,
    /// Resources that claimed to be of somebody else and were made the peer's own, with what they claimed.
    pub(crate) relabelled: Vec<(ResourceKey, Vec<String>)>,
    /// How often the peer wanted to write or delete what is not its own.
    pub(crate) refused: u64,
}

impl Applied {
    /// Text that tells the peer what was left out; `None` when nothing was. Kuma reads the cause from how it begins.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.rejected.is_empty() {
            return None;
        }
        let (conflicts, others): (Vec<_>, Vec<_>) = self.rejected.iter().partition(|rejection| rejection.conflict);
        let mut text = String::new();
        let mut left = self.rejected.len();
        for rejection in conflicts.iter().chain(&others) {
            if text.len() + rejection.reason.len() > MAX_COMPLAINT_BYTES {
                text.push_str(&format!("and {left} more\n"));
                break;
            }
            text.push_str(&rejection.reason);
            text.push('\n');
            left -= 1;
        }
        text.pop();
        let causes = conflicts.len().min(MAX_COMPLAINT_BYTES / (USER_ERROR.len() + 1));
        Some(format!("{USER_ERROR}\n").repeat(causes) + &text)
    }

    fn add(&mut self, part: &Self) {
        self.created += part.created;
        self.updated += part.updated;
        self.deleted += part.deleted;
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, deleted, rejected, .. } = self;
        write!(f, "{created} created, {updated} updated, {deleted} deleted, {} left out", rejected.len())
    }
}

/// Why a response was not applied at all. The stream has to end: what follows on it would rest on this response.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    /// A newer stream of the peer has brought the type.
    #[error("a newer stream of the same peer has brought resources of type {0} already")]
    Superseded(Kind),
    /// The peer was at a later state.
    #[error("resources of type {kind} are those of revision {}, those of revision {applied} of the same store are applied already", .origin.revision)]
    Older {
        /// The type.
        kind: Kind,
        /// What the response reflects.
        origin: Origin,
        /// What is applied.
        applied: Revision,
    },
    /// The store failed.
    #[error("could not store resources of type {0}: {1}")]
    Store(Kind, StoreError),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Superseded(_) | Refusal::Older { .. } => Self::aborted(refusal.to_string()),
            Refusal::Store(..) => Self::internal(refusal.to_string()),
        }
    }
}

/// Applies what one peer sends; see the module.
pub(crate) struct Applier {
    store: SharedStore,
    inlet: Inlet,
    validate: Validate,
    guard: DeletionGuard,
    types: Mutex<BTreeMap<Kind, Arc<Progress>>>,
    streams: AtomicU64,
}

/// What was applied of one type.
#[derive(Debug, Default)]
struct Progress {
    last: Arc<tokio::sync::Mutex<Last>>,
    /// Changed only with `last` locked, but for the time.
    held: Mutex<Held>,
}

/// The response that was applied last.
#[derive(Debug)]
struct Last {
    /// The stream it came on.
    stream: u64,
    origin: Option<Origin>,
    /// The full state on this stream could be read as a whole.
    complete: bool,
}

impl Default for Last {
    fn default() -> Self {
        Self { stream: 0, origin: None, complete: true }
    }
}

impl Applier {
    /// An applier for the peer of an inlet.
    pub(crate) fn new(store: SharedStore, inlet: Inlet, validate: Validate, guard: DeletionGuard) -> Arc<Self> {
        Arc::new(Self { store, inlet, validate, guard, types: Mutex::default(), streams: AtomicU64::new(0) })
    }

    /// A stream that the peer has just opened; it is newer than all before it.
    pub(crate) fn open(self: &Arc<Self>) -> Intake {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        Intake { applier: self.clone(), stream, seen: BTreeSet::new(), holding: BTreeSet::new() }
    }

    fn progress(&self, kind: Kind) -> Arc<Progress> {
        self.types.lock().entry(kind).or_default().clone()
    }

    fn held(&self, kind: Kind) -> BTreeSet<ResourceKey> {
        self.progress(kind).held.lock().keys()
    }

    /// Writes what was announced, and says what became of it.
    async fn store(&self, terms: Terms, announced: &Announced) -> Result<Plan, StoreError> {
        let mut refused = BTreeMap::new();
        if let Some(plan) = self.attempt(terms, announced, &mut refused).await? {
            return Ok(plan);
        }
        // Somebody else keeps writing some of these. One by one, all others are stored in any case.
        let Plan { writes, mut applied, held, newly_held } = self.plan(terms, announced, &refused).await?;
        (applied.created, applied.updated, applied.deleted) = (0, 0, 0);
        let parts = writes.iter().map(key_of).filter(|key| key.kind == terms.kind);
        for key in parts {
            let terms = Terms { full: false, ..terms };
            match self.attempt(terms, &announced.part(key), &mut refused).await? {
                Some(part) => applied.add(&part.applied),
                None => {
                    let reason = format!("{key}: could not be stored, it changes here all the time");
                    refused.insert(key.clone(), reason);
                }
            }
        }
        for (key, reason) in refused {
            applied.accepted.retain(|accepted| *accepted != key);
            applied.gone.retain(|gone| *gone != key);
            if applied.rejected.iter().all(|rejection| rejection.key.as_ref() != Some(&key)) {
                applied.rejected.push(Rejection { key: Some(key), reason, conflict: false });
            }
        }
        Ok(Plan { writes: Vec::new(), applied, held, newly_held })
    }

    /// Tries to write what was announced as one transaction; what the store refuses is left out of it. `None` when the
    /// store changed meanwhile, each time.
    async fn attempt(
        &self,
        terms: Terms,
        announced: &Announced,
        refused: &mut BTreeMap<ResourceKey, String>,
    ) -> Result<Option<Plan>, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut plan = self.plan(terms, announced, refused).await?;
            let writes = std::mem::take(&mut plan.writes);
            if writes.is_empty() {
                return Ok(Some(plan));
            }
            let error = match self.store.commit_as(self.inlet.author(), writes).await {
                Ok(_) => return Ok(Some(plan)),
                Err(error) => error,
            };
            match &error {
                StoreError::Conflict(_) | StoreError::AlreadyExists(_) | StoreError::NotFound(_) => {}
                StoreError::OwnerNotFound { owner, .. } if owner.kind == Kind::Zone => {
                    ensure_zone(&self.store, &owner.name).await?;
                }
                error => match error.resource() {
                    Some(key) => _ = refused.insert(key.clone(), error.to_string()),
                    None => return Err(error.clone()),
                },
            }
        }
        Ok(None)
    }
}

fn key_of(write: &Write) -> &ResourceKey {
    match write {
        Write::Create(resource) | Write::Put(resource) | Write::Update { resource, .. } => &resource.key,
        Write::Delete { key, .. } => key,
    }
}

/// What comes on one stream.
pub(crate) struct Intake {
    applier: Arc<Applier>,
    stream: u64,
    /// Types of which the full state has come.
    seen: BTreeSet<Kind>,
    /// Types of which deletions are held.
    holding: BTreeSet<Kind>,
}

impl Intake {
    /// The side that receives.
    pub(crate) fn inlet(&self) -> &Inlet {
        &self.applier.inlet
    }

    /// Applies a response of type `kind`. The first one of a type is its full state: what it does not list is deleted, or
    /// held back.
    ///
    /// # Errors
    /// When nothing was applied, and the stream has to end.
    pub(crate) async fn apply(&mut self, kind: Kind, response: &DeltaResponse) -> Result<Applied, Refusal> {
        let announced = self.applier.read(kind, &response.resources, &response.removed_resources).await;
        let full = !self.seen.contains(&kind);
        let origin = Origin::of(&response.system_version_info);
        let applied = self.run(kind, Work::Response { announced, full, origin }).await?.unwrap_or_default();
        self.seen.insert(kind);
        Ok(applied)
    }

    /// Carries out the held deletions of a type: `all`, or those whose time has come. `None` when there are none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn carry_out(&mut self, kind: Kind, all: bool) -> Result<Option<Applied>, Refusal> {
        self.run(kind, Work::Held { all }).await
    }

    /// True when deletions are held.
    pub(crate) fn is_holding(&self) -> bool {
        !self.holding.is_empty()
    }

    /// The type whose held deletions are to be carried out next, and when.
    pub(crate) fn next_due(&self) -> Option<(Instant, Kind)> {
        let due = |kind: &Kind| Some((self.applier.progress(*kind).held.lock().due(self.applier.guard.hold)?, *kind));
        self.holding.iter().filter_map(due).min()
    }

    /// Works on a type when nobody else does. Once begun this goes on to its end even if nobody waits for it any more,
    /// so that what another stream does comes after all of it.
    async fn run(&mut self, kind: Kind, work: Work) -> Result<Option<Applied>, Refusal> {
        let (applier, stream) = (self.applier.clone(), self.stream);
        let progress = applier.progress(kind);
        let last = progress.last.clone().lock_owned().await;
        let done = tokio::spawn(async move { applier.work(kind, stream, work, &progress, last).await });
        let applied = match done.await {
            Ok(result) => result?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Refusal::Store(kind, StoreError::Backend("the control plane is stopping".into()))),
        };
        match applied.as_ref().and_then(|applied| applied.held.as_ref()) {
            Some(_) => self.holding.insert(kind),
            None => self.holding.remove(&kind),
        };
        Ok(applied)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        for kind in &self.holding {
            self.applier.progress(*kind).held.lock().pause(self.stream, Instant::now());
        }
    }
}

/// Something that changes the store.
enum Work {
    /// A response.
    Response { announced: Announced, full: bool, origin: Option<Origin> },
    /// Held deletions: all, or those whose time has come.
    Held { all: bool },
}

impl Applier {
    async fn work(
        &self,
        kind: Kind,
        stream: u64,
        work: Work,
        progress: &Progress,
        mut last: OwnedMutexGuard<Last>,
    ) -> Result<Option<Applied>, Refusal> {
        if stream < last.stream {
            return match work {
                Work::Response { .. } => Err(Refusal::Superseded(kind)),
                // Those of the newer stream count.
                Work::Held { .. } => Ok(None),
            };
        }
        let (mut announced, full, origin) = match work {
            Work::Response { announced, full, origin } => (announced, full, origin),
            Work::Held { all } => {
                let held = progress.held.lock();
                let keys = if all { held.keys() } else { held.overdue(self.guard.hold, Instant::now()) };
                (Announced::removal(keys), false, last.origin)
            }
        };
        if let (Some(origin), Some(applied)) = (origin, last.origin)
            && origin.is_behind(&applied)
        {
            return Err(Refusal::Older { kind, origin, applied: applied.revision });
        }
        let went_back = match (origin, last.origin) {
            (Some(origin), Some(applied)) => origin.went_back_from(&applied),
            _ => false,
        };
        if went_back {
            warn!(
                peer = self.inlet.peer(),
                r#type = %kind,
                "the store of the peer is at an earlier revision than before, as if it were put back from a copy"
            );
        }
        let complete = if full { !announced.incomplete } else { last.complete };
        let store = origin.map(|origin| origin.store.store);
        let terms = Terms { kind, full, store, went_back, complete };
        let relabelled = std::mem::take(&mut announced.relabelled);
        let plan = self.store(terms, &announced).await.map_err(|error| Refusal::Store(kind, error))?;

        *last = Last { stream, origin, complete };
        let mut held = progress.held.lock();
        held.hold(plan.held, stream, Instant::now());
        Ok(Some(Applied {
            full,
            revision: origin.map(|origin| origin.revision),
            held: held.status(self.guard.hold),
            newly_held: plan.newly_held,
            relabelled,
            ..plan.applied
        }))
    }
}

/// Creates the Zone of a zone that introduced itself, enabled, unless it exists.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure_zone(store: &SharedStore, name: &str) -> Result<(), StoreError> {
    let key = ResourceKey::global(Kind::Zone, name);
    if store.get(&key).await?.is_some() {
        return Ok(());
    }
    let zone = tandem_proto::system::v1alpha1::Zone { enabled: Some(true) };
    match store.commit(vec![Write::Create(Resource::from_proto(key, &zone))]).await {
        Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
