//! The result of a run, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::policies::PolicyRun;
use super::rounds::Arrival;
use super::soak::SoakRun;
use super::storm::StormRun;

/// All figures of a run. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) proxies: usize,
    pub(super) services: usize,
    pub(super) inbounds: usize,
    /// Outbounds of each proxy; absent when its traffic is redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outbounds: Option<usize>,
    /// Services that each proxy with redirected traffic reaches, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reachable: Option<usize>,
    /// `delta` or `sotw`.
    pub(super) protocol: &'static str,
    pub(super) connect: Connect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) propagation_ms: Option<Propagation>,
    /// Endpoints that moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) moves: Vec<Moves>,
    /// Changes of one of many policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_changes: Option<PolicyRun>,
    /// Many connections that broke at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storm: Option<StormRun>,
    /// Comings and goings for a long time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) soak: Option<SoakRun>,
    /// The measured processes by name.
    #[serde(flatten)]
    pub(super) processes: BTreeMap<String, Process>,
    /// Bytes that the proxies received in all, TLS included.
    pub(super) bytes_sent: u64,
    /// Bytes received for each policy change.
    pub(super) bytes_sent_per_round: u64,
    /// Connections and attempts that failed.
    pub(super) failed_connections: u64,
    /// Processor time of the generator itself, which shares the machine.
    pub(super) generator_cpu_seconds: f64,
    /// Its resident memory at the end.
    pub(super) generator_rss_bytes: u64,
}

/// From the first attempt to connect until all proxies were ready.
#[derive(Debug, Serialize)]
pub(super) struct Connect {
    /// Includes the time over which attempts were spread.
    pub(super) seconds: f64,
    /// Of all measured processes together.
    pub(super) cpu_seconds: f64,
    pub(super) bytes_sent: u64,
    /// From the first attempt of a proxy until it was ready, over the proxies.
    pub(super) ready_ms: Quantiles,
}

/// Time from the request that changes the policy until a share of the proxies has the change, over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Propagation {
    pub(super) rounds: usize,
    pub(super) first: Quantiles,
    pub(super) half: Quantiles,
    #[serde(rename = "99_percent")]
    pub(super) ninety_nine: Quantiles,
    pub(super) all: Quantiles,
}

impl Propagation {
    pub(super) fn of(arrivals: &[Arrival]) -> Option<Self> {
        let over = |share: fn(&Arrival) -> Duration| Quantiles::of(arrivals.iter().map(share).collect());
        (!arrivals.is_empty()).then(|| Self {
            rounds: arrivals.len(),
            first: over(|arrival| arrival.first),
            half: over(|arrival| arrival.half),
            ninety_nine: over(|arrival| arrival.ninety_nine),
            all: over(|arrival| arrival.all),
        })
    }
}

/// Moves of an endpoint of one service.
#[derive(Debug, Serialize)]
pub(super) struct Moves {
    /// Proxies that use the service.
    pub(super) users: usize,
    /// Time from the request that moves the endpoint until a share of the users has it, over the moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arrival_ms: Option<Propagation>,
    /// Bytes that all proxies received for each move.
    pub(super) bytes: u64,
    /// Processor time in milliseconds for each move, by process.
    pub(super) cpu_ms: BTreeMap<String, f64>,
}

/// Quantiles in milliseconds (nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Quantiles {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(index).map_or(0.0, |time| round(time.as_secs_f64() * 1_000.0))
        };
        Self { p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

/// One measured process.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    /// Resident memory at the end, with all proxies connected.
    pub(super) rss_bytes: u64,
    /// Resident memory before the proxies connected.
    pub(super) rss_bytes_before: u64,
    /// Growth of resident memory from before the proxies connected, divided by their number.
    pub(super) rss_bytes_per_proxy: u64,
    /// Processor cores in use while nothing happened; absent when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_cores: Option<f64>,
    /// Processor time while the proxies connected.
    pub(super) connect_cpu_seconds: f64,
    /// Processor time over all policy changes, pauses included.
    pub(super) rounds_cpu_seconds: f64,
}

