//! The storm (`--storm`, `--storm-restart`): many proxies lose their connections at the same moment and come back at once, while
//! the configuration goes on changing.
//!
//! A proxy is back in service when, on its new stream, the control plane has said that clusters and listeners are those of now and
//! it has all that they refer to, certificates included. After the storm a change for all proxies has to reach every one: nobody was
//! left behind.

pub mod options;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::sleep;

pub(super) use self::report::StormRun;
use self::report::Toll;
use super::changes::{ChangeFigures, Changes};
use super::definition::Definition;
use super::fleet::Fleet;
use super::options::Options;
use super::progress::{Phase, REFRESH};
use super::report::{Quantiles, round};
use super::rounds::{self, change_for_all, timeout};
use super::session::Order;
use super::tally::{Sign, Tally};
use super::target::Target;
use super::usage::{self, Usage};

/// How long changes go on before the storm.
const CALM: Duration = Duration::from_secs(5);

/// Longest time until all are back.
const LIMIT: Duration = Duration::from_secs(300);

/// Number that the timeout of the change at the moment of the storm follows from, and that of the change after it.
const ROUNDS: [usize; 2] = [700, 701];

/// What a storm needs.
pub(super) struct Storm<'a> {
    pub(super) target: &'a mut Target,
    pub(super) fleet: &'a Fleet,
    pub(super) tally: &'a Arc<Tally>,
    pub(super) definition: &'a Definition,
    pub(super) options: &'a Options,
    /// Of all proxies.
    pub(super) orders: &'a [watch::Sender<Order>],
}

impl Storm<'_> {
    /// Runs the storm.
    ///
    /// # Errors
    /// When a change is refused, or not all proxies come back.
    pub(super) async fn run(self) -> Result<StormRun> {
        let Self { target, fleet, tally, definition, options, orders } = self;
        let (storm, proxies) = (&options.storm, options.proxies);
        let count = storm.storm.unwrap_or(proxies);
        let lost: Vec<usize> = (0..proxies).filter(|slot| is_lost(*slot, count, proxies)).collect();
        let counts = move |slot| count == proxies || !is_lost(slot, count, proxies);
        let (global, mesh) = (target.global.clone(), &options.mesh);
        let changes =
            Changes::start(global.clone(), mesh, Arc::clone(tally), definition.groups(), storm.storm_changes, counts);
        let calm = Phase::open_ended("Changing policies before the storm");
        sleep(CALM).await;
        drop(calm);

        let phase = Phase::counted("Waiting for proxies to come back", count);
        let mut before = usage::read_all(&target.watched)?;
        let failures = tally.failures().by_kind();
        let (bytes, responses) = (tally.bytes_of_returning(), tally.responses_of_returning());
        tally.attendance().await_returns();
        let stale = storm.storm_stale || options.sotw;
        let path = format!("/meshes/{mesh}/meshtimeouts/{}", rounds::POLICY);
        let start = Instant::now();
        let at_once = stale.then(|| {
            let mark = timeout(ROUNDS[0]);
            tally.require(Some(Sign::Timeout(mark)));
            let (global, mesh, path) = (global.clone(), mesh.clone(), path.clone());
            tokio::spawn(async move { rounds::write(&global, &mesh, &path, mark).await })
        });
        let mut ready = None;
        if storm.storm_restart {
            target.kill_zone().await?;
            target.start_zone().await?;
            ready = Some(start.elapsed());
            // The zone is a new process that has used nothing yet.
            before[0] = Usage { cpu: Duration::ZERO, ..before[0] };
        } else {
            for slot in &lost {
                orders[*slot].send_replace(Order::Lose(storm.storm_cut));
            }
        }

        let mut highest = before.clone();
        loop {
            let now = usage::read_all(&target.watched)?;
            for (highest, now) in highest.iter_mut().zip(&now) {
                highest.rss = highest.rss.max(now.rss);
            }
            let returned = tally.attendance().returned(lost.iter().copied());
            phase.at(returned);
            if returned == count {
                break;
            }
            if start.elapsed() > LIMIT {
                bail!("only {returned} of {count} proxies came back within {LIMIT:?}; {}", fleet.trouble());
            }
            sleep(REFRESH).await;
        }
        drop(phase);
        tally.require(None);
        if let Some(at_once) = at_once {
            at_once.await??;
        }
        let times = tally.attendance().return_times(lost.iter().copied(), start);
        let over = start + times.iter().max().copied().unwrap_or_default();
        let after = usage::read_all(&target.watched)?;
        let (bytes, responses) = (tally.bytes_of_returning() - bytes, tally.responses_of_returning() - responses);
        let failed = tally.failures().by_kind().into_iter().map(|(kind, count)| {
            let earlier = failures.get(&kind).copied().unwrap_or_default();
            (kind, count - earlier)
        });
        let failed = failed.filter(|(_, count)| *count > 0).collect();

        let changes = changes.finish().await?;
        if !fleet.rest().await {
            eprintln!("The control planes do not come to rest after the storm.");
        }
        let checking = Phase::open_ended("Changing a policy for all proxies after the storm");
        let all = change_for_all(&global, fleet, tally, mesh, &path, timeout(ROUNDS[1])).await?;
        global.delete(&path).await?;
        drop(checking);
        let rested = usage::read_all(&target.watched)?;

        let tolls = target.watched.iter().enumerate().map(|(index, process)| {
            let toll = Toll {
                cpu_seconds: round(after[index].cpu.saturating_sub(before[index].cpu).as_secs_f64()),
                rss_bytes_before: before[index].rss,
                rss_bytes_highest: highest[index].rss,
                rss_bytes_after: rested[index].rss,
            };
            (process.name.clone(), toll)
        });
        Ok(StormRun {
            proxies: count,
            of: proxies,
            cut: if storm.storm_restart { "zone restarted".to_owned() } else { storm.storm_cut.to_string() },
            stale,
            zone_ready_seconds: ready.map(|ready| round(ready.as_secs_f64())),
            seconds: round((over - start).as_secs_f64()),
            returned_ms: Quantiles::of(times),
            failed_attempts: failed,
            bytes,
            responses,
            changes_before: ChangeFigures::of(changes.iter().filter(|change| change.begun < start)),
            changes_during: ChangeFigures::of(
                changes.iter().filter(|change| change.begun >= start && change.begun < over),
            ),
            all_afterwards_ms: all.map(|arrival| round(arrival.all.as_secs_f64() * 1_000.0)),
            tolls: tolls.collect(),
        })
    }
}

/// Whether a proxy is among the `count` of all that lose their connections; they are spread evenly.
fn is_lost(slot: usize, count: usize, proxies: usize) -> bool {
    slot * count / proxies != (slot + 1) * count / proxies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_lost_as_the_storm_is_of() {
        for (count, proxies) in [(5, 10), (3, 10), (10, 10), (1, 7)] {
            assert_eq!((0..proxies).filter(|slot| is_lost(*slot, count, proxies)).count(), count);
        }
    }
}
