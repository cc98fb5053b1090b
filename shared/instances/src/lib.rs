//! Which instances of a control plane run over one store, and which of them leads.
//!
//! A control plane whose store is its own is [`Instances::alone`]. Instances that share a store [`Instances::join`]: they
//! keep the Config `cp-catalog`, whose entries have Kuma's form and in addition a counter that each instance raises in its
//! own entry at every heartbeat. An entry whose counter stands still for as long as the lease is removed by the others,
//! whichever comes first. The entry marked as leader is the leader; where there is none, the first that notices marks its
//! own. Every write names the version that it replaces, so two can never mark themselves at once.
//!
//! No wall clock is compared: each instance measures with its own monotonic clock for how long it saw a counter stand still.
//! A leader that could not write for two thirds of the lease takes itself for deposed, so that it has stopped before
//! another one begins.
//!
//! Source of the format: Kuma `pkg/intercp/catalog`.

mod catalog;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tandem_runtime::leadership::Leadership;
use tandem_store::{SharedStore, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use catalog::Catalog;
pub use catalog::{CATALOG, Instance};
use member::Member;

/// How an instance takes part.
#[derive(Debug, Clone)]
pub struct InstanceSettings {
    /// Id of the instance, new at every start.
    pub id: String,
    /// `interCp.catalog.instanceAddress`: IP address at which the other instances reach this one.
    pub address: String,
    /// `interCp.server.port`: port at which they do.
    pub port: u16,
    /// `interCp.catalog.heartbeatInterval`: time between two signs of life.
    pub heartbeat: Duration,
    /// Time without a sign of life after which an instance counts as dead; several heartbeats.
    pub lease: Duration,
}

impl InstanceSettings {
    /// Settings with Kuma's interval, and a lease of three of them.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            address: String::new(),
            port: 5683,
            heartbeat: Duration::from_secs(5),
            lease: Duration::from_secs(15),
        }
    }
}

/// The instances that are alive, by id.
pub type Alive = Arc<BTreeMap<String, Instance>>;

/// The instances over one store, as one of them sees them. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Instances {
    id: Arc<str>,
    /// The store, when there may be other instances over it.
    shared: Option<SharedStore>,
    alive: watch::Receiver<Alive>,
    leadership: Leadership,
}

impl Instances {
    /// The only instance over its store.
    pub fn alone(id: &str) -> Self {
        let own = Instance { id: id.to_owned(), leader: true, ..Instance::default() };
        let alive = Alive::new(BTreeMap::from([(id.to_owned(), own)]));
        Self {
            id: id.into(),
            shared: None,
            alive: watch::Sender::new(alive).subscribe(),
            leadership: Leadership::always(),
        }
    }

    /// Enters an instance into the catalogue of its store. The returned task keeps it there until `shutdown`, and takes it
    /// out then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn join(
        store: SharedStore,
        settings: InstanceSettings,
        shutdown: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), StoreError> {
        let id = settings.id.as_str().into();
        let (alive, alive_seen) = watch::channel(Alive::default());
        let (leads, leads_seen) = watch::channel(false);
        let mut member = Member::new(store.clone(), settings, alive, leads);
        member.enter().await?;
        let instances = Self { id, shared: Some(store), alive: alive_seen, leadership: Leadership::of(leads_seen) };
        Ok((instances, async move { member.run(shutdown).await }))
    }

    /// Id of this instance.
    pub fn own_id(&self) -> &str {
        &self.id
    }

    /// Whether there may be others.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether an instance is alive.
    pub fn is_alive(&self, id: &str) -> bool {
        *id == *self.id || self.alive.borrow().contains_key(id)
    }

    /// The ids of the instances that are alive, as the store has them at this moment; [`Self::watch`] may be a little late.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut alive = BTreeSet::from([self.id.to_string()]);
        if let Some(store) = &self.shared {
            let stored = store.get(&catalog::key()).await?;
            alive.extend(Catalog::read(stored.as_deref()).instances.into_iter().map(|instance| instance.id));
        }
        Ok(alive)
    }

    /// An instance that is alive.
    pub fn get(&self, id: &str) -> Option<Instance> {
        self.alive.borrow().get(id).cloned()
    }

    /// The instances that are alive, and every change of them.
    pub fn watch(&self) -> watch::Receiver<Alive> {
        self.alive.clone()
    }

    /// Whether this instance leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, shared, alive, leadership } = self;
        let mut instances = f.debug_struct("Instances");
        instances.field("id", id).field("shared", &shared.is_some());
        instances.field("alive", alive).field("leadership", leadership).finish()
    }
}
