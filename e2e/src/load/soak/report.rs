//! The result of a soak, and what may not grow.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::super::changes::ChangeFigures;
use super::super::report::{Quantiles, quantiles, size};
use super::super::target::ZONE;
use super::samples::{Held, Sample};

/// Memory may be so much more in the last third than in the first, in hundredths.
const MEMORY_PERCENT: f64 = 10.0;

/// Open files that no proxy in service is behind may be so many more: connections of the moment.
const FILES: f64 = 32.0;

/// Threads may be so many more: those that block, which the runtime starts as needed and ends again.
const THREADS: f64 = 8.0;

/// A store on disk may be so much more, in hundredths, and at least this many bytes: its log is tidied up from time to time.
const STORE_PERCENT: f64 = 25.0;
const STORE_BYTES: f64 = 16e6;

/// The first part of the samples, in hundredths, is not looked at: memory and store take their shape.
const WARM_UP_PERCENT: usize = 10;

/// Fewer samples than this for each third say nothing.
const FEWEST: usize = 3;

/// All figures of a soak. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(in crate::load) struct SoakRun {
    pub(super) seconds: f64,
    /// It was ended early.
    pub(super) interrupted: bool,
    /// Proxies that left.
    pub(super) left: usize,
    /// The same came back.
    pub(super) came_back: usize,
    /// Another one arrived.
    pub(super) arrived: usize,
    /// From the start of a proxy until it was in service.
    pub(super) back_in_service_ms: Quantiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificates_valid_seconds: Option<u64>,
    /// Certificates that proxies received.
    pub(super) certificates: u64,
    /// How often a proxy in service was seen with a certificate that was no longer valid.
    pub(super) certificates_overdue: usize,
    /// Attempts to connect, and connections, that failed, by what was the matter.
    pub(super) failed_attempts: BTreeMap<String, u64>,
    pub(super) changes: ChangeFigures,
    /// At the end: from a change for all proxies until all had it.
    pub(super) all_afterwards_ms: f64,
    pub(super) bounds: Vec<Bound>,
    pub(super) samples: Vec<Sample>,
}

/// Something that may not grow.
#[derive(Debug, Serialize)]
pub(super) struct Bound {
    process: String,
    what: &'static str,
    /// Mean of the first third, after the warm-up.
    first: f64,
    /// Mean of the last third.
    last: f64,
    /// The most that `last` may be.
    limit: f64,
}

impl Bound {
    fn is_broken(&self) -> bool {
        self.last > self.limit
    }

    fn line(&self) -> String {
        let Self { process, what, first, last, limit } = self;
        let text = |value: f64| match *what {
            "memory" | "store" => size(value as u64),
            _ => format!("{value:.1}"),
        };
        let verdict = if self.is_broken() { "GREW" } else { "holds" };
        let growth = if *first > 0.0 { format!("{:+.1} %", (last / first - 1.0) * 100.0) } else { "-".to_owned() };
        format!(
            "{process:<8}{what:<10}{:>10} -> {:>10}   {growth:>8}   bound {:>10}   {verdict}",
            text(*first),
            text(*last),
            text(*limit)
        )
    }
}

/// How what each process holds has changed from the first third to the last; nothing when there are too few samples.
pub(super) fn bounds(samples: &[Sample]) -> Vec<Bound> {
    let samples = &samples[samples.len() * WARM_UP_PERCENT / 100..];
    let third = samples.len() / 3;
    if third < FEWEST {
        return Vec::new();
    }
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let names = last[0].processes.keys();
    let mut bounds = Vec::new();
    for name in names {
        let mut bound = |what, of: &dyn Fn(&Sample, &Held) -> f64, limit: &dyn Fn(f64) -> f64| {
            let mean = |samples: &[Sample]| {
                let values = samples.iter().filter_map(|sample| Some(of(sample, sample.processes.get(name)?)));
                values.sum::<f64>() / samples.len() as f64
            };
            let first = mean(first);
            bounds.push(Bound { process: name.clone(), what, first, last: mean(last), limit: limit(first) });
        };
        bound("memory", &|_, held| held.rss_bytes as f64, &|first| first * (1.0 + MEMORY_PERCENT / 100.0));
        let connections = |sample: &Sample| if name == ZONE { sample.in_service } else { 0 };
        bound("files", &|sample, held| held.files.saturating_sub(connections(sample)) as f64, &|first| first + FILES);
        bound("threads", &|_, held| held.threads as f64, &|first| first + THREADS);
        if last.iter().all(|sample| sample.processes.get(name).is_some_and(|held| held.store_bytes.is_some())) {
            bound("store", &|_, held| held.store_bytes.unwrap_or_default() as f64, &|first| {
                (first * (1.0 + STORE_PERCENT / 100.0)).max(first + STORE_BYTES)
            });
        }
    }
    bounds
}

