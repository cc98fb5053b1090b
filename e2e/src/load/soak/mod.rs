//! The soak (`--soak`): proxies leave, arrive and come back, certificates are renewed and the configuration changes, for a long time;
//! what the control planes hold must not grow.

mod churn;
pub mod options;
mod report;
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::watch;
use tokio::time::{interval, sleep};

use self::churn::Churn;
pub(super) use self::report::SoakRun;
use self::samples::Sample;
use super::changes::{ChangeFigures, Changes};
use super::definition::Definition;
use super::fleet::Fleet;
use super::options::Options;
use super::progress::Phase;
use super::report::{Quantiles, round};
use super::rounds::{self, change_for_all, timeout};
use super::session::Order;
use super::tally::Tally;
use super::target::Target;

/// Longest pause between two samples.
const PAUSE: Duration = Duration::from_secs(10);

/// There are at least so many samples.
const SAMPLES: u32 = 30;

/// How much a certificate may be older than it is valid when it is looked at: it is looked at on its way.
const GRACE: Duration = Duration::from_secs(1);

/// Number that the timeout of the change at the end follows from.
const ROUND: usize = 800;

/// What a soak needs.
pub(super) struct Soak<'a> {
    pub(super) target: &'a Target,
    pub(super) fleet: &'a Fleet,
    pub(super) tally: &'a Arc<Tally>,
    pub(super) definition: &'a Definition,
    pub(super) options: &'a Options,
    /// Of all places in the tally.
    pub(super) orders: &'a Arc<[watch::Sender<Order>]>,
}

impl Soak<'_> {
    /// Goes on for `time`, or until it is interrupted.
    ///
    /// # Errors
    /// When a control plane is gone, or not all proxies are in service in the end.
    pub(super) async fn run(self, time: Duration) -> Result<SoakRun> {
        let Self { target, fleet, tally, definition, options, orders } = self;
        let soak = &options.soak;
        let start = Instant::now();
        let changes = Changes::start(
            target.global.clone(),
            &options.mesh,
            Arc::clone(tally),
            definition.groups(),
            soak.soak_changes,
            |_| true,
        );
        let churn = Churn::start(Arc::clone(orders), Arc::clone(tally), soak.soak_churn);
        let certified = tally.certificates().count();

        let phase = Phase::counted("Soaking (seconds)", usize::try_from(time.as_secs())?);
        let mut ticks = interval(PAUSE.min(time / SAMPLES));
        let mut samples: Vec<Sample> = Vec::new();
        let mut overdue = 0;
        let interrupted = loop {
            tokio::select! {
                _ = ticks.tick() => {}
                interrupt = tokio::signal::ctrl_c() => break interrupt.is_ok(),
            }
            if let Some(valid) = soak.certificates {
                overdue +=
                    tally.certificates().older_than(valid + GRACE, |slot| tally.attendance().stay(slot).is_some());
            }
            let sample = Sample::take(start.elapsed(), tally, target)?;
            phase.note(&sample.line());
            samples.push(sample);
            phase.at(usize::try_from(start.elapsed().as_secs())?);
            if start.elapsed() >= time {
                break false;
            }
        };
        drop(phase);
        let soaked = start.elapsed();

        let churned = churn.finish().await?;
        let changes = changes.finish().await?;
        let phase = Phase::counted("Waiting for all proxies to be in service", fleet.size());
        fleet.all_ready(&phase).await?;
        drop(phase);
        // Departures that are under way change endpoints for some more seconds.
        sleep(Duration::from_secs(1)).await;
        let path = format!("/meshes/{}/meshtimeouts/{}", options.mesh, rounds::POLICY);
        let all = change_for_all(&target.global, fleet, tally, &options.mesh, &path, timeout(ROUND)).await?;
        target.global.delete(&path).await?;

        Ok(SoakRun {
            seconds: round(soaked.as_secs_f64()),
            interrupted,
            left: churned.left,
            came_back: churned.came_back,
            arrived: churned.arrived,
            certificates_valid_seconds: soak.certificates.map(|valid| valid.as_secs()),
            certificates: tally.certificates().count() - certified,
            certificates_overdue: overdue,
            failed_attempts: tally.failures().by_kind(),
            changes: ChangeFigures::of(changes.iter()),
            all_afterwards_ms: all.map_or(0.0, |arrival| round(arrival.all.as_secs_f64() * 1_000.0)),
            bounds: report::bounds(&samples),
            back_in_service_ms: Quantiles::of(churned.times),
            samples,
        })
    }
}
