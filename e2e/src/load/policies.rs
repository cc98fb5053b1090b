//! Many policies, each for one proxy, and what a change of one among them costs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::fleet::Fleet;
use super::options::{Options, WatchedPid};
use super::progress::Phase;
use super::report::{Propagation, round};
use super::rounds::{Arrival, LIMIT, change_for_all, pause, timeout};
use super::tally::{Sign, Tally};
use super::usage;
use crate::api::Api;

/// Label by which each policy finds its proxy; its value is the number of the proxy.
pub(super) const LABEL: &str = "load-proxy";

/// What follows from a change (counters, insights) is done after this time, and belongs to its price.
const AFTERMATH: Duration = Duration::from_secs(3);

/// Name of the policy that selects nothing.
const NOBODY: &str = "load-for-nobody";

/// How the policies were written, and what changes of one among them cost.
#[derive(Debug, Serialize)]
pub(super) struct PolicyRun {
    policies: usize,
    /// Time to write all of them, one after the other, until their number is reached at global.
    written_seconds: f64,
    changes: Vec<PolicyChange>,
}

/// Changes of one sort.
#[derive(Debug, Serialize)]
struct PolicyChange {
    /// What is changed.
    what: &'static str,
    /// Proxies that the policy selects.
    proxies: usize,
    changes: usize,
    /// Time from the request until a share of these proxies has the change, over the changes; absent when it is for nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival_ms: Option<Propagation>,
    /// Responses that all proxies received, over all changes.
    responses: u64,
    /// Processor time in milliseconds for each change, by process, without what the process uses while nothing happens.
    cpu_ms: BTreeMap<String, f64>,
}

/// What a run of changes needs.
pub(super) struct Changes<'a> {
    pub(super) global: &'a Api,
    pub(super) fleet: &'a Fleet,
    pub(super) tally: &'a Tally,
    pub(super) options: &'a Options,
    pub(super) watched: &'a [WatchedPid],
    /// Cores that each process uses while nothing happens.
    pub(super) idle: Option<&'a [f64]>,
}

/// Writes the policies at global: each for one proxy, of five kinds in turn.
///
/// # Errors
/// When global refuses one.
pub(super) async fn prepare(global: &Api, options: &Options) -> Result<Duration> {
    let phase = Phase::counted("Writing policies", options.policies);
    let started = Instant::now();
    for number in 0..options.policies {
        let (path, policy) = policy(options, number, None);
        global.put(&path, &policy).await.with_context(|| format!("policy {number}"))?;
        phase.at(number + 1);
    }
    Ok(started.elapsed())
}

/// Path and content of the policy with a number. The first of each proxy is a MeshTimeout, which may set a connect timeout.
fn policy(options: &Options, number: usize, connect: Option<Duration>) -> (String, Value) {
    let proxy = number % options.proxies;
    let to = |conf: Value| json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]);
    let milliseconds = |base: usize| format!("{}ms", base + number);
    let (kind, path, list, items) = match number / options.proxies % 5 {
        0 => {
            let mut conf = json!({"idleTimeout": milliseconds(3_600_000)});
            if let Some(connect) = connect {
                conf["connectionTimeout"] = json!(format!("{}ms", connect.as_millis()));
            }
            ("MeshTimeout", "meshtimeouts", "to", to(conf))
        }
        1 => {
            let conf = json!({"http": {"numRetries": 3, "perTryTimeout": milliseconds(15_000)}});
            ("MeshRetry", "meshretries", "to", to(conf))
        }
        2 => {
            let conf = json!({"connectionLimits": {"maxConnections": 1024 + number}});
            ("MeshCircuitBreaker", "meshcircuitbreakers", "to", to(conf))
        }
        3 => {
            let clients = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": format!("client-{number}")}});
            let items = json!([{"targetRef": clients, "default": {"action": "Allow"}}]);
            ("MeshTrafficPermission", "meshtrafficpermissions", "from", items)
        }
        _ => {
            let conf = json!({"tcp": {"connectionRate": {"num": 1_000 + number, "interval": "1s"}}});
            ("MeshRateLimit", "meshratelimits", "rules", json!([{"default": {"local": conf}}]))
        }
    };
    let name = format!("load-{number}");
    let target = json!({"kind": "Dataplane", "labels": {LABEL: proxy.to_string()}});
    let spec = json!({"targetRef": target, list: items});
    let path = format!("/meshes/{}/{path}/{name}", options.mesh);
    (path, json!({"type": kind, "mesh": options.mesh, "name": name, "spec": spec}))
}

