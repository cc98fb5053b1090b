//! Changes of a policy at global, and how long they take to arrive.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use super::fleet::Fleet;
use super::progress::Phase;
use super::tally::{Sign, Tally};
use crate::api::Api;

/// Name of the policy. Among policies for the same targets the alphabetically first wins, so that the default one and
/// most others give way to it.
pub(super) const POLICY: &str = "aaa-load";

/// Longest time for a change to arrive everywhere.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Shortest pause before a change. A random part of a second comes on top, lest the changes keep step with a timer.
const PAUSE_MS: u64 = 500;

/// How long one change took to reach a share of the proxies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) first: Duration,
    pub(super) half: Duration,
    pub(super) ninety_nine: Duration,
    pub(super) all: Duration,
}

impl Arrival {
    /// From the times of all proxies, sorted; none without proxies.
    pub(super) fn of(times: &[Duration]) -> Option<Self> {
        let share = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { first: *times.first()?, half: share(50)?, ninety_nine: share(99)?, all: share(100)? })
    }
}

/// Changes the policy `count` times, each time as soon as the last change has arrived everywhere and after a pause, and
/// removes it in the end.
pub(super) async fn run(
    global: &Api,
    fleet: &Fleet,
    tally: &Arc<Tally>,
    mesh: &str,
    count: usize,
) -> Result<Vec<Arrival>> {
    let path = format!("/meshes/{mesh}/meshtimeouts/{POLICY}");
    let phase = Phase::counted("Changing a policy", count);
    let mut arrivals = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for round in 0..count {
        pause().await;
        match change_for_all(global, fleet, tally, mesh, &path, timeout(round)).await {
            Ok(arrival) => arrivals.extend(arrival),
            Err(error) => {
                outcome = Err(error.context(format!("round {}", round + 1)));
                break;
            }
        }
        phase.at(round + 1);
    }
    let removed = if count > 0 { global.send(Method::DELETE, &path, None).await.map(drop) } else { Ok(()) };
    outcome.and(removed.context("removing the policy")).map(|()| arrivals)
}

/// The pause before a change.
pub(super) async fn pause() {
    sleep(Duration::from_millis(PAUSE_MS + rand::random_range(0..1000))).await;
}

/// A connect timeout that differs from that of other rounds, and most likely from that of the last run.
pub(super) fn timeout(round: usize) -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    Duration::from_millis(10_000 + now % 40_000 * 1_000 + round as u64 % 1_000)
}

/// Changes a policy for all proxies, which set the connect timeout, and waits until they have it.
pub(super) async fn change_for_all(
    global: &Api,
    fleet: &Fleet,
    tally: &Tally,
    mesh: &str,
    path: &str,
    timeout: Duration,
) -> Result<Option<Arrival>> {
    tally.begin_round(Sign::Timeout(timeout));
    let start = Instant::now();
    write(global, mesh, path, timeout).await?;
    fleet.all_seen(fleet.size(), LIMIT).await?;
    Ok(Arrival::of(&tally.end_round(start)))
}

/// Writes a policy for all proxies, which sets the connect timeout.
pub(super) async fn write(global: &Api, mesh: &str, path: &str, timeout: Duration) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let policy = json!({
        "type": "MeshTimeout",
        "mesh": mesh,
        "name": name,
        "spec": {
            "targetRef": {"kind": "Mesh"},
            "to": [{
                "targetRef": {"kind": "Mesh"},
                "default": {"connectionTimeout": format!("{}ms", timeout.as_millis())},
            }],
        },
    });
    global.put(path, &policy).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_proxies() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let arrival = Arrival::of(&times).expect("there are times");
        let ms = [arrival.first, arrival.half, arrival.ninety_nine, arrival.all].map(|time| time.as_millis());
        assert_eq!(ms, [1, 100, 198, 200]);
        let one = Arrival::of(&times[..1]).expect("there is a time");
        assert_eq!((one.first, one.half, one.all), (times[0], times[0], times[0]));
        assert!(Arrival::of(&[]).is_none());
    }

    #[test]
    fn rounds_differ() {
        assert_ne!(timeout(0).as_millis() % 1_000, timeout(1).as_millis() % 1_000);
    }
}
