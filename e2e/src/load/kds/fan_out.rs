//! One policy changes while simulated zones are connected: how long until all have acknowledged, and what it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use super::mirror::Mirror;
use super::options::Scale;
use super::report::{FanOut, Restart};
use super::target::{Target, compare};
use super::zone::{self, Shared};
use super::{millis, seconds};
use crate::load::fleet::Fleet;
use crate::load::options::Options;
use crate::load::progress::Phase;
use crate::load::report::{Propagation, Quantiles, round};
use crate::load::rounds;

/// How long after a restart no connection may break.
const WATCH: Duration = Duration::from_secs(10);

/// Simulated zones that are connected, and what they share.
struct Connected {
    fleet: Fleet,
    shared: Arc<Shared>,
    took: Duration,
}

async fn connect(target: &Target, prefix: &str, mirrors: Vec<Mirror>) -> Result<Connected> {
    let size = mirrors.len();
    let shared = Arc::new(Shared::new(target.server()?, prefix, mirrors)?);
    let session = |index| zone::run(Arc::clone(&shared), index);
    let tally = Arc::clone(shared.tally());
    let (fleet, took) = Fleet::connect("zones", tally, size, Duration::ZERO, session).await?;
    Ok(Connected { fleet, shared, took })
}

fn mirrors(count: usize) -> Vec<Mirror> {
    (0..count).map(|_| Mirror::default()).collect()
}

/// Measures one scale.
///
/// # Errors
/// When global cannot be reached or does not serve all zones in time, or a zone has something else than global.
pub(super) async fn run(target: &mut Target, options: &Options, scale: Scale) -> Result<FanOut> {
    target.grow(scale.policies).await?;
    let before = target.usage()?;
    let prefix = format!("zone-{}x{}", scale.zones, scale.policies);
    let Connected { fleet, shared, took } = connect(target, &prefix, mirrors(scale.zones)).await?;
    let connected = target.usage()?;
    let bytes = shared.tally().bytes();
    let resources = shared.mirror(0).len();
    if !fleet.rest().await {
        eprintln!("Global does not come to rest; the figures include whatever it is doing.");
    }

    let idle_from = (Instant::now(), target.usage()?);
    sleep(options.idle).await;
    let rested = target.usage()?;
    let idle = seconds(rested.cpu.saturating_sub(idle_from.1.cpu)) / idle_from.0.elapsed().as_secs_f64();
    let rested_bytes = shared.tally().bytes();
    let arrivals = rounds::run(&target.api, &fleet, shared.tally(), &options.mesh, options.rounds).await?;
    // What follows from the acknowledgements belongs to the price.
    fleet.rest().await;
    let end = target.usage()?;
    let changes = u32::try_from(options.rounds.max(1))?;
    let changed_bytes = shared.tally().bytes() - rested_bytes;

    verify(target, &shared, scale.zones).await?;
    let report = FanOut {
        zones: scale.zones,
        policies: scale.policies,
        resources_per_zone: resources,
        connect_seconds: round(took.as_secs_f64()),
        connect_cpu_seconds: round(seconds(connected.cpu.saturating_sub(before.cpu))),
        connect_bytes: bytes,
        ready_ms: Quantiles::of(shared.tally().ready_after()),
        change_ms: Propagation::of(&arrivals),
        change_cpu_ms: millis(end.cpu.saturating_sub(rested.cpu) / changes),
        change_bytes: changed_bytes / u64::from(changes),
        idle_cores: round(idle),
        rss_bytes: end.rss,
        rss_bytes_per_zone: end.rss.saturating_sub(before.rss) / scale.zones as u64,
        failed_connections: shared.tally().disconnects(),
    };
    fleet.disconnect().await;
    Ok(report)
}

/// Compares what each zone has with a fresh one, which is sent everything at once, and that one with what global lists.
async fn verify(target: &Target, shared: &Shared, zones: usize) -> Result<()> {
    let fresh = connect(target, "witness", vec![Mirror::with_policies()]).await?;
    let arrived = {
        let full = fresh.shared.mirror(0);
        for index in 0..zones {
            if let Some(difference) = shared.mirror(index).difference(&full) {
                bail!("zone {index} does not have what a fresh zone is sent: {difference}");
            }
        }
        full.policies()?
    };
    fresh.fleet.disconnect().await;
    compare(&target.policies().await?, &arrived).context("a fresh zone does not have what global lists")
}

/// Kills global while zones are connected, and starts it again.
///
/// # Errors
/// As [`run`].
pub(super) async fn restart(target: &mut Target, scale: Scale) -> Result<Restart> {
    target.grow(scale.policies).await?;
    let Connected { fleet, shared, .. } = connect(target, "restart", mirrors(scale.zones)).await?;
    fleet.rest().await;
    let failed = shared.tally().disconnects();
    target.global.kill().await?;
    fleet.all_lost().await?;

    let phase = Phase::counted("Restarting global", scale.zones);
    let started = Instant::now();
    target.global.start().await?;
    let ready = started.elapsed();
    fleet.all_ready(&phase).await?;
    let took = started.elapsed();
    let synchronized = target.usage()?;
    let attempts = shared.tally().disconnects() - failed;
    drop(phase);

    let _phase = Phase::open_ended("Watching whether connections last");
    sleep(WATCH).await;
    let later = target.usage()?;
    verify(target, &shared, scale.zones).await?;
    let broken = shared.tally().disconnects() - failed - attempts;
    fleet.disconnect().await;
    Ok(Restart {
        zones: scale.zones,
        policies: scale.policies,
        ready_seconds: round(ready.as_secs_f64()),
        synchronized_seconds: round(took.as_secs_f64()),
        cpu_seconds: round(seconds(synchronized.cpu)),
        failed_attempts: attempts,
        broken_afterwards: broken,
        cores_afterwards: round(seconds(later.cpu.saturating_sub(synchronized.cpu)) / WATCH.as_secs_f64()),
        rss_bytes: later.rss,
    })
}
