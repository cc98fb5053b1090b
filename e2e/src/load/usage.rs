//! What the measured processes use, from `/proc`.

use std::fs;
use std::path::Path;
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

/// What one process holds at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holdings {
    /// Resident memory in bytes.
    pub(super) rss: u64,
    /// Open file descriptors.
    pub(super) files: usize,
    /// Threads.
    pub(super) threads: usize,
}

/// Reads the usage of all processes, in their order.
pub(super) fn read_all(watched: &[WatchedPid]) -> Result<Vec<Usage>> {
    watched.iter().map(|w| read(w.pid).with_context(|| format!("process {} ({})", w.pid, w.name))).collect()
}

/// Reads the usage of the generator itself.
pub(super) fn read_self() -> Result<Usage> {
    usage(&Process::myself()?)
}

/// Reads what a process holds.
pub(super) fn holdings(watched: &WatchedPid) -> Result<Holdings> {
    let read = || {
        let process = Process::new(watched.pid)?;
        let stat = process.stat()?;
        let threads = usize::try_from(stat.num_threads).unwrap_or_default();
        Ok(Holdings { rss: stat.rss * procfs::page_size(), files: process.fd_count()?, threads })
    };
    read()
        .map_err(|error: procfs::ProcError| error)
        .with_context(|| format!("process {} ({})", watched.pid, watched.name))
}

/// Bytes of all files in a folder. Files that come and go meanwhile may be missing.
pub(super) fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => folder_size(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    sizes.sum()
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

    #[test]
    fn holdings_are_those_of_the_process() {
        let own = WatchedPid { name: "test".into(), pid: i32::try_from(std::process::id()).expect("fits") };
        let folder = tempfile::tempdir().expect("a folder");
        let before = holdings(&own).expect("reads");
        let path = folder.path().join("sub");
        fs::create_dir(&path).expect("a folder");
        fs::write(path.join("a"), [0; 100]).expect("writes");
        fs::write(folder.path().join("b"), [0; 11]).expect("writes");
        let _open: Vec<_> = (0..50).map(|_| fs::File::open(folder.path().join("b")).expect("opens")).collect();
        let after = holdings(&own).expect("reads");
        assert!(after.files > before.files && after.threads > 0 && after.rss > 100_000, "{before:?} {after:?}");
        assert_eq!(folder_size(folder.path()), 111);
    }
}
