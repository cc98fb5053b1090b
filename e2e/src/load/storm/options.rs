//! Options of a storm.

use std::time::Duration;

use clap::Args;

use super::super::line::Cut;
use super::super::options::seconds;

/// What happens to the connections once all proxies are in service.
#[derive(Debug, Clone, Args)]
pub struct StormOptions {
    /// Once all proxies are in service, cut the connections of so many of them at the same moment. They come back as Envoys do, after
    /// pauses that begin at a random part of half a second and grow, with the versions that they have; how long that takes and what
    /// small changes of configuration that go on meanwhile take to arrive at the others is reported.
    #[arg(long, value_name = "COUNT")]
    pub storm: Option<usize>,

    /// The storm of all proxies after the zone was killed (kill -9) and started again. Needs --start.
    #[arg(long, requires = "start", conflicts_with = "storm")]
    pub storm_restart: bool,

    /// With --storm: what the zone sees of the connections that are cut.
    #[arg(long, value_enum, default_value = "reset", requires = "storm")]
    pub storm_cut: Cut,

    /// With --storm or --storm-restart: change a policy for all proxies at the moment of the storm, so that none comes back with
    /// what is current. Always done with --sotw, where nothing is answered to who has what is current.
    #[arg(long)]
    pub storm_stale: bool,

    /// With --storm or --storm-restart: pause between two changes, each of which concerns ten proxies, in seconds.
    #[arg(long, default_value = "0.25", value_parser = seconds, value_name = "SECONDS")]
    pub storm_changes: Duration,
}

impl StormOptions {
    /// Whether there is a storm.
    pub fn wanted(&self) -> bool {
        self.storm.is_some() || self.storm_restart
    }

    /// Checks what the parts cannot check on their own.
    ///
    /// # Errors
    /// A sentence that names the option and what it needs.
    pub fn check(&self, proxies: usize) -> Result<(), String> {
        if self.storm.is_some_and(|count| count == 0 || count > proxies) {
            return Err("--storm must be between 1 and the number of --proxies".to_owned());
        }
        if self.storm_changes.is_zero() {
            return Err("--storm-changes must be more than 0".to_owned());
        }
        if self.storm_stale && !self.wanted() {
            return Err("--storm-stale needs --storm or --storm-restart".to_owned());
        }
        Ok(())
    }
}
