//! One run: what a seed makes happen, and whether all promises hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_kds::status::PeerStatus;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::{Zone, ZoneInsight};
use tandem_store::{Store as _, Write};
use tokio::time::Instant;

use crate::checks::{self, Way};
use crate::faults::{self, Fault, Plan};
use crate::ledger::{GLOBAL, Ledger};
use crate::looks::{Looks, Seen};
use crate::network::Network;
use crate::process::{ControlPlane, End, HOLD, SUBSCRIPTIONS};
use crate::store::Sabotage;
use crate::world::World;
use crate::writes::Users;

/// Time between two looks at what both sides say.
const LOOK: Duration = Duration::from_millis(400);
/// Time between two looks at whether everything has arrived.
const GLANCE: Duration = Duration::from_millis(100);
/// R1: how long everything may take to arrive once all zones are connected and nothing fails any more.
const CONVERGENCE: Duration = Duration::from_secs(5);
/// How long zones may take to be connected again: one may have to find out that its connection is dead, wait until global
/// has found out too, and pause between attempts.
const RECONNECTION: Duration = Duration::from_secs(150);
/// R8: tasks that a run may have besides those of connections, and those for each connection (both ends of it).
const TASKS: (usize, usize) = (24, 40);

/// What a run is to do besides what its seed says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What goes wrong on purpose.
    pub sabotage: Option<Sabotage>,
    /// The only promise to look at, e.g. `R1`.
    pub only: Option<&'static str>,
    /// How often all zones lose their connections after everything else.
    pub resets: usize,
}

/// What happened in a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Digest of everything that happened; equal seeds have equal digests.
    pub digest: u64,
    /// Promises that did not hold.
    pub findings: Vec<String>,
    /// How often faults of each name happened.
    pub faults: BTreeMap<&'static str, usize>,
    /// Changes that came from other stores.
    pub copies: u64,
    /// What was seen of what both sides say.
    pub seen: Seen,
}

/// Runs a seed.
pub fn seed(seed: u64, options: Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(async { Run::new(seed, options).run().await })
}

struct Run {
    world: Arc<World>,
    ledger: Arc<Ledger>,
    network: Arc<Network>,
    global: ControlPlane,
    zones: Vec<ControlPlane>,
    names: Vec<String>,
    users: Users,
    random: StdRng,
    options: Options,
    looks: Looks,
    report: Report,
}

