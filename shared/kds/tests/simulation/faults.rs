//! What goes wrong, and when.

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::ledger::GLOBAL;
use crate::network::{Conditions, Ending};
use crate::process::End;

/// Something that happens to a control plane or a link, or stops happening.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The link of a zone is like this from now on.
    Link(String, Conditions),
    /// The connections of a zone break.
    Reset(String),
    /// The connections of a zone end in an orderly way.
    Close(String),
    /// The connections of a zone carry nothing any more, without a sign.
    Vanish(String),
    /// One stream of the connections of a zone ends.
    EndStream(String, u32, Ending),
    /// A process ends; with true its store is lost.
    Down(String, End, bool),
    /// A process starts, unless it runs.
    Up(String),
    /// Writes take so long, or fail.
    Store(String, Duration, bool),
    /// The wall clock jumps by so many seconds.
    Clock(String, i64),
    /// A zone is enabled or disabled.
    Enable(String, bool),
    /// The Zone of a zone is deleted on global, with everything that it owns there.
    Forget(String),
}

impl Fault {
    /// Name for the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Link(_, conditions) => match (conditions.up_blocked, conditions.down_blocked) {
                (true, true) => "partition",
                (false, false) if conditions.loss > 0.0 => "loss",
                (false, false) if conditions.delay.1 > 10 => "delay",
                (false, false) => "healed",
                _ => "half-open",
            },
            Self::Reset(_) => "reset",
            Self::Close(_) => "close",
            Self::Vanish(_) => "vanish",
            Self::EndStream(_, _, Ending::Clean) => "stream ended",
            Self::EndStream(_, _, Ending::Reset) => "stream reset",
            Self::Down(name, _, false) if name == GLOBAL => "restart of global",
            Self::Down(_, _, false) => "restart of a zone",
            Self::Down(_, _, true) => "lost store",
            Self::Up(_) => "start",
            Self::Store(_, _, true) => "failing store",
            Self::Store(_, delay, false) if !delay.is_zero() => "slow store",
            Self::Store(..) => "store repaired",
            Self::Clock(..) => "clock jump",
            Self::Enable(_, false) => "disabled",
            Self::Enable(_, true) => "enabled",
            Self::Forget(_) => "deleted",
        }
    }

    /// Names of all faults that a plan may have.
    pub const NAMES: [&'static str; 17] = [
        "partition",
        "loss",
        "delay",
        "half-open",
        "reset",
        "close",
        "vanish",
        "stream ended",
        "stream reset",
        "restart of global",
        "restart of a zone",
        "lost store",
        "failing store",
        "slow store",
        "clock jump",
        "disabled",
        "deleted",
    ];
}

/// Faults in the order of their times, counted from the start of the plan.
pub struct Plan {
    pub length: Duration,
    events: VecDeque<(Duration, Fault)>,
}

impl Plan {
    /// When the next fault is due; the end if there is none.
    pub fn due(&self) -> Duration {
        self.events.front().map_or(self.length, |(due, _)| *due)
    }

    /// The next fault.
    pub fn take(&mut self) -> Option<Fault> {
        self.events.pop_front().map(|(_, fault)| fault)
    }
}

/// Some faults for these zones, and their ends where they have one.
pub fn plan(random: &mut StdRng, zones: &[String]) -> Plan {
    let length = Duration::from_millis(random.random_range(8_000..30_000));
    let mut events = Vec::new();
    for _ in 0..random.random_range(1..=5) {
        let at = Duration::from_millis(random.random_range(0..20_000)).min(length);
        // Short ones, and some that outlast every limit of time there is.
        let most = if random.random_bool(0.2) { 60_000 } else { 12_000 };
        let until = at + Duration::from_millis(random.random_range(200..most));
        let zone = zones[random.random_range(0..zones.len())].clone();
        let anyone = if random.random_bool(0.4) { GLOBAL.to_owned() } else { zone.clone() };
        let mut link = |conditions: Conditions| {
            events.push((at, Fault::Link(zone.clone(), conditions)));
            events.push((until, Fault::Link(zone.clone(), Conditions::default())));
        };
        match random.random_range(0..16) {
            0 => link(Conditions { delay: (50, random.random_range(100..2_000)), ..Conditions::default() }),
            1 => link(Conditions { loss: random.random_range(0.05..0.6), ..Conditions::default() }),
            2 => link(Conditions { up_blocked: true, down_blocked: true, ..Conditions::default() }),
            3 => link(Conditions { up_blocked: true, ..Conditions::default() }),
            4 => link(Conditions { down_blocked: true, ..Conditions::default() }),
            5 => {
                for _ in 0..random.random_range(1..=3) {
                    let again = at + Duration::from_millis(random.random_range(0..5_000));
                    events.push((again, Fault::Reset(zone.clone())));
                }
            }
            6 => events.push((at, Fault::Close(zone))),
            7 => events.push((at, Fault::Vanish(zone))),
            8 | 9 => {
                let ending = if random.random_bool(0.5) { Ending::Clean } else { Ending::Reset };
                // Clients number their streams with odd numbers.
                events.push((at, Fault::EndStream(zone, 2 * random.random_range(0..6) + 1, ending)));
            }
            10 | 11 => {
                let end = match random.random_range(0..3) {
                    0 => End::Stop,
                    1 => End::Kill,
                    _ => End::PowerLoss,
                };
                let loses_store = random.random_bool(if anyone == GLOBAL { 0.2 } else { 0.5 });
                events.push((at, Fault::Down(anyone.clone(), end, loses_store)));
                let up = if random.random_bool(0.5) { at + Duration::from_millis(100) } else { until };
                events.push((up, Fault::Up(anyone)));
            }
            12 => {
                let failing = random.random_bool(0.4);
                let delay = Duration::from_millis(random.random_range(10..3_000));
                events.push((at, Fault::Store(anyone.clone(), delay, failing)));
                events.push((until, Fault::Store(anyone, Duration::ZERO, false)));
            }
            13 => events.push((at, Fault::Clock(anyone, random.random_range(-48 * 3600..48 * 3600)))),
            14 => events.push((at, Fault::Forget(zone))),
            _ => {
                events.push((at, Fault::Enable(zone.clone(), false)));
                events.push((until, Fault::Enable(zone, true)));
            }
        }
    }
    events.sort_by_key(|(at, _)| *at);
    events.retain(|(at, _)| *at < length);
    Plan { length, events: events.into() }
}
