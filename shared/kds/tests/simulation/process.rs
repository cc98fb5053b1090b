//! Control planes as processes: started, stopped, killed, started again on the store that they left behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tandem_kds::admin::{AdminExecutor, AdminRequest};
use tandem_kds::global::{Global, GlobalSettings};
use tandem_kds::status::SyncStatus;
use tandem_kds::zone::{self, BackoffSettings, GlobalAddress, Transport, ZoneSettings};
use tandem_kds::{CommonSettings, DeletionGuard, KdsMetrics};
use tandem_model::{Kind, Path, Violations};
use tandem_store::{MemoryStore, SharedStore, Store as _, StoreId, Write};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::common;
use crate::ledger::{GLOBAL, Ledger, refuses};
use crate::network::Network;
use crate::store::{Door, ProcessStore, Sabotage};
use crate::world::World;

/// How long deletions are held back that look like a mistake.
pub const HOLD: Duration = Duration::from_secs(20);

/// A control plane of the simulation: what is left of it between processes, and the process.
pub struct ControlPlane {
    pub name: String,
    world: Arc<World>,
    ledger: Arc<Ledger>,
    network: Arc<Network>,
    seed: u64,
    backing: Arc<MemoryStore>,
    pub clock: Arc<AtomicI64>,
    door: Arc<Mutex<Door>>,
    starts: u64,
    pub process: Option<Process>,
}

/// A running control plane.
pub struct Process {
    pub instance: String,
    pub status: SyncStatus,
    registry: Registry,
    door: Arc<Mutex<Door>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    /// The sum of all values of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string works");
        let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let of_name = values.filter(|(labelled, _)| labelled.split('{').next() == Some(name));
        of_name.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is asked to.
    Stop,
    /// At once; the kernel closes its connections.
    Kill,
    /// With the whole machine: nobody closes anything.
    PowerLoss,
}

