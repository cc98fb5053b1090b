//! What proxies may rely on, whatever happens to them and to control planes: a Dataplane is never deleted while its proxy is connected,
//! and never stays for longer than documented (`docs/lifecycle.md`) once its proxy is gone.
//!
//! Proxies connect, hang up in the middle, leave, come back to the same or to another one of two instances over one store, which are
//! killed, stopped and started again. All in simulated time; a seed that fails does so again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind as ValueKind};
use futures::FutureExt as _;
use serde_json::json;
use tandem_instances::{InstanceSettings, Instances};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{MemoryStore, SharedStore, Write};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::context::ProxyContext;
use super::expired::Ages;
use super::insight::insight_key;
use super::removal::subscriptions;
use super::session::Session;
use super::{abandoned, expired};
use crate::testing;

const DELAY: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const AGE: Duration = Duration::from_secs(3600);
/// What writers of insights take to gather, and a moment.
const SOON: Duration = Duration::from_millis(200);
/// As long as another instance takes for one that stopped without a word.
const LEASE: Duration = Duration::from_secs(200);

/// A small generator of random numbers, so that a seed is all there is to a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick(&mut self, number: usize) -> usize {
        usize::try_from(self.below(number as u64)).expect("it was one")
    }
}

/// A process of a control plane.
struct Process {
    context: Arc<ProxyContext>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    async fn start(store: &SharedStore, number: u64) -> Self {
        let shutdown = CancellationToken::new();
        let id = format!("cp-{number}");
        let context = testing::proxy_context(store.clone(), &id, DELAY, shutdown.clone());
        let mut tasks = JoinSet::new();
        let (heartbeat, lease) = (Duration::from_secs(60), Duration::from_secs(180));
        let settings = InstanceSettings { heartbeat, lease, ..InstanceSettings::new(id) };
        let joined = Instances::join(store.clone(), settings, shutdown.clone()).await.expect("a memory store works");
        let (instances, member) = joined;
        tasks.spawn(member);
        let (insights, of, end) = (context.insights.clone(), store.clone(), shutdown.clone());
        tasks.spawn(async move { insights.run(&of, &end).await });
        let (registry, end) = (context.registry.clone(), shutdown.clone());
        tasks.spawn(abandoned::close(store.clone(), registry, instances, IDLE_TIMEOUT, end));
        let ages = Ages { dataplane: AGE, zone_proxy: AGE };
        tasks.spawn(expired::run(store.clone(), context.registry.clone(), ages, shutdown.clone()));
        Self { context, shutdown, tasks }
    }

    /// Ends without a word, as `kill -9` does.
    async fn kill(mut self) {
        self.tasks.shutdown().await;
        self.shutdown.cancel();
    }

    /// Ends in order: what is known is written.
    async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What a proxy is, and what became of it last.
#[derive(Default)]
struct Proxy {
    /// With the number of the process.
    session: Option<(usize, Session)>,
    /// Since when it is gone.
    left: Option<Instant>,
    /// The processes that have seen it leave, or try to come; `None` when one ended while the proxy was connected to it.
    noticed_by: Option<Vec<u64>>,
    /// When connections of it ended, so that what follows is due.
    ends: Vec<Instant>,
}

struct World {
    store: SharedStore,
    random: Random,
    processes: Vec<(u64, Process)>,
    started: u64,
    /// When a process last began or ended.
    upheaval: Instant,
    proxies: BTreeMap<String, Proxy>,
    /// What happened, shown when something went wrong.
    journal: Vec<String>,
    begin: Instant,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.journal[self.journal.len().saturating_sub(30)..].join("\n"));
        }
    }
}

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "default", name)
}

fn node(name: &str) -> Node {
    let resource = json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": name}}]}
    });
    let text = |text: String| Value { kind: Some(ValueKind::StringValue(text)) };
    let fields = [("dataplane.resource", resource.to_string()), ("dataplane.proxyType", "dataplane".to_owned())];
    let fields = fields.into_iter().map(|(member, value)| (member.to_owned(), text(value))).collect();
    Node { id: format!("default.{name}"), metadata: Some(Struct { fields }), ..Node::default() }
}

