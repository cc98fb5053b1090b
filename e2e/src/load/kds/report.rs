//! The result of a run against synchronization.

use std::fmt::Write;

use serde::Serialize;

use crate::load::report::{Propagation, Quantiles, size};

/// All figures of a run. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) tandem: Findings,
    /// The same of Kuma, when it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kuma: Option<Findings>,
    /// Changes of the policy at each scale.
    pub(super) rounds: usize,
    /// Processor time of the generator itself, which shares the machine.
    pub(super) generator_cpu_seconds: f64,
}

/// What was measured with control planes of one make.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fresh_zone: Option<FreshZone>,
    pub(super) fan_out: Vec<FanOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<Restart>,
    /// Phases that did not come to their end, with the reason.
    pub(super) failures: Vec<String>,
}

/// Zones with empty stores that joined, over the zones.
#[derive(Debug, Serialize)]
pub(super) struct FreshZone {
    pub(super) policies: usize,
    pub(super) zones: usize,
    /// From the start of the zone's process until it lists all policies.
    pub(super) from_start_ms: Quantiles,
    /// The same from its connection to global.
    pub(super) from_connect_ms: Quantiles,
    /// Processor time of the zone until then.
    pub(super) zone_cpu_ms: Quantiles,
    /// Processor time of global for each zone.
    pub(super) global_cpu_ms_per_zone: f64,
    /// What the zone lists is on its disk; checked with a killed zone.
    pub(super) durable: bool,
}

/// Changes of a policy with a number of zones connected.
#[derive(Debug, Serialize)]
pub(super) struct FanOut {
    pub(super) zones: usize,
    /// Policies at global that the generator wrote.
    pub(super) policies: usize,
    /// Resources of all types that each zone gets.
    pub(super) resources_per_zone: usize,
    /// From the first attempt until all zones have acknowledged all types.
    pub(super) connect_seconds: f64,
    /// Processor time of global meanwhile.
    pub(super) connect_cpu_seconds: f64,
    /// Received by all zones meanwhile, TLS included.
    pub(super) connect_bytes: u64,
    /// From the first attempt of a zone until it has acknowledged all types, over the zones.
    pub(super) ready_ms: Quantiles,
    /// From the request that changes the policy until a share of the zones has acknowledged, over the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change_ms: Option<Propagation>,
    /// Processor time of global for each change, pauses between changes included.
    pub(super) change_cpu_ms: f64,
    /// Received by all zones for each change, TLS included.
    pub(super) change_bytes: u64,
    /// Processor cores that global uses while nothing happens.
    pub(super) idle_cores: f64,
    /// Resident memory of global at the end, with all zones connected.
    pub(super) rss_bytes: u64,
    /// Growth of resident memory from before the zones connected, divided by their number.
    pub(super) rss_bytes_per_zone: u64,
    /// Connections and attempts that failed.
    pub(super) failed_connections: u64,
}

/// Global killed and started again.
#[derive(Debug, Serialize)]
pub(super) struct Restart {
    pub(super) zones: usize,
    pub(super) policies: usize,
    /// From the start of the process until it says that it is ready.
    pub(super) ready_seconds: f64,
    /// From the start of the process until all zones have acknowledged all types again.
    pub(super) synchronized_seconds: f64,
    /// Processor time of global until then.
    pub(super) cpu_seconds: f64,
    /// Attempts of zones to connect that failed until then.
    pub(super) failed_attempts: u64,
    /// Connections that broke in the ten seconds that followed.
    pub(super) broken_afterwards: u64,
    /// Processor cores in use by global in these ten seconds.
    pub(super) cores_afterwards: f64,
    pub(super) rss_bytes: u64,
}

impl Report {
    /// The report as lines of text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a String does not fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let makes = || [("Tandem", Some(&self.tandem)), ("Kuma", self.kuma.as_ref())];
        let makes = || makes().into_iter().filter_map(|(name, findings)| Some((name, findings?)));
        for (name, fresh) in makes().filter_map(|(name, findings)| Some((name, findings.fresh_zone.as_ref()?))) {
            write_fresh(out, name, fresh)?;
        }
        if makes().any(|(_, findings)| !findings.fan_out.is_empty()) {
            let rounds = self.rounds;
            writeln!(out, "One policy changes ({rounds} times); milliseconds until zones have acknowledged\n")?;
            writeln!(
                out,
                "{:<8}{:>6}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}{:>8}{:>11}{:>9}{:>10}{:>12}",
                "",
                "zones",
                "resources",
                "half p50",
                "all p50",
                "all p99",
                "all max",
                "CPU/change",
                "sent/change",
                "idle",
                "connect",
                "CPU",
                "memory",
                "per zone"
            )?;
        }
        for (name, row) in makes().flat_map(|(name, findings)| findings.fan_out.iter().map(move |row| (name, row))) {
            write_row(out, name, row)?;
        }
        for (name, restart) in makes().filter_map(|(name, findings)| Some((name, findings.restart.as_ref()?))) {
            write_restart(out, name, restart)?;
        }
        for (name, failure) in makes().flat_map(|(name, f)| f.failures.iter().map(move |failure| (name, failure))) {
            writeln!(out, "\n{name}, failed: {failure}")?;
        }
        writeln!(out, "\nGenerator {:.1} s of processor time", self.generator_cpu_seconds)
    }
}