/// Keeps three digits behind the point.
pub(super) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Report {
    /// The report as lines of text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a String does not fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { proxies, services, inbounds, outbounds, reachable, protocol, connect, .. } = self;
        let reach = match (outbounds, reachable) {
            (Some(outbounds), _) => format!("{outbounds} outbounds"),
            (None, reachable) => format!("up to {} services at virtual addresses", reachable.unwrap_or_default()),
        };
        writeln!(out, "{proxies} proxies ({protocol}), {services} services, {inbounds} inbounds and {reach} each")?;
        writeln!(out)?;
        writeln!(
            out,
            "Connecting       {:.1} s, {:.2} s of processor time, {} sent",
            connect.seconds,
            connect.cpu_seconds,
            size(connect.bytes_sent)
        )?;
        writeln!(out, "Proxy ready in   {}", quantiles(&connect.ready_ms))?;
        if let Some(propagation) = &self.propagation_ms {
            writeln!(out)?;
            writeln!(out, "Policy change at global, over {} rounds, until", propagation.rounds)?;
            for (share, times) in [
                ("the first proxy", &propagation.first),
                ("half of them", &propagation.half),
                ("99 %", &propagation.ninety_nine),
                ("all", &propagation.all),
            ] {
                writeln!(out, "  {share:<17}{}", quantiles(times))?;
            }
            writeln!(out, "  {:<17}{} sent for each change", "", size(self.bytes_sent_per_round))?;
        }
        self.write_moves(out)?;
        if let Some(policies) = &self.policy_changes {
            policies.write(out)?;
        }
        if let Some(storm) = &self.storm {
            storm.write(out)?;
        }
        if let Some(soak) = &self.soak {
            soak.write(out)?;
        }
        if !self.processes.is_empty() {
            writeln!(out)?;
            writeln!(
                out,
                "{:<12}{:>10}{:>12}{:>12}{:>13}{:>13}",
                "Process", "memory", "per proxy", "idle cores", "CPU connect", "CPU rounds"
            )?;
            for (name, process) in &self.processes {
                let idle = process.idle_cores.map_or("-".to_owned(), |cores| format!("{cores:.3}"));
                writeln!(
                    out,
                    "{name:<12}{:>10}{:>12}{idle:>12}{:>11.2} s{:>11.2} s",
                    size(process.rss_bytes),
                    size(process.rss_bytes_per_proxy),
                    process.connect_cpu_seconds,
                    process.rounds_cpu_seconds
                )?;
            }
        }
        writeln!(out)?;
        writeln!(
            out,
            "{} sent in all, {} failed connections, generator {:.2} s of processor time and {} of memory",
            size(self.bytes_sent),
            self.failed_connections,
            self.generator_cpu_seconds,
            size(self.generator_rss_bytes)
        )
    }
}

impl Report {
    fn write_moves(&self, out: &mut String) -> std::fmt::Result {
        if self.moves.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let heads = ["Users", "half p50", "all p50", "all p99", "received", "CPU for each move of an endpoint"];
        writeln!(
            out,
            "{:>8}{:>13}{:>13}{:>13}{:>12}   {}",
            heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]
        )?;
        for Moves { users, arrival_ms, bytes, cpu_ms } in &self.moves {
            let of = |time: fn(&Propagation) -> f64| {
                arrival_ms.as_ref().map_or("-".to_owned(), |arrival| format!("{:.1} ms", time(arrival)))
            };
            let cpu: Vec<_> = cpu_ms.iter().map(|(name, cpu)| format!("{name} {cpu:.1} ms")).collect();
            writeln!(
                out,
                "{users:>8}{:>13}{:>13}{:>13}{:>12}   {}",
                of(|arrival| arrival.half.p50),
                of(|arrival| arrival.all.p50),
                of(|arrival| arrival.all.p99),
                size(*bytes),
                cpu.join(", ")
            )?;
        }
        Ok(())
    }
}

pub(super) fn quantiles(times: &Quantiles) -> String {
    format!("p50 {:>8.1} ms   p99 {:>8.1} ms   max {:>8.1} ms", times.p50, times.p99, times.max)
}

pub(super) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles_of(millis: impl IntoIterator<Item = u64>) -> Quantiles {
        Quantiles::of(millis.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn nearest_rank() {
        assert_eq!(quantiles_of((1..=100).rev()), Quantiles { p50: 50.0, p99: 99.0, max: 100.0 });
        assert_eq!(quantiles_of([7]), Quantiles { p50: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(quantiles_of([]), Quantiles { p50: 0.0, p99: 0.0, max: 0.0 });
    }

    #[test]
    fn json_has_the_agreed_members() {
        let time = Duration::from_millis(3);
        let arrivals = [Arrival { first: time, half: time, ninety_nine: time, all: time }];
        let report = Report {
            proxies: 2,
            services: 1,
            inbounds: 1,
            outbounds: Some(1),
            reachable: None,
            protocol: "delta",
            connect: Connect { seconds: 1.0, cpu_seconds: 0.5, bytes_sent: 10, ready_ms: quantiles_of([5]) },
            propagation_ms: Propagation::of(&arrivals),
            moves: vec![Moves {
                users: 2,
                arrival_ms: Propagation::of(&arrivals),
                bytes: 7,
                cpu_ms: BTreeMap::from([("zone".to_owned(), 1.5)]),
            }],
            policy_changes: None,
            storm: None,
            soak: None,
            processes: BTreeMap::from([(
                "zone".to_owned(),
                Process {
                    rss_bytes: 3,
                    rss_bytes_before: 1,
                    rss_bytes_per_proxy: 1,
                    idle_cores: Some(0.01),
                    connect_cpu_seconds: 0.4,
                    rounds_cpu_seconds: 0.1,
                },
            )]),
            bytes_sent: 20,
            bytes_sent_per_round: 10,
            failed_connections: 0,
            generator_cpu_seconds: 0.1,
            generator_rss_bytes: 5,
        };
        let json = serde_json::to_value(&report).expect("serializes");
        for pointer in [
            "/proxies",
            "/connect/seconds",
            "/connect/cpu_seconds",
            "/propagation_ms/first/p50",
            "/propagation_ms/half/p99",
            "/propagation_ms/99_percent/max",
            "/propagation_ms/all/p99",
            "/moves/0/arrival_ms/all/p99",
            "/moves/0/cpu_ms/zone",
            "/zone/rss_bytes",
            "/zone/rss_bytes_per_proxy",
            "/zone/idle_cores",
            "/bytes_sent",
        ] {
            assert!(json.pointer(pointer).is_some_and(serde_json::Value::is_number), "{pointer} in {json}");
        }
        let text = report.text();
        assert!(text.contains("2 proxies (delta)") && text.contains("zone"), "{text}");
    }
}