/// Changes one policy for all proxies, one for one proxy, and adds one for none; each as often as the options say.
///
/// # Errors
/// When a change is refused or does not arrive in time.
pub(super) async fn run(changes: &Changes<'_>, written: Duration) -> Result<PolicyRun> {
    let options = changes.options;
    let for_all = format!("/meshes/{}/meshtimeouts/load-for-all", options.mesh);
    let all = changes.of("for all proxies", options.proxies, async |number| {
        change_for_all(changes.global, changes.fleet, changes.tally, &options.mesh, &for_all, timeout(number)).await
    });
    let all = all.await?;
    let one = changes.of("for one proxy", 1, async |number| {
        let timeout = timeout(number);
        let (path, policy) = policy(options, 0, Some(timeout));
        changes.tally.begin_round(Sign::Timeout(timeout));
        let start = Instant::now();
        changes.global.put(&path, &policy).await?;
        changes.fleet.all_seen(1, LIMIT).await?;
        Ok(Arrival::of(&changes.tally.end_round(start)))
    });
    let one = one.await?;
    let for_nobody = format!("/meshes/{}/meshtimeouts/{NOBODY}", options.mesh);
    let none = changes.of("for no proxy, added", 0, async |number| {
        let (_, mut policy) = policy(options, number, None);
        policy["name"] = json!(format!("{NOBODY}-{number}"));
        policy["type"] = json!("MeshTimeout");
        let item = json!({"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}});
        let target = json!({"kind": "Dataplane", "labels": {LABEL: "nobody"}});
        policy["spec"] = json!({"targetRef": target, "to": [item]});
        changes.global.put(&format!("{for_nobody}-{number}"), &policy).await?;
        Ok(None)
    });
    let none = none.await?;
    let mut added = vec![for_all];
    added.extend((0..options.rounds).map(|number| format!("{for_nobody}-{number}")));
    for path in added {
        changes.global.send(Method::DELETE, &path, None).await.context("removing a policy")?;
    }
    Ok(PolicyRun {
        policies: options.policies,
        written_seconds: round(written.as_secs_f64()),
        changes: vec![one, all, none],
    })
}

impl Changes<'_> {
    async fn of(
        &self,
        what: &'static str,
        proxies: usize,
        change: impl AsyncFn(usize) -> Result<Option<Arrival>>,
    ) -> Result<PolicyChange> {
        self.fleet.rest().await;
        let phase = Phase::counted(&format!("Changing a policy {what}"), self.options.rounds);
        let (before, responses, started) = (usage::read_all(self.watched)?, self.tally.responses(), Instant::now());
        let mut arrivals = Vec::new();
        for number in 0..self.options.rounds {
            pause().await;
            arrivals.extend(change(number).await.with_context(|| format!("change {number} of a policy {what}"))?);
            phase.at(number + 1);
        }
        sleep(AFTERMATH).await;
        let (end, seconds) = (usage::read_all(self.watched)?, started.elapsed().as_secs_f64());
        let cpu = |index: usize| {
            let idle = self.idle.map_or(0.0, |cores| cores[index] * seconds);
            let used = end[index].cpu.saturating_sub(before[index].cpu).as_secs_f64();
            round((used - idle).max(0.0) * 1_000.0 / self.options.rounds.max(1) as f64)
        };
        Ok(PolicyChange {
            what,
            proxies,
            changes: self.options.rounds,
            arrival_ms: Propagation::of(&arrivals),
            responses: self.tally.responses() - responses,
            cpu_ms: self.watched.iter().enumerate().map(|(index, it)| (it.name.clone(), cpu(index))).collect(),
        })
    }
}

impl PolicyRun {
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out)?;
        writeln!(out, "Change of one of {} policies (written in {:.1} s)", self.policies, self.written_seconds)?;
        writeln!(
            out,
            "{:<22}{:>8}{:>13}{:>13}{:>12}   CPU for each change",
            "", "changes", "all p50", "all p99", "responses"
        )?;
        for change in &self.changes {
            let of = |time: fn(&Propagation) -> f64| {
                change.arrival_ms.as_ref().map_or("-".to_owned(), |arrival| format!("{:.1} ms", time(arrival)))
            };
            let cpu: Vec<_> = change.cpu_ms.iter().map(|(name, cpu)| format!("{name} {cpu:.1} ms")).collect();
            writeln!(
                out,
                "{:<22}{:>8}{:>13}{:>13}{:>12}   {}",
                change.what,
                change.changes,
                of(|arrival| arrival.all.p50),
                of(|arrival| arrival.all.p99),
                change.responses,
                cpu.join(", ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::tests::parse;

    #[test]
    fn policies_are_for_one_proxy_each() {
        let options = parse(&["--start", "--proxies", "10", "--policies", "50"]).expect("parses");
        let made: Vec<Value> = (0..50).map(|number| policy(&options, number, None).1).collect();
        let of_proxy = |proxy: &str| {
            let own = made.iter().filter(|policy| policy["spec"]["targetRef"]["labels"][LABEL] == proxy);
            own.map(|policy| policy["type"].as_str().expect("a type")).collect::<Vec<_>>()
        };
        let kinds = ["MeshTimeout", "MeshRetry", "MeshCircuitBreaker", "MeshTrafficPermission", "MeshRateLimit"];
        assert_eq!(of_proxy("3"), kinds);
        let connect = policy(&options, 0, Some(Duration::from_millis(7))).1;
        assert_eq!(connect["spec"]["to"][0]["default"]["connectionTimeout"], "7ms");
    }
}
