//! The result of a run, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::rounds::Arrival;

/// All figures of a run. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) proxies: usize,
    pub(super) services: usize,
    pub(super) inbounds: usize,
    pub(super) outbounds: usize,
    /// `delta` or `sotw`.
    pub(super) protocol: &'static str,
    pub(super) connect: Connect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) propagation_ms: Option<Propagation>,
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
        let Self { proxies, services, inbounds, outbounds, protocol, connect, .. } = self;
        writeln!(
            out,
            "{proxies} proxies ({protocol}), {services} services, {inbounds} inbounds and {outbounds} outbounds each"
        )?;
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
            "{} sent in all, {} failed connections, generator {:.2} s of processor time",
            size(self.bytes_sent),
            self.failed_connections,
            self.generator_cpu_seconds
        )
    }
}

fn quantiles(times: &Quantiles) -> String {
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
        let report = Report {
            proxies: 2,
            services: 1,
            inbounds: 1,
            outbounds: 1,
            protocol: "delta",
            connect: Connect { seconds: 1.0, cpu_seconds: 0.5, bytes_sent: 10, ready_ms: quantiles_of([5]) },
            propagation_ms: Propagation::of(&[Arrival { first: time, half: time, ninety_nine: time, all: time }]),
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