fn write_fresh(out: &mut String, name: &str, fresh: &FreshZone) -> std::fmt::Result {
    let FreshZone { policies, zones, from_start_ms: start, from_connect_ms: connect, zone_cpu_ms: cpu, .. } = fresh;
    let kept = if fresh.durable { "on disk" } else { "in memory" };
    writeln!(out, "{name}: a fresh zone gets {policies} policies, {kept} ({zones} zones)")?;
    for (what, times) in [("from process start", start), ("from connection", connect), ("CPU of the zone", cpu)] {
        writeln!(out, "  {what:<20}p50 {:>7.0} ms   max {:>7.0} ms", times.p50, times.max)?;
    }
    writeln!(out, "  {:<20}    {:>7.0} ms\n", "CPU of global", fresh.global_cpu_ms_per_zone)
}

fn write_row(out: &mut String, name: &str, row: &FanOut) -> std::fmt::Result {
    write!(out, "{name:<8}{:>6}{:>10}", row.zones, row.resources_per_zone)?;
    match &row.change_ms {
        Some(Propagation { half, all, .. }) => {
            write!(out, "{:>10.1}{:>10.1}{:>10.1}{:>10.1}", half.p50, all.p50, all.p99, all.max)?;
        }
        None => write!(out, "{:>10}{:>10}{:>10}{:>10}", "-", "-", "-", "-")?,
    }
    writeln!(
        out,
        "{:>9.1} ms{:>12}{:>8.3}{:>9.2} s{:>7.2} s{:>10}{:>12}",
        row.change_cpu_ms,
        size(row.change_bytes),
        row.idle_cores,
        row.connect_seconds,
        row.connect_cpu_seconds,
        size(row.rss_bytes),
        size(row.rss_bytes_per_zone)
    )
}

fn write_restart(out: &mut String, name: &str, restart: &Restart) -> std::fmt::Result {
    writeln!(
        out,
        "\n{name}: restart of global with {} zones and {} policies: ready after {:.2} s, all zones after {:.2} s and {:.2} s \
         of processor time;\n{} attempts of zones failed until then; in 10 s more {} connections broke, {:.3} cores, {}",
        restart.zones,
        restart.policies,
        restart.ready_seconds,
        restart.synchronized_seconds,
        restart.cpu_seconds,
        restart.failed_attempts,
        restart.broken_afterwards,
        restart.cores_afterwards,
        size(restart.rss_bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quantiles() -> Quantiles {
        Quantiles::of(vec![Duration::from_millis(7)])
    }

    fn findings() -> Findings {
        Findings {
            fresh_zone: Some(FreshZone {
                policies: 5_000,
                zones: 1,
                from_start_ms: quantiles(),
                from_connect_ms: quantiles(),
                zone_cpu_ms: quantiles(),
                global_cpu_ms_per_zone: 1.0,
                durable: true,
            }),
            fan_out: vec![FanOut {
                zones: 200,
                policies: 1_000,
                resources_per_zone: 1_010,
                connect_seconds: 1.0,
                connect_cpu_seconds: 1.0,
                connect_bytes: 1,
                ready_ms: quantiles(),
                change_ms: None,
                change_cpu_ms: 3.0,
                change_bytes: 1,
                idle_cores: 0.0,
                rss_bytes: 1,
                rss_bytes_per_zone: 1,
                failed_connections: 0,
            }],
            restart: None,
            failures: vec!["restart: no".to_owned()],
        }
    }

    #[test]
    fn both_makes_stand_side_by_side() {
        let report = Report { tandem: findings(), kuma: Some(findings()), rounds: 3, generator_cpu_seconds: 0.1 };
        let text = report.text();
        for part in ["Tandem: a fresh zone", "Kuma: a fresh zone", "\nTandem ", "\nKuma ", "failed: restart: no"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let json = serde_json::to_value(&report).expect("serializes");
        for make in ["tandem", "kuma"] {
            assert_eq!(json[make]["fresh_zone"]["from_start_ms"]["p50"], 7.0);
            assert_eq!(json[make]["fan_out"][0]["change_cpu_ms"], 3.0);
        }
        let alone = Report { tandem: Findings::default(), kuma: None, rounds: 3, generator_cpu_seconds: 0.1 };
        assert!(!alone.text().contains("Kuma") && !alone.text().contains("changes"));
    }
}
