//! A network in memory: connections between zones and global whose bytes arrive late, late in one direction only, or
//! never. It behaves as TCP does as far as a peer can tell: bytes arrive in order or not at all, what is lost is sent
//! again, and a dead end is noticed by the kernel of the other one after a while.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::connection::{Connection, Endpoint, Pipe, Segment};
use crate::frames::Frames;
use crate::world::World;

/// Silence after which the kernel of a server gives up on a peer that vanished.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How late a segment is that had to be sent again.
const RETRANSMISSION: Duration = Duration::from_millis(250);

/// What a link does to what passes over it.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Shortest and longest time under way, in milliseconds.
    pub delay: (u64, u64),
    /// Part of the segments that have to be sent again.
    pub loss: f64,
    /// Nothing arrives in this direction.
    pub up_blocked: bool,
    pub down_blocked: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { delay: (1, 4), loss: 0.0, up_blocked: false, down_blocked: false }
    }
}

/// How one stream of a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The stream ends with status OK, although nobody ended it.
    Clean,
    /// The stream is reset.
    Reset,
}

/// See the module.
pub struct Network {
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    links: BTreeMap<String, Arc<Mutex<Link>>>,
    global: Option<mpsc::UnboundedSender<(Endpoint, SocketAddr)>>,
    next_port: u16,
}

/// What connects a zone with global.
pub struct Link {
    zone: String,
    conditions: Conditions,
    random: StdRng,
    connections: Vec<Connection>,
    /// Dials that wait for the link to work again.
    waiting: Vec<Waker>,
}

impl Link {
    /// How long the next segment is under way.
    pub fn delay(&mut self) -> Duration {
        let (least, most) = self.conditions.delay;
        let mut delay = Duration::from_millis(self.random.random_range(least..=most));
        while self.conditions.loss > 0.0 && self.random.random_bool(self.conditions.loss) {
            delay += RETRANSMISSION;
        }
        delay
    }

    fn is_blocked(&self) -> bool {
        self.conditions.up_blocked || self.conditions.down_blocked
    }

    fn live(&mut self) -> &[Connection] {
        self.connections.retain(|connection| {
            let gone = |pipe: &Arc<Mutex<Pipe>>| {
                let pipe = pipe.lock();
                pipe.broken || (pipe.reader_gone && pipe.writer_gone)
            };
            !gone(&connection.up) || !gone(&connection.down)
        });
        &self.connections
    }
}

impl Network {
    /// A network that links `zones` with global.
    pub fn new(world: Arc<World>, zones: &[String], seed: u64) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let link = |zone: &String| {
            let link = Link {
                zone: zone.clone(),
                conditions: Conditions::default(),
                random: StdRng::seed_from_u64(random.random()),
                connections: Vec::new(),
                waiting: Vec::new(),
            };
            (zone.clone(), Arc::new(Mutex::new(link)))
        };
        let links = zones.iter().map(link).collect();
        Arc::new(Self { world, state: Mutex::new(State { links, global: None, next_port: 1024 }) })
    }

    fn link(&self, zone: &str) -> Arc<Mutex<Link>> {
        self.state.lock().links[zone].clone()
    }

    /// Global listens from now on; connections to an earlier process of it are not part of this.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<(Endpoint, SocketAddr)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state.lock().global = Some(sender);
        receiver
    }

    /// Nobody listens any more: connecting is refused.
    pub fn refuse(&self) {
        self.state.lock().global = None;
    }

    /// Makes a connection from a zone to global.
    pub fn dial(self: &Arc<Self>, zone: &str) -> BoxFuture<'static, io::Result<Endpoint>> {
        let (network, link) = (self.clone(), self.link(zone));
        async move {
            let delay = link.lock().delay() * 2;
            tokio::time::sleep(delay).await;
            // The request to connect is repeated until the link works.
            std::future::poll_fn(|context| {
                let mut link = link.lock();
                if link.is_blocked() {
                    link.waiting.push(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            network.connect(&link)
        }
        .boxed()
    }

    fn connect(&self, link: &Arc<Mutex<Link>>) -> io::Result<Endpoint> {
        let mut state = self.state.lock();
        let (up, down) = (Pipe::new(None), Pipe::new(Some(Frames::default())));
        let address = SocketAddr::from(([10, 0, 0, 1], state.next_port));
        let accepted = match &state.global {
            Some(global) => global.send((Endpoint::new(link, &up, &down), address)).is_ok(),
            None => false,
        };
        if !accepted {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        state.next_port += 1;
        drop(state);
        let zone = {
            let mut locked = link.lock();
            locked.live();
            locked.connections.push(Connection { up: up.clone(), down: down.clone() });
            locked.zone.clone()
        };
        self.world.trace(format_args!("{zone} connects from {address}"));
        Ok(Endpoint::new(link, &down, &up))
    }

    /// Changes what a link does; what was held up arrives when it is not any more.
    pub fn change(&self, zone: &str, change: impl FnOnce(&mut Conditions)) {
        let link = self.link(zone);
        let mut link = link.lock();
        change(&mut link.conditions);
        let (up, down) = (link.conditions.up_blocked, link.conditions.down_blocked);
        for connection in link.live() {
            for (pipe, blocked) in [(&connection.up, up), (&connection.down, down)] {
                let mut pipe = pipe.lock();
                pipe.blocked = blocked || pipe.vanished;
                pipe.wake();
            }
        }
        if !link.is_blocked() {
            link.waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// Breaks all connections of a zone; both ends notice at once.
    pub fn reset(&self, zone: &str) {
        for connection in self.link(zone).lock().connections.drain(..) {
            connection.break_off();
        }
    }

    /// Ends all connections of a zone in both directions, after what is under way.
    pub fn close(&self, zone: &str) {
        let link = self.link(zone);
        let mut link = link.lock();
        let delay = link.delay();
        for connection in link.live() {
            for pipe in [&connection.up, &connection.down] {
                pipe.lock().push(delay, Segment::End);
            }
        }
    }

    /// The other side of all connections of a zone is gone without a word; each end finds out on its own.
    pub fn vanish(&self, zone: &str) {
        for connection in self.link(zone).lock().connections.drain(..) {
            for pipe in [&connection.up, &connection.down] {
                let mut pipe = pipe.lock();
                pipe.vanished = true;
                pipe.blocked = true;
            }
            tokio::spawn(async move {
                tokio::time::sleep(KEEPALIVE).await;
                connection.break_off();
            });
        }
    }

    /// Ends one stream of each connection of a zone, in the direction to the zone.
    pub fn end_stream(&self, zone: &str, stream: u32, ending: Ending) {
        let link = self.link(zone);
        let mut link = link.lock();
        let delay = link.delay();
        for connection in link.live() {
            let mut down = connection.down.lock();
            let inserted = down.frames.as_mut().and_then(|frames| frames.insert(stream, ending == Ending::Clean));
            if let Some(frame) = inserted {
                down.push(delay, Segment::Data(frame));
            }
        }
    }

    /// Connections of a zone that could carry something.
    pub fn connections(&self, zone: &str) -> usize {
        self.link(zone).lock().live().len()
    }
}
