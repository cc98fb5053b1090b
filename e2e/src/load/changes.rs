//! Small changes of configuration that go on while something else happens: each concerns one group of a few proxies.
//!
//! A change is a MeshCircuitBreaker for the proxies with the label of their group, written at global; the limit of connections in
//! it is what shows that a proxy has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::definition::GROUP;
use super::report::Quantiles;
use super::tally::Tally;
use crate::api::Api;

/// Groups that are changed in turn, at most: there are as many policies.
const TURNS: usize = 40;

/// Longest time for a change to arrive.
const LIMIT: Duration = Duration::from_secs(60);

/// Step in which arrivals are looked for. When they were is noted by the proxies.
const STEP: Duration = Duration::from_millis(5);

/// Changes that go on until they are stopped.
pub(super) struct Changes {
    stop: CancellationToken,
    task: JoinHandle<Vec<Change>>,
    plan: Arc<Plan>,
}

/// What is changed, and for whom it counts.
struct Plan {
    global: Api,
    mesh: String,
    tally: Arc<Tally>,
    /// By group: its last change is not over yet.
    busy: Vec<AtomicBool>,
    /// Whether the arrival at a proxy counts.
    counts: Box<dyn Fn(usize) -> bool + Send + Sync>,
    /// Limit of connections of the first change.
    base: u32,
}

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) begun: Instant,
    /// Until global had acknowledged it.
    written: Duration,
    /// Until each proxy had it that was in service at the beginning and stayed.
    arrivals: Vec<Duration>,
    /// Proxies that did not get it in time.
    late: usize,
    /// Why it was not written.
    refused: Option<String>,
}

/// Figures of several changes.
#[derive(Debug, Serialize)]
pub(super) struct ChangeFigures {
    changes: usize,
    /// Arrivals at proxies.
    arrivals: usize,
    /// From the request at global until a proxy had the change, over all arrivals.
    pub(super) arrival_ms: Quantiles,
    /// From the request at global until its answer.
    written_ms: Quantiles,
    /// Arrivals that took longer than a minute.
    pub(super) late: usize,
    /// Why changes were not written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refused: Vec<String>,
}

impl ChangeFigures {
    pub(super) fn of<'a>(changes: impl Iterator<Item = &'a Change>) -> Self {
        let changes: Vec<_> = changes.collect();
        let arrivals: Vec<_> = changes.iter().flat_map(|change| change.arrivals.iter().copied()).collect();
        Self {
            changes: changes.len(),
            arrivals: arrivals.len(),
            arrival_ms: Quantiles::of(arrivals),
            written_ms: Quantiles::of(changes.iter().map(|change| change.written).collect()),
            late: changes.iter().map(|change| change.late).sum(),
            refused: changes.iter().filter_map(|change| change.refused.clone()).collect(),
        }
    }

    /// A line about how many and how long.
    pub(super) fn line(&self) -> String {
        let Self { changes, arrivals, arrival_ms, written_ms, late, refused } = self;
        let Quantiles { p50, p99, max } = arrival_ms;
        let mut line = format!(
            "{changes} changes, {arrivals} arrivals   p50 {p50:.1} ms   p99 {p99:.1} ms   max {max:.1} ms   (written: p50 {:.1} ms)",
            written_ms.p50
        );
        if *late > 0 {
            line += &format!("; {late} arrivals took longer than {} s", LIMIT.as_secs());
        }
        if let Some(last) = refused.last() {
            line += &format!("; {} were not written, the last one: {last}", refused.len());
        }
        line
    }
}