impl Run {
    fn new(seed: u64, options: Options) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(2..=4);
        let names: Vec<String> =
            ["east", "west", "north", "south"][..count].iter().map(|&name| name.to_owned()).collect();
        let world = World::new(options.only);
        let ledger = Ledger::new(world.clone());
        let network = Network::new(world.clone(), &names, random.random());
        let mut plane = |name: &str| ControlPlane::new(name, &world, &ledger, &network, random.random());
        let global = plane(GLOBAL);
        let zones: Vec<_> = names.iter().map(|name| plane(name)).collect();
        for zone in &zones {
            zone.door(|door| door.sabotage = options.sabotage);
        }
        let looks = Looks::new(&world, &ledger);
        let most = random.random_range(4..=14);
        let users = Users::new(StdRng::seed_from_u64(random.random()), names.clone(), most);
        Self { world, ledger, network, global, zones, names, users, random, options, looks, report: Report::default() }
    }

    async fn run(mut self) -> Report {
        self.prepare().await;
        let plan = faults::plan(&mut self.random, &self.names);
        self.hardship(plan).await;
        for _ in 0..self.options.resets {
            tokio::time::sleep(Duration::from_secs(6)).await;
            for zone in &self.names {
                self.network.reset(zone);
            }
        }
        self.quiet().await;
        let settled = self.settle("R1", CONVERGENCE + RECONNECTION).await;
        if settled || self.options.only.is_some() {
            self.one_refused().await;
            self.bounded().await;
        }
        let names = self.names.clone();
        self.global.end(End::Stop, &names).await;
        for zone in &mut self.zones {
            let name = [zone.name.clone()];
            zone.end(End::Stop, &name).await;
        }
        self.report.digest = self.world.digest();
        self.report.findings = self.world.findings();
        self.report.copies = self.ledger.copies();
        self.report.seen = self.looks.seen;
        self.report
    }

    /// Some resources everywhere, and everybody starts, in any order.
    async fn prepare(&mut self) {
        for _ in 0..self.random.random_range(0..12) {
            self.write().await;
        }
        let mut order: Vec<usize> = (0..=self.zones.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.random.random_range(0..=last));
        }
        for index in order {
            self.plane(index).start().await;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..300))).await;
        }
    }

    fn plane(&mut self, index: usize) -> &mut ControlPlane {
        if index == 0 { &mut self.global } else { &mut self.zones[index - 1] }
    }

    fn named(&mut self, name: &str) -> &mut ControlPlane {
        if name == GLOBAL {
            return &mut self.global;
        }
        self.zones.iter_mut().find(|zone| zone.name == name).expect("faults name zones of the run")
    }

    /// A write of somebody, somewhere.
    async fn write(&mut self) {
        let index = self.random.random_range(0..=self.zones.len());
        let name = self.plane(index).name.clone();
        let write = self.users.write(&name);
        self.plane(index).write(vec![write]).await;
    }

    /// Writes and faults side by side, and looks at what everybody says meanwhile.
    async fn hardship(&mut self, mut plan: Plan) {
        let began = Instant::now();
        let mut next_write = began;
        let mut next_look = began + LOOK;
        while began.elapsed() < plan.length {
            let now = Instant::now();
            let next = (began + plan.due()).min(next_write).min(next_look);
            if next > now {
                tokio::time::sleep_until(next).await;
                continue;
            }
            if next_look <= now {
                self.look().await;
                next_look = now + LOOK;
            } else if next_write <= now {
                self.write().await;
                let pause = if self.random.random_bool(0.2) { 5 } else { self.random.random_range(100..1500) };
                next_write = now + Duration::from_millis(pause);
            } else if let Some(fault) = plan.take() {
                self.world.trace(format_args!("{fault:?}"));
                *self.report.faults.entry(fault.name()).or_default() += 1;
                self.inflict(fault).await;
            }
            if !self.world.findings().is_empty() {
                return;
            }
        }
    }

    async fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Link(zone, conditions) => self.network.change(&zone, |present| *present = conditions),
            Fault::Reset(zone) => self.network.reset(&zone),
            Fault::Close(zone) => self.network.close(&zone),
            Fault::Vanish(zone) => self.network.vanish(&zone),
            Fault::EndStream(zone, stream, ending) => self.network.end_stream(&zone, stream, ending),
            Fault::Down(name, end, loses_store) => {
                let zones = if name == GLOBAL { self.names.clone() } else { vec![name.clone()] };
                self.named(&name).end(end, &zones).await;
                if loses_store {
                    self.named(&name).lose_store();
                    self.users.forget(&name);
                }
            }
            Fault::Up(name) => {
                if self.named(&name).process.is_none() {
                    self.named(&name).start().await;
                }
            }
            Fault::Store(name, delay, failing) => self.named(&name).door(|door| {
                door.delay = delay;
                door.failing = failing;
            }),
            Fault::Clock(name, seconds) => {
                self.named(&name).clock.fetch_add(seconds, Ordering::Relaxed);
            }
            Fault::Enable(zone, enabled) => self.enable(&zone, enabled).await,
            Fault::Forget(zone) => {
                let key = ResourceKey::global(Kind::Zone, &zone);
                self.global.write(vec![Write::Delete { key, expected: None }]).await;
            }
        }
    }

    async fn enable(&mut self, zone: &str, enabled: bool) {
        let key = ResourceKey::global(Kind::Zone, zone);
        if self.global.store().get(&key).await.expect("memory can be read").is_some() {
            let resource = Resource::from_proto(key, &Zone { enabled: Some(enabled) });
            self.global.write(vec![Write::Put(resource)]).await;
        }
    }

    /// Faults stop: links work, processes run, stores are fast, and zones are enabled, or all but one.
    async fn quiet(&mut self) {
        self.world.trace(format_args!("quiet"));
        // Sometimes one zone stays disabled.
        let disabled = self.random.random_bool(0.1).then(|| self.names[0].clone());
        for zone in self.names.clone() {
            self.network.change(&zone, |conditions| *conditions = crate::network::Conditions::default());
            self.enable(&zone, disabled.as_ref() != Some(&zone)).await;
        }
        for index in 0..=self.zones.len() {
            let plane = self.plane(index);
            plane.door(|door| {
                door.delay = Duration::ZERO;
                door.failing = false;
            });
            if plane.process.is_none() {
                plane.start().await;
            }
        }
    }

    /// R1: waits until every zone has what it ought to have, and global what the zones have; false if that takes too long.
    async fn settle(&mut self, promise: &str, limit: Duration) -> bool {
        let began = Instant::now();
        let mut ready_since = None;
        let mut next_look = began + LOOK;
        loop {
            if !self.world.findings().is_empty() {
                return false;
            }
            let now = Instant::now();
            let disabled = checks::disabled_zones(&self.global).await;
            if !self.zones.iter().all(|zone| disabled.contains(&zone.name) || self.is_connected(zone)) {
                ready_since = None;
                if now - began > limit {
                    let connected: Vec<_> =
                        self.zones.iter().map(|zone| (&zone.name, self.is_connected(zone))).collect();
                    self.world.found(promise, format_args!("not connected again after {limit:?}: {connected:?}"));
                    return false;
                }
            } else if let Some(difference) = self.difference(&disabled).await {
                let mut ways = Way::all(&self.global, &self.zones);
                let holds = ways.any(|way| way.receiver.holds_deletions_of(&way.sender.name));
                let patience = if holds { HOLD + CONVERGENCE } else { CONVERGENCE };
                if now - *ready_since.get_or_insert(now) > patience {
                    let text = format_args!("not converged {patience:?} after all were connected: {difference}");
                    self.world.found(promise, text);
                    return false;
                }
            } else {
                return true;
            }
            if next_look <= now {
                self.look().await;
                next_look = now + LOOK;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Something that somebody lacks or has too much; zones that are disabled do not count.
    async fn difference(&self, disabled: &BTreeSet<String>) -> Option<String> {
        let ways = || Way::all(&self.global, &self.zones).filter(|way| !disabled.contains(way.hop.zone()));
        for way in ways() {
            if let Some(missing) = checks::missing(way).await {
                return Some(missing);
            }
        }
        for way in ways() {
            let spoiled = checks::spoiled(way).await;
            if !spoiled.is_empty() {
                return Some(format!("{:?}: content of types {spoiled:?}", way.hop));
            }
        }
        None
    }

    /// True when both sides say that they are connected, and that to the process that runs now.
    fn is_connected(&self, zone: &ControlPlane) -> bool {
        let (Some(here), Some(there)) = (&self.global.process, &zone.process) else { return false };
        let (Some(zone_of), Some(global_of)) = (here.status.peer(&zone.name), there.status.peer(GLOBAL)) else {
            return false;
        };
        let whole =
            |status: &PeerStatus| status.connected.is_some() && status.sending.is_some() && status.receiving.is_some();
        whole(&zone_of)
            && whole(&global_of)
            && zone_of.instance == there.instance
            && global_of.instance == here.instance
            && self.network.connections(&zone.name) > 0
    }

    /// R4: of two changes of one kind the receivers refuse one; the other has to arrive as usual.
    async fn one_refused(&mut self) {
        let index = self.random.random_range(0..=self.zones.len());
        let name = self.plane(index).name.clone();
        let writes = self.users.refused_and_good(&name);
        self.plane(index).write(writes).await;
        self.settle("R4", CONVERGENCE).await;
    }

    /// R8: what is there at the end is what so many connections need, however many there were before.
    async fn bounded(&mut self) {
        // What was given up is cleared away.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let zones = self.zones.len();
        let global = self.global.process.as_ref().expect("everybody runs");
        let expect = |what: &str, is: usize, ought: usize| {
            if is > ought {
                self.world.found("R8", format_args!("{what}: {is}, expected {ought} for {zones} zones"));
            }
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts
        let metric = |process: &crate::process::Process, name: &str| process.metric(name) as usize;
        expect("streams of global", metric(global, "kds_delta_streams_active"), 2 * zones);
        expect("zones connected to global", metric(global, "kds_peers_connected"), zones);
        expect("peers that global knows", global.status.peers().len(), zones);
        for zone in &self.zones {
            let process = zone.process.as_ref().expect("everybody runs");
            expect("streams of a zone", metric(process, "kds_delta_streams_active"), 2);
            expect("connections of a zone", self.network.connections(&zone.name), 1);
            let key = ResourceKey::global(Kind::ZoneInsight, &zone.name);
            for plane in [&self.global, zone] {
                let insight = plane.store().get(&key).await.expect("memory can be read");
                let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
                expect("connections in an insight", insight.subscriptions.len(), SUBSCRIPTIONS);
            }
            for (plane, peer) in [(&self.global, zone.name.as_str()), (zone, GLOBAL)] {
                let status = plane.process.as_ref().and_then(|process| process.status.peer(peer)).unwrap_or_default();
                let left_out = status.sent.values().map(|sent| sent.left_out.len()).sum::<usize>()
                    + status.received.values().map(|received| received.left_out.len()).sum::<usize>();
                expect("resources left out", left_out, 64);
            }
        }
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        expect("tasks", tasks, TASKS.0 + TASKS.1 * zones);
    }

    async fn look(&mut self) {
        self.looks.look(&self.global, &self.zones).await;
    }
}
