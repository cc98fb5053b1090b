//! Memory and processor time of the measured processes, from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};
use procfs::process::Process;

use super::options::WatchedPid;

/// Use of resources of one process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub(super) rss: u64,
    /// Processor time since the process started, user and system.
    pub(super) cpu: Duration,
}

/// Reads the usage of all processes, in their order.
pub(super) fn read_all(watched: &[WatchedPid]) -> Result<Vec<Usage>> {
    watched.iter().map(|w| read(w.pid).with_context(|| format!("process {} ({})", w.pid, w.name))).collect()
}

/// Reads the usage of the generator itself.
pub(super) fn read_self() -> Result<Usage> {
    usage(&Process::myself()?)
}

fn read(pid: i32) -> Result<Usage> {
    usage(&Process::new(pid)?)
}

fn usage(process: &Process) -> Result<Usage> {
    let stat = process.stat()?;
    let ticks = stat.utime + stat.stime;
    let second = procfs::ticks_per_second();
    let cpu = Duration::from_secs(ticks / second) + Duration::from_secs(ticks % second) / u32::try_from(second)?;
    Ok(Usage { rss: stat.rss * procfs::page_size(), cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_processor_time() {
        let before = read_self().expect("reads");
        assert!(before.rss > 100_000, "{before:?}");
        let mut x = 1u64;
        while read_self().expect("reads").cpu == before.cpu {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let missing = [WatchedPid { name: "zone".into(), pid: i32::MAX }];
        let error = read_all(&missing).expect_err("no such process").to_string();
        assert!(error.contains("zone"), "{error}");
    }
}
