//! The result of a storm.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::super::changes::ChangeFigures;
use super::super::report::{Quantiles, quantiles, size};

/// All figures of a storm. Field names are those of the JSON form.
#[derive(Debug, Serialize)]
pub(in crate::load) struct StormRun {
    /// Proxies that lost their connections.
    pub(super) proxies: usize,
    /// All proxies.
    pub(super) of: usize,
    /// What the zone saw of it.
    pub(super) cut: String,
    /// None came back with what was current.
    pub(super) stale: bool,
    /// From the end of the zone until it was ready again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) zone_ready_seconds: Option<f64>,
    /// Until all of them were back in service.
    pub(super) seconds: f64,
    /// Until each was.
    pub(super) returned_ms: Quantiles,
    /// Attempts to connect, and connections, that failed, by what was the matter.
    pub(super) failed_attempts: BTreeMap<String, u64>,
    /// Bytes that returning proxies received, TLS included.
    pub(super) bytes: u64,
    /// Responses that they received.
    pub(super) responses: u64,
    /// Changes for a few proxies before the storm.
    pub(super) changes_before: ChangeFigures,
    /// The same from its beginning until all were back.
    pub(super) changes_during: ChangeFigures,
    /// After the storm: from a change for all proxies until all had it.
    pub(super) all_afterwards_ms: Option<f64>,
    /// What it cost, by process.
    pub(super) tolls: BTreeMap<String, Toll>,
}

/// What the storm cost one process.
#[derive(Debug, Serialize)]
pub(super) struct Toll {
    /// Until all were back.
    pub(super) cpu_seconds: f64,
    pub(super) rss_bytes_before: u64,
    /// Until all were back.
    pub(super) rss_bytes_highest: u64,
    /// At rest.
    pub(super) rss_bytes_after: u64,
}

impl StormRun {
    pub(in crate::load) fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { proxies, of, cut, seconds, bytes, responses, .. } = self;
        let stale = if self.stale { ", none with what is current" } else { "" };
        writeln!(out)?;
        writeln!(out, "Storm of {proxies} of {of} proxies ({cut}{stale})")?;
        if let Some(ready) = self.zone_ready_seconds {
            writeln!(out, "  zone ready       {ready:.1} s")?;
        }
        writeln!(out, "  all back in      {seconds:.1} s")?;
        writeln!(out, "  proxy back in    {}", quantiles(&self.returned_ms))?;
        let failed: Vec<_> = self.failed_attempts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let failed = if failed.is_empty() { "none".to_owned() } else { failed.join(", ") };
        writeln!(out, "  failed attempts  {failed}")?;
        let each = bytes / (*proxies as u64).max(1);
        writeln!(out, "  sent to them     {} in {responses} responses, {} each", size(*bytes), size(each))?;
        writeln!(out, "  changes before   {}", self.changes_before.line())?;
        writeln!(out, "  changes during   {}", self.changes_during.line())?;
        if let Some(all) = self.all_afterwards_ms {
            writeln!(out, "  afterwards       a change for all reached all {of} in {all:.0} ms")?;
        }
        for (name, toll) in &self.tolls {
            writeln!(
                out,
                "  {name:<17}{:.2} s of processor time; memory {} before, {} highest, {} after",
                toll.cpu_seconds,
                size(toll.rss_bytes_before),
                size(toll.rss_bytes_highest),
                size(toll.rss_bytes_after)
            )?;
        }
        Ok(())
    }
}