impl SoakRun {
    /// What should not have been, a sentence each.
    pub(in crate::load) fn broken(&self) -> Vec<String> {
        let mut broken: Vec<_> = self.bounds.iter().filter(|bound| bound.is_broken()).map(Bound::line).collect();
        if self.certificates_overdue > 0 {
            broken.push(format!(
                "{} times a proxy held a certificate that was no longer valid",
                self.certificates_overdue
            ));
        }
        if self.changes.late > 0 || !self.changes.refused.is_empty() {
            broken.push(format!("changes did not arrive: {}", self.changes.line()));
        }
        broken
    }

    pub(in crate::load) fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { seconds, left, came_back, arrived, .. } = self;
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        writeln!(out)?;
        writeln!(
            out,
            "Soak of {seconds:.0} s{interrupted}: {left} proxies left, {came_back} came back, {arrived} others arrived"
        )?;
        writeln!(out, "  in service after {}", quantiles(&self.back_in_service_ms))?;
        match self.certificates_valid_seconds {
            Some(valid) => writeln!(
                out,
                "  certificates     {} received, each valid for {valid} s: {:.1} lives of a certificate; {} times one was overdue",
                self.certificates,
                seconds / valid as f64,
                self.certificates_overdue
            )?,
            None => writeln!(out, "  certificates     {} received", self.certificates)?,
        }
        writeln!(out, "  changes          {}", self.changes.line())?;
        writeln!(out, "  afterwards       a change for all reached all in {:.0} ms", self.all_afterwards_ms)?;
        let failed: Vec<_> = self.failed_attempts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(out, "  failed attempts  {}", if failed.is_empty() { "none".to_owned() } else { failed.join(", ") })?;
        if self.bounds.is_empty() {
            writeln!(out, "  too short to tell whether anything grows")?;
        }
        for bound in &self.bounds {
            writeln!(out, "  {}", bound.line())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(u64) -> u64, files: impl Fn(usize) -> usize) -> Vec<Sample> {
        let held = |at: usize| Held {
            rss_bytes: rss(at as u64),
            files: files(at),
            threads: 4,
            store_bytes: Some(1_000_000 * (at as u64 % 10)),
        };
        let sample = |at| Sample {
            seconds: at as f64,
            in_service: 100 + at,
            processes: BTreeMap::from([("zone".to_owned(), held(at))]),
        };
        (0..30).map(sample).collect()
    }

    fn broken(samples: &[Sample]) -> Vec<&'static str> {
        bounds(samples).iter().filter(|bound| bound.is_broken()).map(|bound| bound.what).collect()
    }

    #[test]
    fn growth_breaks_a_bound() {
        assert!(broken(&samples(|_| 100_000_000, |at| 120 + at)).is_empty(), "a file for each proxy");
        assert_eq!(broken(&samples(|at| 100_000_000 + at * 1_000_000, |at| 120 + at)), ["memory"]);
        assert_eq!(broken(&samples(|_| 100_000_000, |at| 120 + 4 * at)), ["files"]);
        let warm_up = samples(|at| if at < 3 { 1 } else { 100_000_000 }, |at| 120 + at);
        assert!(broken(&warm_up).is_empty(), "what happens at first does not count");
        assert!(bounds(&warm_up[..8]).is_empty(), "too few to tell");
    }
}