impl Changes {
    /// Begins to make a change each `pause`. Arrivals at proxies count for which `counts` holds.
    pub(super) fn start(
        global: Api,
        mesh: &str,
        tally: Arc<Tally>,
        groups: usize,
        pause: Duration,
        counts: impl Fn(usize) -> bool + Send + Sync + 'static,
    ) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let plan = Arc::new(Plan {
            global,
            mesh: mesh.to_owned(),
            tally,
            busy: (0..groups.min(TURNS)).map(|_| AtomicBool::new(false)).collect(),
            counts: Box::new(counts),
            // Differs from that of the last run.
            base: 10_000 + u32::try_from(now % 1_000_000).unwrap_or_default() * 1_000,
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(go_on(Arc::clone(&plan), pause, stop.clone()));
        Self { stop, task, plan }
    }

    /// Stops, waits for changes that are under way, removes the policies, and returns all changes.
    ///
    /// # Errors
    /// When a policy cannot be removed.
    pub(super) async fn finish(self) -> Result<Vec<Change>> {
        self.stop.cancel();
        let changes = self.task.await?;
        for group in 0..self.plan.busy.len() {
            self.plan.global.send(Method::DELETE, &self.plan.path(group), None).await?;
        }
        Ok(changes)
    }
}

async fn go_on(plan: Arc<Plan>, pause: Duration, stop: CancellationToken) -> Vec<Change> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    let mut changes = Vec::new();
    let (mut number, mut next) = (0, 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(change) = under_way.join_next(), if !under_way.is_empty() => changes.extend(change),
            _ = ticks.tick() => {
                let turns = plan.busy.len();
                let mut candidates = (0..turns).map(|step| (next + step) % turns);
                let Some(group) = candidates.find(|group| plan.is_free(*group)) else { continue };
                next = group + 1;
                number += 1;
                plan.busy[group].store(true, Relaxed);
                under_way.spawn(change(Arc::clone(&plan), group, plan.base + number));
            }
        }
    }
    while let Some(change) = under_way.join_next().await {
        changes.extend(change);
    }
    changes
}

impl Plan {
    fn members(&self, group: usize) -> impl Iterator<Item = usize> {
        self.tally.groups().members(group).filter(|member| (self.counts)(*member))
    }

    /// Its last change is over, and there is somebody to count.
    fn is_free(&self, group: usize) -> bool {
        !self.busy[group].load(Relaxed)
            && self.members(group).any(|member| self.tally.attendance().stay(member).is_some())
    }

    fn name(&self, group: usize) -> String {
        format!("load-group-{group}")
    }

    fn path(&self, group: usize) -> String {
        format!("/meshes/{}/meshcircuitbreakers/{}", self.mesh, self.name(group))
    }

    fn policy(&self, group: usize, limit: u32) -> Value {
        json!({
            "type": "MeshCircuitBreaker",
            "mesh": self.mesh,
            "name": self.name(group),
            "spec": {
                "targetRef": {"kind": "Dataplane", "labels": {GROUP: group.to_string()}},
                "to": [{
                    "targetRef": {"kind": "Mesh"},
                    "default": {"connectionLimits": {"maxConnections": limit}},
                }],
            },
        })
    }
}

async fn change(plan: Arc<Plan>, group: usize, limit: u32) -> Change {
    let (groups, attendance) = (plan.tally.groups(), plan.tally.attendance());
    let mut awaited: Vec<_> = plan.members(group).filter_map(|member| attendance.stay(member)).collect();
    groups.want(group, limit);
    let begun = Instant::now();
    let outcome = plan.global.put(&plan.path(group), &plan.policy(group, limit)).await;
    let refused = outcome.err().map(|error| format!("{error:#}"));
    let mut change = Change { begun, written: begun.elapsed(), arrivals: Vec::new(), late: 0, refused };
    while change.refused.is_none() && !awaited.is_empty() {
        awaited.retain(|stay| match groups.arrival(stay.client, limit, begun) {
            Some(arrival) => {
                change.arrivals.push(arrival);
                false
            }
            None => attendance.lasts(*stay),
        });
        if begun.elapsed() > LIMIT {
            change.late = awaited.len();
            break;
        }
        sleep(STEP).await;
    }
    plan.busy[group].store(false, Relaxed);
    change
}