impl ControlPlane {
    pub fn new(name: &str, world: &Arc<World>, ledger: &Arc<Ledger>, network: &Arc<Network>, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            world: world.clone(),
            ledger: ledger.clone(),
            network: network.clone(),
            seed,
            backing: Arc::new(MemoryStore::new()),
            clock: Arc::default(),
            door: Arc::default(),
            starts: 0,
            process: None,
        }
    }

    pub fn is_global(&self) -> bool {
        self.name == GLOBAL
    }

    pub fn store(&self) -> &MemoryStore {
        &self.backing
    }

    /// True when deletions that a peer asks for are held back.
    pub fn holds_deletions_of(&self, peer: &str) -> bool {
        let status = self.process.as_ref().and_then(|process| process.status.peer(peer));
        status.is_some_and(|status| status.received.values().any(|received| received.held.is_some()))
    }

    /// The same, of one type.
    pub fn holds_deletions(&self, peer: &str, kind: Kind) -> bool {
        let status = self.process.as_ref().and_then(|process| process.status.peer(peer));
        status.is_some_and(|status| status.received.get(&kind).is_some_and(|received| received.held.is_some()))
    }

    /// Changes what happens to writes of the process, and of those that follow.
    pub fn door(&self, change: impl FnOnce(&mut Door)) {
        change(&mut self.door.lock());
    }

    /// A write of a user.
    pub async fn write(&self, writes: Vec<Write>) {
        if let Ok(committed) = self.backing.commit(writes).await {
            self.ledger.committed(&self.name, &committed.changes);
        }
    }

    /// Forgets the store; the process has to be down.
    pub fn lose_store(&mut self) {
        self.backing = Arc::new(MemoryStore::new());
        self.ledger.lost(&self.name);
    }

    /// Starts a process on what is stored.
    pub async fn start(&mut self) {
        self.starts += 1;
        let instance = format!("{}-{}", self.name, self.starts);
        let number = |salt: u128| Uuid::from_u128((u128::from(self.seed) << 64) | salt);
        let door = Arc::new(Mutex::new(Door { dead: false, ..*self.door.lock() }));
        self.door = door.clone();
        let store: SharedStore = Arc::new(ProcessStore {
            owner: self.name.clone(),
            backing: self.backing.clone(),
            // The same store, opened again.
            id: StoreId { store: self.backing.id().store, opening: number(u128::from(self.starts)) },
            door: door.clone(),
            ledger: self.ledger.clone(),
            replaced: Mutex::default(),
        });
        self.world.trace(format_args!("{instance} starts"));
        let common = self.settings(&instance);
        let shutdown = CancellationToken::new();
        let mut registry = Registry::default();
        let metrics = KdsMetrics::register(&mut registry);
        let (status, task) = if self.is_global() {
            self.serve(common, store, metrics, &shutdown).await
        } else {
            self.join(common, store, metrics, &shutdown)
        };
        self.process = Some(Process { instance, status, registry, door, shutdown, task });
    }

    fn settings(&self, instance: &str) -> CommonSettings {
        let (name, door) = (self.name.clone(), self.door.clone());
        let spoiled: Mutex<BTreeSet<Kind>> = Mutex::default();
        let common = common::common(instance);
        CommonSettings {
            insights: tandem_kds::InsightSettings {
                flush_interval: Duration::from_secs(10),
                subscription_limit: SUBSCRIPTIONS,
                ..common.insights
            },
            validate: Arc::new(move |resource| {
                let spreads = door.lock().sabotage == Some(Sabotage::RefuseType);
                let refused = refuses(&name, resource) || (spreads && spoiled.lock().contains(&resource.kind()));
                if refused {
                    spoiled.lock().insert(resource.kind());
                    Violations::one(&Path::new("spec"), "refused")
                } else {
                    Violations::none()
                }
            }),
            deletion_guard: DeletionGuard { minimum: 3, hold: HOLD, ..DeletionGuard::default() },
            surroundings: self.world.surroundings(&self.clock, self.seed ^ self.starts),
            ..common
        }
    }

    async fn serve(
        &self,
        common: CommonSettings,
        store: SharedStore,
        metrics: KdsMetrics,
        shutdown: &CancellationToken,
    ) -> (SyncStatus, JoinHandle<()>) {
        let settings = GlobalSettings::new(common);
        // A store that fails at the start ends the program; its supervisor starts it again.
        let global = loop {
            match Global::new(settings.clone(), store.clone(), metrics.clone(), shutdown.clone()).await {
                Ok(global) => break global,
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        let status = global.status();
        let connections = UnboundedReceiverStream::new(self.network.listen());
        (status, tokio::spawn(global.serve(connections, None)))
    }

    fn join(
        &self,
        common: CommonSettings,
        store: SharedStore,
        metrics: KdsMetrics,
        shutdown: &CancellationToken,
    ) -> (SyncStatus, JoinHandle<()>) {
        let (network, name) = (self.network.clone(), self.name.clone());
        let settings = ZoneSettings {
            common,
            dial: Arc::new(move |_| {
                let dialled = network.dial(&name);
                async move { Ok(Box::new(dialled.await?) as Box<dyn Transport>) }.boxed()
            }),
            global: GlobalAddress { host: GLOBAL.into(), port: 5685, tls: false },
            backoff: BackoffSettings::default(),
            ..common::settings(&self.name, ([10, 0, 0, 1], 5685).into())
        };
        let status = SyncStatus::new();
        let run = zone::run(settings, store, Arc::new(NoEnvoys), metrics, status.clone(), shutdown.clone());
        let task = tokio::spawn(async move { run.await.expect("the settings of the simulation are usable") });
        (status, task)
    }

    /// Ends the process. `zones` are those whose connections end with it.
    pub async fn end(&mut self, end: End, zones: &[String]) {
        let Some(process) = self.process.take() else { return };
        self.world.trace(format_args!("{} ends: {end:?}", process.instance));
        if self.is_global() {
            self.network.refuse();
        }
        if end == End::Stop {
            process.shutdown.cancel();
            let _ = process.task.await;
            return;
        }
        process.door.lock().dead = true;
        for zone in zones {
            if end == End::Kill { self.network.reset(zone) } else { self.network.vanish(zone) }
        }
        // What the dead process still does reaches nobody.
        process.shutdown.cancel();
    }
}

/// Connections remembered in the insight of a zone.
pub const SUBSCRIPTIONS: usize = 4;

/// Zones of the simulation have no proxies.
struct NoEnvoys;

#[async_trait]
impl AdminExecutor for NoEnvoys {
    async fn execute(&self, _: AdminRequest) -> Result<Bytes, String> {
        Err("there is no Envoy".into())
    }
}
