//! What the control planes hold at one moment of a soak.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::super::report::{round, size};
use super::super::tally::Tally;
use super::super::target::Target;
use super::super::usage::{folder_size, holdings};

/// One moment of a soak.
#[derive(Debug, Clone, Serialize)]
pub(in crate::load) struct Sample {
    /// Since the beginning.
    pub(super) seconds: f64,
    /// Proxies in service.
    pub(super) in_service: usize,
    #[serde(flatten)]
    pub(super) processes: BTreeMap<String, Held>,
}

/// What one control plane holds.
#[derive(Debug, Clone, Serialize)]
pub(in crate::load) struct Held {
    /// Resident memory.
    pub(super) rss_bytes: u64,
    /// Open file descriptors.
    pub(super) files: usize,
    pub(super) threads: usize,
    /// Size of its store on disk; absent when its folder is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store_bytes: Option<u64>,
}

impl Sample {
    pub(super) fn take(since: Duration, tally: &Tally, target: &Target) -> Result<Self> {
        let mut processes = BTreeMap::new();
        for watched in &target.watched {
            let now = holdings(watched)?;
            let store = target.store(&watched.name);
            let held = Held {
                rss_bytes: now.rss,
                files: now.files,
                threads: now.threads,
                store_bytes: store.map(|folder| folder_size(&folder)),
            };
            processes.insert(watched.name.clone(), held);
        }
        Ok(Self { seconds: round(since.as_secs_f64()), in_service: tally.ready(), processes })
    }

    pub(super) fn line(&self) -> String {
        let mut line = format!("{:>6.0} s  {} in service", self.seconds, self.in_service);
        for (name, held) in &self.processes {
            let store = held.store_bytes.map_or("-".to_owned(), size);
            // Writing to a String does not fail.
            let _ = write!(
                line,
                "   {name}: memory {}, {} files, {} threads, store {store}",
                size(held.rss_bytes),
                held.files,
                held.threads
            );
        }
        line
    }
}
