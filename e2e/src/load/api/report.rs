//! The result of a run against the HTTP API.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::load::report::{Quantiles, round, size};

/// All figures of a run. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Dataplanes that were written, and then read.
    pub(super) resources: usize,
    /// Creation of each of them.
    pub(super) put: Requests,
    /// Single ones.
    pub(super) get: Requests,
    /// Pages of 1,000.
    pub(super) list: Requests,
    /// Resident memory of the control plane before the first write.
    pub(super) rss_bytes_before: u64,
    /// After the last one.
    pub(super) rss_bytes_written: u64,
    /// After all pages were read.
    pub(super) rss_bytes_end: u64,
    /// Processor time of the control plane over all phases.
    pub(super) cpu_seconds: f64,
    /// Processor time of the generator itself, which shares the machine.
    pub(super) generator_cpu_seconds: f64,
}

/// The requests of one phase.
#[derive(Debug, Serialize)]
pub(super) struct Requests {
    clients: usize,
    count: usize,
    per_second: f64,
    latency_ms: Quantiles,
    /// Processor time of the control plane for each request, in microseconds.
    cpu_us: f64,
}

impl Requests {
    /// Of the latencies that the clients saw, the time that the phase took, and the processor time it cost.
    pub(super) fn new(clients: usize, times: Vec<Duration>, took: Duration, cpu: Duration) -> Self {
        let count = times.len();
        let per_second = round(count as f64 / took.as_secs_f64());
        let cpu_us = round(cpu.as_secs_f64() * 1e6 / count.max(1) as f64);
        Self { clients, count, per_second, latency_ms: Quantiles::of(times), cpu_us }
    }
}

impl Report {
    /// The report as lines of text.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{} dataplanes\n\n", self.resources);
        let phases = [("PUT, durable", &self.put), ("GET, one", &self.get), ("GET, page of 1000", &self.list)];
        for (name, requests) in phases {
            let Requests { clients, count, per_second, latency_ms: Quantiles { p50, p99, max }, cpu_us } = requests;
            writeln!(
                out,
                "{name:<18}{per_second:>9.0}/s   p50 {p50:>7.3} ms   p99 {p99:>7.3} ms   max {max:>7.1} ms   \
                 CPU {cpu_us:>6.0} us   ({count} requests, {clients} clients)"
            )
            .expect("writing to a String does not fail");
        }
        let [before, written, end] = [self.rss_bytes_before, self.rss_bytes_written, self.rss_bytes_end].map(size);
        writeln!(
            out,
            "\nMemory {before} before, {written} after the writes, {end} at the end; {:.1} s of processor time, generator {:.1} s",
            self.cpu_seconds, self.generator_cpu_seconds
        )
        .expect("writing to a String does not fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_say_the_same() {
        let requests =
            || Requests::new(8, vec![Duration::from_millis(2); 500], Duration::from_secs(2), Duration::from_secs(1));
        let report = Report {
            resources: 500,
            put: requests(),
            get: requests(),
            list: requests(),
            rss_bytes_before: 1,
            rss_bytes_written: 2,
            rss_bytes_end: 3,
            cpu_seconds: 0.1,
            generator_cpu_seconds: 0.2,
        };
        let json = serde_json::to_value(&report).expect("serializes");
        assert_eq!(json["put"]["per_second"], 250.0);
        assert_eq!(json["put"]["latency_ms"]["p99"], 2.0);
        assert_eq!(json["put"]["cpu_us"], 2_000.0);
        let text = report.text();
        assert!(text.contains("250/s") && text.contains("p99   2.000 ms"), "{text}");
    }
}
