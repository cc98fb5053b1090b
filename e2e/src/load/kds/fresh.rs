//! A zone with an empty store joins a global that has many policies.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use super::options::KdsOptions;
use super::report::FreshZone;
use super::target::{Make, Target, compare, count_policies, policies};
use crate::api::Api;
use crate::load::progress::Phase;
use crate::load::report::Quantiles;
use crate::load::target::watched;
use crate::load::usage;
use crate::process::ControlPlane;
use crate::relay::Relay;

/// Longest time for a zone to get everything.
const LIMIT: Duration = Duration::from_secs(120);

/// Pause between two looks at a zone.
const STEP: Duration = Duration::from_millis(2);

/// What one zone took.
struct Joined {
    /// From the start of its process until it lists all policies.
    from_start: Duration,
    /// The same from the moment in which it connects to global.
    from_connect: Duration,
    /// Processor time of the zone until then.
    zone_cpu: Duration,
}

/// Lets zones join one after the other.
///
/// # Errors
/// When a control plane cannot be started or reached, or what arrives is not what global has.
pub(super) async fn run(make: &Make, options: &KdsOptions, mesh: &str) -> Result<FreshZone> {
    let mut target = Target::start(make, mesh).await?;
    target.grow(options.fresh_policies).await?;
    let before = target.usage()?;
    let phase = Phase::counted("Starting zones", options.fresh_zones);
    let mut zones = Vec::new();
    for index in 0..options.fresh_zones {
        zones.push(join(make, &target, mesh, index).await?);
        phase.at(index + 1);
    }
    let global_cpu = target.usage()?.cpu.saturating_sub(before.cpu);
    let over = |time: fn(&Joined) -> Duration| Quantiles::of(zones.iter().map(time).collect());
    Ok(FreshZone {
        policies: options.fresh_policies,
        zones: zones.len(),
        from_start_ms: over(|zone| zone.from_start),
        from_connect_ms: over(|zone| zone.from_connect),
        zone_cpu_ms: over(|zone| zone.zone_cpu),
        global_cpu_ms_per_zone: super::millis(global_cpu / u32::try_from(zones.len())?),
        durable: make.durable,
    })
}

async fn join(make: &Make, target: &Target, mesh: &str, index: usize) -> Result<Joined> {
    let expected = policies(&target.api, mesh).await?;
    let relay = Relay::start(([127, 0, 0, 1], target.global.peer_port()).into()).await?;
    let address = format!("grpcs://127.0.0.1:{}", relay.port());
    let name = format!("fresh-{index}");
    let options = make.options(&make.zone, target.dir.path().join(&name));
    let mut zone = ControlPlane::zone(&name, Some(&address), options)?;
    let authority = zone.api_url().trim_start_matches("http://").to_owned();

    let started = Instant::now();
    zone.launch()?;
    let mut client = None;
    while count_policies(&mut client, &authority, mesh).await < expected.len() {
        if started.elapsed() > LIMIT {
            bail!("zone {name} has not got all policies; its log ends with:\n{}", zone.log_tail(15));
        }
        sleep(STEP).await;
    }
    let from_start = started.elapsed();
    let connected = relay.first_connection().unwrap_or(started);
    let zone_cpu = usage::read_all(&[watched("zone", &zone)?])?[0].cpu;

    let api = Api::new(zone.api_url())?;
    compare(&expected, &policies(&api, mesh).await?)?;
    if make.durable && index == 0 {
        // What the zone lists must be on its disk: it has to be there again when nobody can send it.
        zone.kill().await?;
        relay.cut();
        zone.start().await?;
        compare(&expected, &policies(&api, mesh).await?)?;
    }
    zone.kill().await?;
    Ok(Joined { from_start, from_connect: from_start.saturating_sub(connected.duration_since(started)), zone_cpu })
}