impl World {
    async fn new(seed: u64) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let mesh = Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &pb::Mesh::default());
        store.commit(vec![Write::Create(mesh)]).await.expect("an empty store takes it");
        let proxies = ["a", "b", "c"].map(|name| (name.to_owned(), Proxy::default())).into();
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (processes, begin) = (Vec::new(), Instant::now());
        let mut world =
            Self { store, random, processes, started: 0, upheaval: begin, proxies, journal: Vec::new(), begin };
        for _ in 0..2 {
            let process = world.process().await;
            world.processes.push(process);
        }
        world
    }

    async fn process(&mut self) -> (u64, Process) {
        self.started += 1;
        self.upheaval = Instant::now();
        (self.started, Process::start(&self.store, self.started).await)
    }

    fn note(&mut self, what: String) {
        self.journal.push(format!("{:>12.3} {what}", self.begin.elapsed().as_secs_f64()));
    }

    fn is_running(&self, number: u64) -> bool {
        self.processes.iter().any(|(running, _)| *running == number)
    }

    async fn step(&mut self) {
        let names: Vec<String> = self.proxies.keys().cloned().collect();
        let name = &names[self.random.pick(names.len())];
        let place = self.random.pick(self.processes.len());
        let what = self.random.below(20);
        self.note(format!("{name} at {place}: {what}"));
        match what {
            0..7 => self.connect(name, place).await,
            7..10 => self.hang_up(name, place),
            10..14 => self.leave(name),
            14 => self.touch(name).await,
            15 => self.restart(place, true).await,
            16 => self.restart(place, false).await,
            _ => {}
        }
        self.check(Duration::ZERO).await;
        let pause = match self.random.below(12) {
            0..4 => Duration::ZERO,
            4..7 => Duration::from_millis(self.random.below(100)),
            7..9 => Duration::from_millis(self.random.below(12_000)),
            9 => DELAY,
            10 => Duration::from_secs(self.random.below(400)),
            _ => Duration::from_secs(self.random.below(5_000)),
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
        self.check(pause).await;
    }

    /// A proxy connects, or comes to another place.
    async fn connect(&mut self, name: &str, place: usize) {
        let proxy = self.proxies.get_mut(name).expect("one of these");
        let is_due = |end: &Instant| (DELAY.saturating_sub(SOON)..=DELAY).contains(&end.elapsed());
        // An instance may be just about to look whether the proxy is at the other one, which is recorded only soon.
        if proxy.session.as_ref().is_some_and(|(earlier, _)| *earlier == place) || proxy.ends.iter().any(is_due) {
            return;
        }
        let mut ends = std::mem::take(&mut proxy.ends);
        ends.extend(proxy.session.take().map(|_| Instant::now()));
        ends.retain(|end| end.elapsed() <= DELAY);
        // To come from elsewhere takes time, be it ever so little.
        sleep(Duration::from_millis(1)).await;
        let context = self.processes[place].1.context.clone();
        let session = Session::open(context, node(name), String::new()).await.expect("a proxy is served at once");
        let proxy = self.proxies.get_mut(name).expect("one of these");
        *proxy = Proxy { session: Some((place, session)), ends, ..Proxy::default() };
    }

    /// A proxy hangs up while it is being let in.
    fn hang_up(&mut self, name: &str, place: usize) {
        let proxy = self.proxies.get_mut(name).expect("one of these");
        if proxy.session.is_some() {
            return;
        }
        let (number, process) = &self.processes[place];
        let mut opening = Box::pin(Session::open(process.context.clone(), node(name), String::new()));
        for _ in 0..self.random.below(4) {
            // It may be refused, too, while a registration is going on whose client hung up in this very moment.
            if opening.as_mut().now_or_never().is_some() {
                break;
            }
        }
        if proxy.left.is_none() {
            proxy.noticed_by = Some(Vec::new());
        }
        proxy.noticed_by.iter_mut().for_each(|numbers| numbers.push(*number));
        proxy.left = Some(Instant::now());
        proxy.ends.push(Instant::now());
    }

    fn leave(&mut self, name: &str) {
        let proxy = self.proxies.get_mut(name).expect("one of these");
        if let Some((place, session)) = proxy.session.take() {
            drop(session);
            proxy.noticed_by = Some(vec![self.processes[place].0]);
            proxy.left = Some(Instant::now());
            proxy.ends.push(Instant::now());
        }
    }

    /// Somebody else writes the Dataplane, as reports on its health do.
    async fn touch(&mut self, name: &str) {
        let Some(resource) = self.store.get(&key(name)).await.expect("readable") else { return };
        let mut dataplane: pb::Dataplane = resource.proto().expect("a Dataplane");
        let inbound = &mut dataplane.networking.as_mut().expect("it has one").inbound[0];
        inbound.health = Some(pb::dataplane::networking::inbound::Health { ready: self.random.below(2) == 0 });
        let changed = Resource { spec: Resource::from_proto(key(name), &dataplane).spec, ..(*resource).clone() };
        self.store.commit(vec![Write::Update { resource: changed, expected: None }]).await.expect("it is there");
    }

    /// A process ends, and another one begins in its place.
    async fn restart(&mut self, place: usize, in_order: bool) {
        let (_, process) = self.processes.remove(place);
        if in_order {
            process.shutdown.cancel();
            self.forget(place);
            process.stop().await;
        } else {
            process.kill().await;
            self.forget(place);
        }
        let begun = self.process().await;
        self.processes.insert(place, begun);
    }

    /// The streams to a process break.
    fn forget(&mut self, place: usize) {
        for proxy in self.proxies.values_mut() {
            if proxy.session.as_ref().is_some_and(|(at, _)| *at == place) {
                *proxy = Proxy { left: Some(Instant::now()), ..Proxy::default() };
            }
        }
    }

    async fn check(&self, pause: Duration) {
        for (name, proxy) in &self.proxies {
            let stored = self.store.get(&key(name)).await.expect("readable").is_some();
            let insight = self.store.get(&insight_key(&key(name))).await.expect("readable");
            let subscriptions = insight.as_deref().map(subscriptions).unwrap_or_default();
            let online = tandem_insights::is_online(&subscriptions);
            if proxy.session.is_some() {
                assert!(stored, "the Dataplane of {name} is gone, but the proxy is connected");
                assert!(online || pause < SOON, "{name} is connected, but recorded as gone");
                continue;
            }
            let Some(gone) = proxy.left.map(|left| left.elapsed()) else { continue };
            let seen = proxy.noticed_by.as_ref();
            let noticed = seen.is_some_and(|numbers| numbers.iter().all(|number| self.is_running(*number)));
            let settled = gone.min(self.upheaval.elapsed());
            let slow = IDLE_TIMEOUT + LEASE + SOON;
            assert!(
                !stored || !(noticed && gone > DELAY + SOON) && settled <= slow + AGE,
                "the Dataplane of {name} is still there {gone:?} after its proxy left (noticed: {noticed})"
            );
            assert!(!online || !noticed && settled <= slow || pause < SOON, "{name} is recorded as connected");
        }
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..120 {
        world.step().await;
    }
    // In the end nothing is left.
    let names: Vec<String> = world.proxies.keys().cloned().collect();
    names.iter().for_each(|name| world.leave(name));
    let long = IDLE_TIMEOUT + LEASE + AGE + DELAY + SOON;
    sleep(long).await;
    world.check(long).await;
    while let Some((_, process)) = world.processes.pop() {
        process.kill().await;
    }
}

#[test]
fn no_live_dataplane_is_deleted_and_no_stale_one_stays() {
    let seeds = match std::env::var("LIFECYCLE_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("LIFECYCLE_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..40,
    };
    for seed in seeds {
        // A thread for each, which has a clock of its own.
        let outcome = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.expect("a runtime").block_on(run(seed));
        });
        if let Err(panic) = outcome.join() {
            eprintln!("LIFECYCLE_SEED={seed} shows it again");
            std::panic::resume_unwind(panic);
        }
    }
}
