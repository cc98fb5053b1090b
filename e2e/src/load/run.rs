//! A run from start to report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::time::sleep;

use super::api;
use super::connection::Dialer;
use super::definition::Definition;
use super::endpoints;
use super::fleet::Fleet;
use super::kds;
use super::line::Limbo;
use super::node::NodeEncoder;
use super::options::Options;
use super::policies;
use super::progress::Phase;
use super::report::{Connect, Process, Propagation, Quantiles, Report, round};
use super::rounds;
use super::session::{self, Order, Shared};
use super::soak::{Soak, SoakRun};
use super::storm::Storm;
use super::tally::Tally;
use super::target::Target;
use super::usage::{self, Usage};

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// The report, as text or as JSON.
    pub report: String,
    /// What should not have been, a sentence each.
    pub broken: Vec<String>,
}

impl From<String> for Outcome {
    fn from(report: String) -> Self {
        Self { report, broken: Vec::new() }
    }
}

/// Runs the load that the options describe.
///
/// # Errors
/// When a control plane cannot be started or reached, refuses what it is sent, or does not serve all proxies in time.
pub async fn run(options: &Options) -> Result<Outcome> {
    raise_open_files();
    if options.api {
        return api::run(options).await.map(Outcome::from);
    }
    if options.kds.kds {
        return kds::run(options).await.map(Outcome::from);
    }
    let mut target = Target::prepare(options).await?;
    target.ensure_mesh(options).await?;
    let token = target.token(options).await?;
    let tally = Arc::new(Tally::new(options.proxies));
    let shared = Shared {
        dialer: Dialer::new(Arc::clone(&tally))?,
        definition: Definition::new(options),
        nodes: NodeEncoder::new(options.node_extensions),
        servers: target.servers.clone(),
        token,
        sotw: options.sotw,
        bootstrap: !options.no_bootstrap,
        tally: Arc::clone(&tally),
        limbo: Limbo::default(),
    };

    let written = match options.policies {
        0 => None,
        _ => Some(policies::prepare(&target.global, options).await?),
    };
    if !options.users.is_empty() {
        endpoints::prepare(target.zone()?, &shared.definition, &options.users).await?;
    }
    let before = usage::read_all(&target.watched)?;
    let shared = Arc::new(shared);
    let orders: Arc<[_]> = (0..options.proxies).map(|_| watch::Sender::new(Order::None)).collect();
    let sessions = |index: usize| session::run(Arc::clone(&shared), index, orders[index].subscribe());
    let (fleet, connect_time) =
        Fleet::connect("proxies", Arc::clone(&tally), options.proxies, options.ramp, sessions).await?;
    let connected = usage::read_all(&target.watched)?;
    let connect_bytes = tally.bytes();

    if !fleet.rest().await {
        eprintln!("The control planes do not come to rest; the idle figures include whatever they are doing.");
    }
    let idle = idle_cores(options, &target).await?;

    let rested = usage::read_all(&target.watched)?;
    let rested_bytes = tally.bytes();
    let arrivals = rounds::run(&target.global, &fleet, &tally, &options.mesh, options.rounds).await?;
    let end = usage::read_all(&target.watched)?;
    let rounds_bytes = tally.bytes() - rested_bytes;
    let moves = if options.users.is_empty() {
        Vec::new()
    } else {
        // The end of the policy is a change, too.
        fleet.rest().await;
        endpoints::run(target.zone()?, &fleet, &tally, &shared.definition, options, &target.watched).await?
    };

    let policy_changes = match written {
        None => None,
        Some(written) => {
            let (global, idle) = (&target.global, idle.as_deref());
            let changes =
                policies::Changes { global, fleet: &fleet, tally: &tally, options, watched: &target.watched, idle };
            Some(policies::run(&changes, written).await?)
        }
    };

    // What is told of the processes is how they were before: a storm and a soak have a report of their own.
    let watched = target.watched.clone();
    let storm = if options.storm.wanted() {
        let (definition, target) = (&shared.definition, &mut target);
        Some(Storm { target, fleet: &fleet, tally: &tally, definition, options, orders: &orders }.run().await?)
    } else {
        None
    };
    let soak = match options.soak.soak {
        None => None,
        Some(time) => {
            let (definition, target) = (&shared.definition, &target);
            Some(Soak { target, fleet: &fleet, tally: &tally, definition, options, orders: &orders }.run(time).await?)
        }
    };
    let broken = soak.as_ref().map(SoakRun::broken).unwrap_or_default();

    let mut processes = BTreeMap::new();
    for (index, watched) in watched.iter().enumerate() {
        let grown = end[index].rss.saturating_sub(before[index].rss);
        let process = Process {
            rss_bytes: end[index].rss,
            rss_bytes_before: before[index].rss,
            rss_bytes_per_proxy: grown / options.proxies as u64,
            idle_cores: idle.as_ref().map(|cores| cores[index]),
            connect_cpu_seconds: cpu_seconds(&before[index], &connected[index]),
            rounds_cpu_seconds: cpu_seconds(&rested[index], &end[index]),
        };
        processes.insert(watched.name.clone(), process);
    }
    let own = usage::read_self()?;
    let report = Report {
        proxies: options.proxies,
        services: options.services,
        inbounds: options.inbounds,
        outbounds: (!options.transparent_proxy).then_some(options.outbounds),
        reachable: options
            .transparent_proxy
            .then(|| options.reachable.unwrap_or(options.services) + options.users.len()),
        protocol: if options.sotw { "sotw" } else { "delta" },
        connect: Connect {
            seconds: round(connect_time.as_secs_f64()),
            cpu_seconds: round(processes.values().map(|process| process.connect_cpu_seconds).sum()),
            bytes_sent: connect_bytes,
            ready_ms: Quantiles::of(tally.ready_after()),
        },
        propagation_ms: Propagation::of(&arrivals),
        moves,
        policy_changes,
        storm,
        soak,
        processes,
        bytes_sent: tally.bytes(),
        bytes_sent_per_round: rounds_bytes / (options.rounds.max(1) as u64),
        failed_connections: tally.disconnects(),
        generator_cpu_seconds: round(own.cpu.as_secs_f64()),
        generator_rss_bytes: own.rss,
    };
    fleet.disconnect().await;
    let report = if options.json { serde_json::to_string(&report)? } else { report.text() };
    Ok(Outcome { report, broken })
}

/// Each connection of the generator needs an open file; a limit that cannot be raised shows when there are too many.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Cores in use by each process over a quiet window, if one is wanted.
async fn idle_cores(options: &Options, target: &Target) -> Result<Option<Vec<f64>>> {
    if options.idle.is_zero() {
        return Ok(None);
    }
    let _phase = Phase::open_ended("Measuring idle processor time");
    let start = (Instant::now(), usage::read_all(&target.watched)?);
    sleep(options.idle).await;
    let seconds = start.0.elapsed().as_secs_f64();
    let end = usage::read_all(&target.watched)?;
    let cores = start.1.iter().zip(&end).map(|(start, end)| round(cpu_seconds(start, end) / seconds));
    Ok(Some(cores.collect()))
}

fn cpu_seconds(start: &Usage, end: &Usage) -> f64 {
    round(end.cpu.saturating_sub(start.cpu).as_secs_f64())
}
